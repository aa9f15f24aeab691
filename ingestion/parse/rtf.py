"""Rich Text Format, read as a stream of tokens; groups are a stack, not a recursion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingestion.parse.canonical import Canonical
from ingestion.parse.decode import codec_name
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import RTF
from ingestion.parse.tables import markdown_table
from rag.errors import DocumentError

MAX_DEPTH = 2_000
_TOKEN = re.compile(rb"\\'([0-9a-fA-F]{2})|\\([a-zA-Z]+)(-?\d{1,10})? ?|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_SILENT = frozenset(
    b"fonttbl colortbl stylesheet info pict object objdata themedata colorschememapping datastore rsidtbl "
    b"latentstyles listtable listoverridetable xmlnstbl generator filetbl revtbl fldinst nonshppict pntext "
    b"bkmkstart bkmkend listtext mmathPr wgrffmtfilter datafield private".split()
)
_CHARS = {
    b"tab": " ",
    b"line": "\n",
    b"emdash": "\u2014",
    b"endash": "\u2013",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
    b"bullet": "\u2022",
    b"emspace": " ",
    b"enspace": " ",
    b"qmspace": " ",
    b"nestcell": " ",
    b"nestrow": " ",
}
_SYMBOLS = {b"~": " ", b"_": "-", b"-": "", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Group:
    silent: bool = False
    codec: str = ""
    skip: int = 1  # how many fallback characters follow a \u
    table: bool = False
    fonts: bool = False


@dataclass
class _Reader:
    out: Canonical
    codec: str = "cp1252"
    group: _Group = field(default_factory=_Group)
    stack: list[_Group] = field(default_factory=list)
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    skipping: int = 0
    text: list[str] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    high: str = ""
    row: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def read(self, data: bytes) -> None:
        at = 0
        while match := _TOKEN.match(data, at):
            at = match.end() + self._token(match)
        self.paragraph()
        self.end_table()

    def _token(self, match: re.Match[bytes]) -> int:
        """Handles one token; returns how many raw bytes to jump over (binary data)."""
        code, word, number, symbol, brace, plain = match.groups()
        if code is not None:
            self._bytes(bytes([int(code, 16)]))
        elif word is not None:
            return self._word(word, int(number) if number else None)
        elif symbol is not None:
            self._symbol(symbol)
        elif brace is not None:
            self._brace(brace)
        elif plain is not None:
            self._bytes(plain)
        return 0

    def _brace(self, brace: bytes) -> None:
        self._decode()
        self.skipping = 0
        if brace == b"}":
            self.group = self.stack.pop() if self.stack else self.group
            return
        if len(self.stack) >= MAX_DEPTH:
            raise DocumentError(
                "corrupt_document", "The RTF file is nested too deeply. Save it as DOCX and upload that."
            )
        self.stack.append(self.group)

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self.group = replace(self.group, silent=True)
        elif symbol in b"\r\n":
            self.paragraph()
        else:
            self._put(_SYMBOLS.get(symbol, ""))

    def _word(self, word: bytes, number: int | None) -> int:
        self._decode()
        if word == b"bin":
            return max(number or 0, 0)
        if word == b"fonttbl":
            self.group = replace(self.group, silent=True, fonts=True)
        elif word in _SILENT:
            self.group = replace(self.group, silent=True)
        elif word in _CHARS:
            self._put(_CHARS[word])
        elif word == b"u" and number is not None:
            self._unicode(number)
        elif word == b"uc":
            self.group = replace(self.group, skip=min(max(number or 0, 0), 16))
        elif word in {b"ansicpg", b"f", b"fcharset"}:
            self._encoding(word, number or 0)
        else:
            self._layout(word)
        return 0

    def _encoding(self, word: bytes, number: int) -> None:
        if word == b"ansicpg":
            self.codec = codec_name(f"cp{number}") or self.codec
        elif word == b"f":
            self.font = number
            self.group = replace(self.group, codec=self.fonts.get(number, ""))
        elif self.group.fonts and number in _CHARSETS and number:
            self.fonts[self.font] = _CHARSETS[number]

    def _layout(self, word: bytes) -> None:
        if self.group.silent:
            return
        if word in {b"par", b"sect", b"page"}:
            if self.group.table:
                self._put(" ")
            else:
                self.paragraph()
        elif word == b"pard":
            self.group = replace(self.group, table=False)
        elif word == b"intbl":
            self.group = replace(self.group, table=True)
        elif word == b"cell":
            self.row.append("".join(self.text))
            self.text.clear()
        elif word == b"row":
            self.rows.append(self.row)
            self.row = []

    def _unicode(self, number: int) -> None:
        value = number + 65_536 if number < 0 else number
        self.skipping = 0
        char = chr(value) if 0 <= value <= 0x10FFFF else ""
        if 0xD800 <= value <= 0xDBFF:
            self.high = char
        elif 0xDC00 <= value <= 0xDFFF:
            pair = (self.high + char).encode("utf-16-le", "surrogatepass")
            self._put(pair.decode("utf-16-le", "replace"))
        else:
            self._put(char)
        self.skipping = self.group.skip

    def _bytes(self, data: bytes) -> None:
        if self.skipping:
            dropped = min(self.skipping, len(data))
            self.skipping -= dropped
            data = data[dropped:]
        if not self.group.silent:
            self.raw += data

    def _decode(self) -> None:
        """Bytes wait until the run ends: a double-byte character comes as two escapes."""
        if self.raw:
            self.text.append(self.raw.decode(self.group.codec or self.codec, "replace"))
            self.raw.clear()

    def _put(self, text: str) -> None:
        self._decode()
        if self.skipping and text:
            self.skipping -= 1
        elif not self.group.silent:
            self.text.append(text)

    def paragraph(self) -> None:
        self._decode()
        text = "".join(self.text)
        self.text.clear()
        if text.strip():
            self.end_table()
            self.out.block("paragraph", text)

    def end_table(self) -> None:
        if self.row:
            self.rows.append(self.row)
        self.out.block("table", markdown_table(self.rows))
        self.row, self.rows = [], []


def parse_rtf(path: Path) -> ParsedDocument:
    """One document from an RTF file."""
    out = Canonical()
    _Reader(out).read(path.read_bytes())
    return out.build(RTF)
