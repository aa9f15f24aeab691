"""The `[n]` markers of an answer: where they stand, what they name, and what may still become one."""

from __future__ import annotations

import re
from typing import NamedTuple

from rag.sentences import MARKER_PATTERN

MARKER = re.compile(MARKER_PATTERN)
# The beginning of a marker at the end of the text; longer than any marker can be, it is none.
_UNFINISHED = re.compile(r"[\[【][\d ,;、，–-]{0,60}\Z")
_PART = re.compile(r"(\d{1,3})(?: ?[–-] ?(\d{1,3}))?")
_LONGEST = 64


class Marker(NamedTuple):
    """A marker in a sentence: its span, with the white space before it, and the numbers it names
    (1-based)."""

    start: int
    end: int
    numbers: tuple[int, ...]


def held_from(text: str) -> int:
    """Offset from which `text` must be held back because a marker may be unfinished there; len(text) if
    nowhere."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
    return found.start() if found else len(text)


def find_markers(sentence: str, shown: int) -> list[Marker]:
    """The markers outside inline code. `numbers` holds those that name one of the `shown` passages: none, perhaps."""
    markers = []
    for found in MARKER.finditer(sentence):
        numbers = tuple(n for n in _numbers(found.group()) if 1 <= n <= shown)
        if sentence.count("`", 0, found.start()) % 2 == 0:
            start = len(sentence[: found.start()].rstrip())
            markers.append(Marker(start, found.end(), numbers))
    return markers


def without(sentence: str, markers: list[Marker]) -> str:
    """The sentence with these markers, and the white space before each, taken out."""
    kept, at = [], 0
    for marker in markers:
        kept.append(sentence[at : marker.start])
        at = marker.end
    kept.append(sentence[at:])
    return "".join(kept)


def _numbers(marker: str) -> list[int]:
    numbers: dict[int, None] = {}
    for part in _PART.finditer(marker):
        first = int(part[1])
        last = int(part[2]) if part[2] else first
        for n in range(first, min(last, first + 99) + 1):
            numbers[n] = None
    return list(numbers)
