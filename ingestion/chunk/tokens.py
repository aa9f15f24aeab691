"""The tokens of a whole text, counted over any stretch of it in logarithmic time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

TokenSpans = Callable[[str], Sequence[tuple[int, int]]]

_WINDOW = 100_000
_REACH = 20_000
# A token of a real word has four or five characters. A vocabulary may swallow a whole unknown word, or drop
# what it does not know: then the size in characters decides.
_MOST_CHARACTERS = 16
_LEAST_CHARACTERS = 64


class Tokens:
    """Token starts and ends of `text`, made in windows that end between paragraphs."""

    def __init__(self, text: str, token_spans: TokenSpans) -> None:
        self._text = text
        self._token_spans = token_spans
        parts = [_spans(token_spans, text[a:b], a) for a, b in _windows(text)]
        spans = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
        self.starts = np.ascontiguousarray(spans[:, 0])
        self.ends = np.maximum.accumulate(spans[:, 1]) if len(spans) else spans[:, 1]

    def count(self, start: int, end: int) -> int:
        """Tokens that touch text[start:end]."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        return max(int(np.searchsorted(self.starts, end, side="left")) - first, 0)

    def reach(self, start: int, size: int) -> int:
        """The farthest end at which text[start:end] still has at most `size` tokens and a sane length."""
        first = int(np.searchsorted(self.ends, start, side="right")) + size
        end = int(self.starts[first]) if first < len(self.starts) else len(self._text)
        return max(min(end, start + self.most_characters(size)), start + 1)

    def back(self, end: int, size: int) -> int:
        """The earliest start from which text[start:end] has at most `size` tokens and a sane length."""
        last = int(np.searchsorted(self.starts, end, side="left")) - size
        start = int(self.ends[last - 1]) if last > 0 else 0
        return max(start, end - self.most_characters(size))

    def alone(self, start: int, end: int) -> int:
        """Tokens of text[start:end] when it is encoded on its own, as an embedder will."""
        return len(_spans(self._token_spans, self._text[start:end], 0))

    @staticmethod
    def most_characters(size: int) -> int:
        return max(size * _MOST_CHARACTERS, _LEAST_CHARACTERS)


def _spans(token_spans: TokenSpans, text: str, offset: int) -> NDArray[np.int64]:
    found = np.asarray(token_spans(text), dtype=np.int64).reshape(-1, 2)
    return found[found[:, 1] > found[:, 0]] + offset


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while len(text) - start > _WINDOW:
        end = _pause(text, start + _WINDOW - _REACH, start + _WINDOW)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _pause(text: str, least: int, most: int) -> int:
    """The last blank line, line end or space in text[least:most], else `most`."""
    for pause in ("\n\n", "\n", " "):
        at = text.rfind(pause, least, most)
        if at >= 0:
            return at + len(pause)
    return most
