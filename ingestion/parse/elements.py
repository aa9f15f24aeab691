"""What a parser makes of a file: one canonical text, and what its stretches are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "paragraph", "list_item", "table", "code", "caption"]
PageOutcome = Literal["text", "ocr", "blank", "failed"]


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the canonical text, [start, end) in code points; blocks are ordered and disjoint.

    `headings` is the path of headings above the block, outermost first (a heading's own path ends with itself).
    """

    kind: BlockKind
    start: int
    end: int
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """`text` is the canonical text: NFC, `\\n` line ends, no control characters.

    `pages`: (offset at which a page begins, its 1-based number), ascending, one for every page, empty where the
    format has none. `page_outcomes`: one per page; pages in = outcomes out.
    """

    text: str
    blocks: tuple[Block, ...]
    pages: tuple[tuple[int, int], ...] = ()
    page_outcomes: tuple[PageOutcome, ...] = ()
    content_type: str = "text/plain"
    title: str | None = None

    @property
    def page_count(self) -> int | None:
        return len(self.page_outcomes) or None
