"""Greedy packing: from each start, cut at the best boundary within reach of the size; then step back for the
overlap.

Only sorted offsets and binary searches, so the work is linear in the text (apart from encoding it).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ingestion.chunk.boundaries import Offsets, kept_whole, word_starts
from ingestion.chunk.tokens import Tokens
from ingestion.parse.elements import Block, ParsedDocument
from ingestion.records import ChunkingStrategy
from rag.types import Chunk

# Words and hard cuts are tried in the last part of the reach first, so that one odd space does not make tiny
# chunks.
_WORD_FILL = 0.5
# Encoded alone, a chunk that was cut inside a word may need a few tokens more than inside the whole text.
_SAFETY = 8


@dataclass(frozen=True, slots=True)
class Level:
    """Offsets at which to cut, if the chunk is then at least `fill` of its size. `overlaps`: the next chunk
    may repeat the end of this one."""

    starts: Offsets
    fill: float
    overlaps: bool = True


@dataclass(frozen=True, slots=True)
class Levels:
    """Boundaries in the order of preference; words and hard cuts come after them. `word_overlap`: the overlap
    may begin at a word where no better boundary lies in it."""

    coarse: tuple[Level, ...]
    word_overlap: bool = True


def pack(document: ParsedDocument, levels: Levels, tokens: Tokens, strategy: ChunkingStrategy) -> list[Chunk]:
    """The chunks of a document with at least one character that is not white space."""
    packer = _Packer(document, levels, tokens, strategy)
    describe = _Describer(document)
    return [describe.chunk(n, start, end) for n, (start, end) in enumerate(packer.spans())]


class _Packer:
    def __init__(self, document: ParsedDocument, levels: Levels, tokens: Tokens, strategy: ChunkingStrategy) -> None:
        self._text = document.text
        self._levels = levels
        self._tokens = tokens
        self._size = strategy.chunk_size
        self._overlap = strategy.chunk_overlap
        self._words = word_starts(document)
        self._kept = kept_whole(document)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Stripped spans; their starts and their ends ascend."""
        start = self._skip(0)
        done = start  # everything before is in a chunk
        while start < len(self._text):
            cut, overlaps = self._cut(start, done)
            if cut <= done:  # the overlap left no room for anything new
                start = done
                continue
            yield start, self._strip(start, cut)
            done = self._skip(cut)
            start = self._step_back(start, cut, done) if overlaps else done

    def _cut(self, start: int, done: int) -> tuple[int, bool]:
        """Where the chunk that begins at `start` ends, and whether the next one may overlap it."""
        limit = self._limit(start)
        if limit >= len(self._text):
            return len(self._text), False
        for level in self._levels.coarse:
            cut = _last(level.starts, max(done, self._filled(start, limit, level.fill)), limit)
            if cut is not None:
                return cut, level.overlaps
        return self._fine_cut(start, done, limit), True

    def _fine_cut(self, start: int, done: int, limit: int) -> int:
        """A cut between words, else between tokens, else wherever the limit is."""
        cut = _last(self._words, max(done, self._filled(start, limit, _WORD_FILL)), limit)
        if cut is not None:
            return cut
        kept = self._is_kept_whole(limit)
        if kept:
            cut = _last(self._words, done, limit)
            if cut is not None or start < done:
                return cut if cut is not None else done
        cut = self._between_tokens(max(done, self._filled(start, limit, _WORD_FILL)), limit, anywhere=kept)
        if cut is None:
            cut = _last(self._words, done, limit)
        return cut if cut is not None else self._whole_character(start, limit)

    def _is_kept_whole(self, at: int) -> bool:
        """Whether `at` lies inside a table row, a heading, or between a heading and what follows it."""
        n = int(np.searchsorted(self._kept[:, 0], at, "left")) - 1
        return n >= 0 and at < self._kept[n, 1]

    def _between_tokens(self, least: int, limit: int, *, anywhere: bool) -> int | None:
        """The last token start in (least, limit] that splits no word with letters and no number; unless `anywhere`,
        also nothing that is kept whole."""
        starts, text = self._tokens.starts, self._text
        low, high = np.searchsorted(starts, least, "right"), np.searchsorted(starts, limit, "right")
        for at in reversed(starts[low:high].tolist()):
            if at >= len(text) or _splits_word(text[at - 1], text[at]):
                continue
            if anywhere or not self._is_kept_whole(at):
                return int(at)
        return None

    def _whole_character(self, start: int, limit: int) -> int:
        """`limit`, moved back from inside a number or before a combining mark if that costs little."""
        text = self._text
        for at in range(limit, max(start, limit - 32), -1):
            splits_number = text[at - 1].isdigit() and text[at].isdigit()
            if not splits_number and not _combines(text[at]):
                return at
        return limit

    def _limit(self, start: int) -> int:
        """The farthest end of a chunk that begins at `start`. Where it would be cut inside a run without
        spaces the chunk is encoded alone to make sure that it fits."""
        size, text = self._size, self._text
        limit = self._tokens.reach(start, size)
        while limit < len(text) and limit - start > 1 and self._is_tight(start, limit):
            excess = self._tokens.alone(start, self._strip(start, limit)) - self._size
            if excess <= 0:
                break
            size -= max(excess, 1)
            if size < 1:
                return max(start + 1, start + (limit - start) // 2)
            limit = min(self._tokens.reach(start, size), limit - 1)
        return limit

    def _is_tight(self, start: int, limit: int) -> bool:
        """Whether encoding the stretch alone may give more tokens than it has inside the text."""
        text = self._text
        opens = start > 0 and not text[start - 1].isspace()
        closes = not text[limit - 1].isspace() and not text[limit].isspace()
        return (opens or closes) and self._tokens.count(start, limit) > self._size - _SAFETY

    def _filled(self, start: int, limit: int, share: float) -> int:
        """The offset at which a chunk from `start` is filled to `share`."""
        if share <= 0:
            return start
        return min(self._tokens.reach(start, max(int(self._size * share), 1)) - 1, limit - 1)

    def _step_back(self, start: int, cut: int, done: int) -> int:
        """Where the next chunk begins: within the overlap before `cut`, behind `start`, or at `done`."""
        if not self._overlap or done >= len(self._text):
            return done
        earliest = max(self._tokens.back(cut, self._overlap), start + 1)
        for level in self._levels.coarse[1:] or self._levels.coarse:
            at = _first(level.starts, earliest, cut)
            if at is not None:
                return self._skip(at)
        at = _first(self._words, earliest, cut) if self._levels.word_overlap else None
        return self._skip(at) if at is not None else done

    def _skip(self, at: int) -> int:
        text = self._text
        while at < len(text) and text[at].isspace():
            at += 1
        return at

    def _strip(self, start: int, end: int) -> int:
        text = self._text
        while end > start and text[end - 1].isspace():
            end -= 1
        return end


class _Describer:
    """Adds pages and headings to spans."""

    def __init__(self, document: ParsedDocument) -> None:
        self._document = document
        self._ends = [block.end for block in document.blocks]
        self._pages = [start for start, _ in document.pages]

    def chunk(self, n: int, start: int, end: int) -> Chunk:
        return Chunk(
            n,
            self._document.text[start:end],
            start,
            end,
            self._page_marks(start, end),
            self._path(start, end),
        )

    def _page_marks(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        if not self._pages:
            return ()
        first = max(bisect_right(self._pages, start) - 1, 0)
        last = max(bisect_right(self._pages, end - 1) - 1, first)
        return self._document.pages[first : last + 1]

    def _path(self, start: int, end: int) -> tuple[str, ...]:
        """Headings of the chunk's first block that is none itself, else of its first block."""
        first: Block | None = None
        for block in self._document.blocks[bisect_right(self._ends, start) :]:
            if block.start >= end:
                break
            if block.kind != "heading":
                return block.headings
            first = first or block
        return first.headings if first else ()


def _last(offsets: Offsets, above: int, most: int) -> int | None:
    """The largest offset in (above, most]."""
    at = int(np.searchsorted(offsets, most, "right")) - 1
    return int(offsets[at]) if at >= 0 and offsets[at] > above else None


def _first(offsets: Offsets, least: int, below: int) -> int | None:
    """The smallest offset in [least, below)."""
    at = int(np.searchsorted(offsets, least, "left"))
    return int(offsets[at]) if at < len(offsets) and offsets[at] < below else None


def _splits_word(left: str, right: str) -> bool:
    """Whether both are parts of one number or of one word of a script with spaces."""
    if left.isdigit() and right.isdigit():
        return True
    return left.isalnum() and right.isalnum() and left < "\u0e00" and right < "\u0e00"


def _combines(char: str) -> bool:
    return unicodedata.combining(char) != 0
