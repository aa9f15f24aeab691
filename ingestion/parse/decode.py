"""Bytes to text in whatever encoding they came."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Labels that files carry, and the superset that they are written in (the web's rule).
_SUPERSETS = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
}
# Python codecs that are no character sets: a label must not choose them.
_ESCAPES = frozenset({"unicode-escape", "raw-unicode-escape", "unicode_escape", "raw_unicode_escape", "punycode"})
_BINARY = bytes(set(range(32)) - set(b"\t\n\r\x0c\x1b\x1a")) + b"\x7f"
_SAMPLE = 131_072
_MAX_BINARY_SHARE = 0.005
_MAX_BROKEN_SHARE = 0.002
_BROKEN = re.compile("\ufffd+")
_NON_ASCII = re.compile(rb"[\x80-\xff]")


def decode(data: bytes, declared: str | None = None) -> str | None:
    """The text of `data`, None where it is not text. `declared`: an encoding that the file names itself.

    Order: byte order mark, UTF-16/32 by where the zero bytes stand, the declared encoding, UTF-8 (a few
    broken bytes allowed), then a statistical guess.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _sensible(data[len(mark) :].decode(encoding, "replace"))
    wide = _wide(data[:4096])
    if wide:
        return _sensible(data.decode(wide, "replace"))
    if _looks_binary(data[:_SAMPLE]):
        return None
    return _declared(data, declared) or _utf8(data) or _guessed(data)


def codec_name(label: str) -> str | None:
    """Python's codec for an encoding label, None for an unknown one or one that is no text encoding."""
    label = label.strip().strip("\"'").lower()
    try:
        name = codecs.lookup(_SUPERSETS.get(label, label)).name
        b"x".decode(name, "replace")
    except (LookupError, ValueError):
        return None
    return None if name in _ESCAPES else name


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: mostly Latin text has its zero bytes at fixed places."""
    if len(head) < 4 or b"\0" not in head:
        return None
    shares = [head[at::4].count(0) / len(head[at::4]) for at in range(4)]
    if shares[1] > 0.4 and shares[3] > 0.4 and shares[0] + shares[2] < 0.2:
        return "utf-16-le"
    if shares[0] > 0.4 and shares[2] > 0.4 and shares[1] + shares[3] < 0.2:
        return "utf-16-be"
    if min(shares[1:]) > 0.8 and shares[0] < 0.2:
        return "utf-32-le"
    if min(shares[:3]) > 0.8 and shares[3] < 0.2:
        return "utf-32-be"
    return None


def _looks_binary(sample: bytes) -> bool:
    if b"\0" in sample:
        return True
    odd = len(sample) - len(sample.translate(None, _BINARY))
    return odd > len(sample) * _MAX_BINARY_SHARE


def _sensible(text: str) -> str | None:
    broken = text.count("\ufffd") + text.count("\0")
    return text if broken <= max(len(text) * 0.05, 1) else None


def _declared(data: bytes, declared: str | None) -> str | None:
    name = codec_name(declared) if declared else None
    if name is None or name.startswith(("utf-16", "utf-32")):
        return None  # wide text was recognised above; a narrow file that claims to be wide is mislabelled
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    foreign = len(_NON_ASCII.findall(data))
    broken = len(_BROKEN.findall(text))
    # A file with a few damaged bytes among many good sequences, or one that was cut inside a character.
    return text if broken <= max(foreign * _MAX_BROKEN_SHARE, 1) and foreign > 8 * broken else None


def _guessed(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(_sample(data)).best()
    if best is None:
        return None
    name = codec_name(best.encoding) or best.encoding
    return _sensible(data.decode(name, "replace"))


def _sample(data: bytes) -> bytes:
    """Up to 128 KiB around the first byte that is not ASCII: a long English licence says nothing."""
    first = _NON_ASCII.search(data)
    if first is None or len(data) <= _SAMPLE:
        return data[:_SAMPLE]
    start = data.rfind(b"\n", 0, first.start()) + 1
    return data[start : start + _SAMPLE]
