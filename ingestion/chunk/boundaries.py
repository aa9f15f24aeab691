"""Offsets at which a document may be cut, coarse to fine, as sorted arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ingestion.parse.elements import Block, ParsedDocument
from rag.sentences import sentence_spans

Offsets = NDArray[np.int64]

_BLANK = re.compile(r"\n[ \t]*\n\s*")
_SPACE = re.compile(r"\s*")
_LINE = re.compile(r"\n\s*")
_SPACES = np.array(sorted(c for c in range(0x3001) if chr(c).isspace()), dtype=np.uint32)
# Behind these a script without spaces may be cut as behind a word.
_PAUSES = np.array([ord(c) for c in "、，；：。！？・）」』】"], dtype=np.uint32)


def section_starts(document: ParsedDocument) -> Offsets:
    """Headings that no other heading stands directly above."""
    blocks = document.blocks
    return _offsets(
        block.start
        for n, block in enumerate(blocks)
        if block.kind == "heading" and (n == 0 or blocks[n - 1].kind != "heading")
    )


def block_starts(document: ParsedDocument) -> Offsets:
    """Blocks but those directly below a heading, and paragraphs of text outside any block."""
    blocks = document.blocks
    found = {b.start for n, b in enumerate(blocks) if n == 0 or blocks[n - 1].kind != "heading"}
    found.update(block.end for block in blocks if block.kind != "heading")
    below_heading = {block.end for block in blocks if block.kind == "heading"}
    for start, end in gaps(document):
        blanks = _BLANK.finditer(document.text, start, end)
        found.update(blank.end() for blank in blanks if blank.start() not in below_heading)
    return _offsets(found)


def sentence_starts(document: ParsedDocument) -> Offsets:
    """Sentences of prose, lines of code and rows of tables; none inside a heading or directly below it."""
    found: list[int] = []
    text, below_heading = document.text, False
    for block in document.blocks:
        if block.kind == "heading":
            if not below_heading:
                found.append(block.start)
        elif block.kind in ("table", "code"):
            found += _lines(text, block, skip_first=below_heading)
        else:
            found += _sentences(text, block.start, block.end, skip_first=below_heading)
        below_heading = block.kind == "heading"
    headings = {block.end for block in document.blocks if block.kind == "heading"}
    for start, end in gaps(document):
        found += _sentences(text, start, end, skip_first=start in headings)
    return _offsets(found)


def word_starts(document: ParsedDocument) -> Offsets:
    """Behind white space and the punctuation of scripts without spaces, but not inside what is kept whole."""
    codes = np.frombuffer(document.text.encode("utf-32-le"), dtype=np.uint32)
    behind = np.isin(codes, _SPACES) | np.isin(codes, _PAUSES)
    marks = np.flatnonzero(behind).astype(np.int64) + 1
    keep = np.ones(len(marks), dtype=bool)
    for start, end in kept_whole(document).tolist():
        keep[np.searchsorted(marks, start, "right") : np.searchsorted(marks, end, "left")] = False
    return marks[keep]


def kept_whole(document: ParsedDocument) -> Offsets:
    """(start, end) of table rows, and of headings up to what follows them: no cut inside, if one can be avoided."""
    found: list[tuple[int, int]] = []
    for block in document.blocks:
        if block.kind == "heading":
            follow = _SPACE.match(document.text, block.end)
            found.append((block.start, follow.end() + 1 if follow else block.end))
        elif block.kind == "table":
            starts = _lines(document.text, block, skip_first=False)
            found += zip(starts, [*starts[1:], block.end], strict=True)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def gaps(document: ParsedDocument) -> Iterator[tuple[int, int]]:
    """Stretches of text that no block covers and that are not only white space."""
    at = 0
    for block in (*document.blocks, None):
        start = block.start if block else len(document.text)
        if start > at and document.text[at:start].strip():
            yield at, start
        if block:
            at = max(at, block.end)


def _sentences(text: str, start: int, end: int, *, skip_first: bool) -> list[int]:
    starts = [start + a for a, _ in sentence_spans(text[start:end])]
    return starts[1:] if skip_first else starts


def _lines(text: str, block: Block, *, skip_first: bool) -> list[int]:
    starts = [found.end() for found in _LINE.finditer(text, block.start, block.end) if found.end() < block.end]
    return starts if skip_first else [block.start, *starts]


def _offsets(found: Iterable[int]) -> Offsets:
    return np.array(sorted(set(found)), dtype=np.int64)
