"""The builder of canonical text: every parser writes through it, so offsets are exact by construction."""

from __future__ import annotations

import re
import unicodedata

from ingestion.parse.elements import Block, BlockKind, PageOutcome, ParsedDocument
from rag.errors import DocumentError

MAX_CHARS = 40_000_000
MAX_BLOCKS = 2_000_000
MAX_HEADING = 300
MAX_LEVEL = 9
SEPARATOR = "\n\n"

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# No-break spaces are spaces to a reader and to a search.
_SPACES = re.compile("[\t\u00a0\u202f]")
# Controls, soft hyphens, zero-width spaces, bidi overrides, invisible tag characters, noncharacters and lone
# surrogates carry no words; several of them are used to hide text. ZWJ and ZWNJ stay: Persian and Hindi need
# them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_TRAILING = re.compile(" +(?=\n|$)")
_BLANK_LINES = re.compile("\n{3,}")


def normalize(text: str) -> str:
    """NFC, `\\n` line ends, no control or invisible characters, no trailing spaces. Idempotent."""
    text = _LINE_ENDS.sub("\n", text)
    text = _SPACES.sub(" ", text)
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return _BLANK_LINES.sub(SEPARATOR, _TRAILING.sub("", text))


def fold(text: str) -> str:
    """One line, single spaces: for headings, titles and table cells."""
    return " ".join(normalize(text).split())


class Canonical:
    """Collects blocks in reading order. Raises DocumentError too_large past the bounds."""

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._pages: list[tuple[int, int]] = []
        self._outcomes: list[PageOutcome] = []
        self._stack: list[tuple[int, str]] = []
        self._path: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self._blocks

    def heading(self, level: int, text: str) -> None:
        """A heading of `level` (1 outermost) opens a section that lasts until the next of its level or
        above."""
        title = fold(text)
        if not title:
            return
        level = min(max(level, 1), MAX_LEVEL)
        kept = [entry for entry in self._stack if entry[0] < level]
        self._stack = [*kept, (level, title[:MAX_HEADING])]
        self._path = tuple(name for _, name in self._stack)
        self._append("heading", title)

    def block(self, kind: BlockKind, text: str) -> None:
        """Adds a block under the current heading; text without any word character is left out."""
        clean = normalize(text).strip("\n")
        clean = clean.rstrip() if kind == "code" else clean.strip()
        if clean.strip():
            self._append(kind, clean)

    def page(self, number: int, outcome: PageOutcome) -> None:
        """Everything added from here on is on page `number` (1-based, ascending)."""
        self._pages.append((self._next_offset(), number))
        self._outcomes.append(outcome)

    def build(self, content_type: str, title: str | None = None) -> ParsedDocument:
        """Raises DocumentError empty_document where nothing was added: zero text is never success."""
        if self.empty:
            raise DocumentError("empty_document", "The document holds no text. Upload a file that contains text.")
        return ParsedDocument(
            text=SEPARATOR.join(self._parts),
            blocks=tuple(self._blocks),
            pages=tuple((min(offset, self._length), number) for offset, number in self._pages),
            page_outcomes=tuple(self._outcomes),
            content_type=content_type,
            title=(fold(title)[:MAX_HEADING] or None) if title else None,
        )

    def _next_offset(self) -> int:
        return self._length + len(SEPARATOR) if self._parts else 0

    def _append(self, kind: BlockKind, text: str) -> None:
        start = self._next_offset()
        end = start + len(text)
        if end > self._max_chars or len(self._blocks) >= MAX_BLOCKS:
            raise DocumentError(
                "too_large",
                f"The document holds more than {self._max_chars:,} characters of text. Split it into smaller files.",
            )
        self._parts.append(text)
        self._blocks.append(Block(kind, start, end, self._path))
        self._length = end
