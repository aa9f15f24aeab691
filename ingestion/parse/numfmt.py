"""Numbers and dates of a spreadsheet as its number formats show them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

# Built-in formats by id (ECMA-376 part 1, 18.8.30). 14 and 22 follow the reader's locale: ISO is the one that
# nobody misreads.
BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    14: "yyyy-mm-dd",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm",
    37: "#,##0;(#,##0)",
    38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss.0",
    48: "0.00E+00",
}
_SECTIONS = re.compile(r'(?:"[^"]*"|\\.|[^;"\\])+|(?<=;)(?=;|$)|^(?=;)')
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|_.|\*.'
    r"|\[\$(?P<currency>[^\]-]*)[^\]]*\]|(?P<elapsed>\[[hms]+\])|\[[^\]]*\]"
    r"|(?P<ampm>AM/PM|A/P)|(?P<date>[ymdhs]+(?:\.0+)?)|(?P<number>[#0?](?:[#0?,.]*[#0?])?,*(?:E[+-]?0+)?|\.[#0?]+)"
    r"|(?P<percent>%)|(?P<general>General)|(?P<at>@)|(?P<literal>.)",
    re.I | re.S,
)
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MAX_SERIAL = 2_958_466  # 10000-01-01
_MAX_DECIMALS = 15

Token = tuple[str, str]


def general(value: float) -> str:
    """15 significant digits, which is what a spreadsheet keeps: 0.1 + 0.2 is 0.3."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}"


def show(value: float, code: str, *, epoch_1904: bool = False) -> str:
    """`value` under the format `code`; in the general form where the format says nothing usable."""
    sections = _sections(code)
    if not sections:
        return general(value)
    section, magnitude = _choose(value, sections)
    kinds = {kind for kind, _ in section}
    if kinds & {"date", "elapsed"}:
        return _date(value, section, epoch_1904)
    if "number" in kinds:
        return _number(magnitude, section)
    text = "".join(general(magnitude) if kind in {"general", "at"} else text for kind, text in section)
    return text.strip() if section else general(value)


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[tuple[Token, ...], ...]:
    return tuple(_tokens(part) for part in _SECTIONS.findall(code[:255])) if code.strip() else ()


def _tokens(section: str) -> tuple[Token, ...]:
    found: list[Token] = []
    for match in _TOKEN.finditer(section):
        kind = match.lastgroup
        if kind in {"quoted", "escaped", "currency", "literal"}:
            found.append(("literal", match[kind or 0]))
        elif kind:
            found.append((kind, match[0]))
    return tuple(found)


def _choose(value: float, sections: tuple[tuple[Token, ...], ...]) -> tuple[tuple[Token, ...], float]:
    """The section for the sign, and the number to show in it: a section for negatives brings its own sign."""
    if value < 0 and len(sections) > 1:
        return sections[1], -value
    if value == 0 and len(sections) > 2:
        return sections[2], value
    return sections[0], value


def _number(value: float, section: tuple[Token, ...]) -> str:
    places = [text for kind, text in section if kind == "number"]
    if len(places) > 1:  # fractions, phone numbers: the digits matter more than the pattern
        return general(value)
    if any(kind == "percent" for kind, _ in section):
        value *= 100
    sign = "-" if value < 0 else ""
    digits = _digits(abs(value), places[0])
    sign = sign if any(char in "123456789" for char in digits) else ""
    return sign + "".join(digits if kind == "number" else text for kind, text in section).strip()


def _digits(value: float, pattern: str) -> str:
    pattern, exponent, _ = pattern.upper().partition("E")
    scaled = len(pattern) - len(pattern.rstrip(","))
    value /= 1000**scaled
    whole, _, fraction = pattern.rstrip(",").partition(".")
    decimals = min(len(fraction), _MAX_DECIMALS)
    if exponent:
        return f"{value:.{decimals}E}"
    text = f"{value:{',' if ',' in whole else ''}.{decimals}f}"
    optional = len(fraction) - len(fraction.rstrip("#?"))
    if optional and "." in text:
        head, _, tail = text.partition(".")
        kept = tail[: decimals - optional] + tail[decimals - optional :].rstrip("0")
        text = f"{head}.{kept}" if kept else head
    width = whole.count("0")
    return text.zfill(width + (len(text) - len(text.partition(".")[0]))) if width > 1 else text


def _date(value: float, section: tuple[Token, ...], epoch_1904: bool) -> str:
    if not 0 <= value < _MAX_SERIAL:
        return general(value)
    moment = _moment(value, epoch_1904)
    twelve = any(kind == "ampm" for kind, _ in section)
    parts: list[str] = []
    last = ""
    for at, (kind, text) in enumerate(section):
        if kind == "date":
            minutes = last.startswith("h") or _next_date(section, at).startswith("s")
            parts.append(_field(moment, text.lower(), minutes, twelve))
            last = text.lower()
        elif kind == "elapsed":
            parts.append(_elapsed(value, text.lower()))
            last = text.lower().strip("[]")
        elif kind == "ampm":
            parts.append("AM" if moment.hour < 12 else "PM")
        elif kind in {"literal", "number"}:
            parts.append(text)
    return "".join(parts).strip()


def _moment(value: float, epoch_1904: bool) -> datetime:
    """Serial day to a date. 1900 counts a 29 February that never was, so earlier days are one off."""
    if epoch_1904:
        epoch = datetime(1904, 1, 1)  # noqa: DTZ001 - a spreadsheet's times have no zone
    elif value < 60:
        epoch = datetime(1899, 12, 31)  # noqa: DTZ001
    else:
        epoch = datetime(1899, 12, 30)  # noqa: DTZ001
    return epoch + timedelta(milliseconds=round(value * 86_400_000))


def _next_date(section: tuple[Token, ...], at: int) -> str:
    return next((text.lower() for kind, text in section[at + 1 :] if kind == "date"), "")


def _field(moment: datetime, text: str, minutes: bool, twelve: bool) -> str:
    letter, width = text[0], len(text.partition(".")[0])
    if letter == "y":
        return f"{moment.year:04d}" if width > 2 else f"{moment.year % 100:02d}"
    if letter == "d":
        return _named(moment.day, width, _DAYS[moment.weekday()])
    if letter == "m" and not minutes:
        return _named(moment.month, width, _MONTHS[moment.month - 1])
    if letter == "h":
        hour = (moment.hour % 12 or 12) if twelve else moment.hour
        return f"{hour:0{min(width, 2)}d}"
    return f"{moment.minute if letter == 'm' else moment.second:0{min(width, 2)}d}"


def _named(number: int, width: int, name: str) -> str:
    if width >= 4:
        return name
    return name[:3] if width == 3 else f"{number:0{width}d}"


def _elapsed(value: float, text: str) -> str:
    unit = {"h": 24, "m": 1440, "s": 86_400}[text.strip("[]")[0]]
    return str(int(value * unit + 1e-6))
