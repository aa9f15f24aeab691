"""Folding that hides typography and nothing else, with a map back to the original code points.

Folded: letter case, runs of white space, kinds of quotation mark and dash, full-width forms, `…`, Unicode
composition (NFC and NFD agree), invisible characters, and Markdown's `**`, `*word*` and backticks. Digits,
signs, superscripts, fractions and every other character stay as they are. Length may change (`ß` → `ss`), so
each folded character remembers which cluster of original characters it came from.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from functools import lru_cache

_INVISIBLE = "\u00ad\u200b\u2060\ufeff"
_TABLE = {
    **dict.fromkeys(map(ord, "«»„“”‟〝〞「」『』＂"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛‹›ʼ´＇′"), "'"),
    **dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣－"), "-"),
    ord("″"): '"',
    ord("…"): "...",
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "＂＇－"},
}
# Runs that fold one to one, white space, emphasis, and everything else as base character with combining
# marks.
_PIECES = re.compile(
    r"(?P<plain>[!-)+-_a-~]+(?: [!-)+-_a-~]+)*)"
    rf"|(?P<space>[\s{_INVISIBLE}]*\s[\s{_INVISIBLE}]*)"
    r"|(?P<mark>`+|\*+)"
    rf"|(?P<gone>[{_INVISIBLE}]+)"
    r"|(?P<other>.)",
    re.DOTALL,
)


class Folded:
    """`text` folded. `starts[i]:ends[i]` is the stretch of the original that folded character i came from."""

    __slots__ = ("ends", "starts", "text")

    def __init__(self, original: str) -> None:
        self.starts = array("L")
        self.ends = array("L")
        self.text = "".join(self._fold(original))

    def original(self, start: int, end: int) -> tuple[int, int] | None:
        """Span of the original behind text[start:end]; None where an edge lies inside one original
        cluster."""
        if start > 0 and self.starts[start - 1] == self.starts[start]:
            return None
        if end < len(self.text) and self.starts[end] == self.starts[end - 1]:
            return None
        return self.starts[start], self.ends[end - 1]

    def _fold(self, original: str) -> list[str]:
        out: list[str] = []
        at, size = 0, len(original)
        while at < size:
            found = _PIECES.match(original, at)
            assert found is not None
            at, kind = found.end(), found.lastgroup
            if kind == "plain" and (at >= size or not _is_mark(original[at])):
                self._copy(out, found.group(), found.start())
            elif kind == "space":
                self._add(out, " ", found.start(), at)
            elif kind == "mark":
                if not _is_emphasis(original, found.start(), at):
                    self._copy(out, found.group(), found.start())
            elif kind != "gone":
                at = self._cluster(out, original, found.start(), at)
        return out

    def _copy(self, out: list[str], piece: str, start: int) -> None:
        out.append(piece.lower())
        self.starts.extend(range(start, start + len(piece)))
        self.ends.extend(range(start + 1, start + len(piece) + 1))

    def _add(self, out: list[str], folded: str, start: int, end: int) -> None:
        out.append(folded)
        self.starts.extend([start] * len(folded))
        self.ends.extend([end] * len(folded))

    def _cluster(self, out: list[str], original: str, start: int, at: int) -> int:
        """One base character with its combining marks; returns where it ends."""
        if at - start > 1:  # a plain run whose last character takes a mark
            self._copy(out, original[start : at - 1], start)
            start = at - 1
        while at < len(original) and _is_mark(original[at]):
            at += 1
        folded = _fold_cluster(original[start:at]) if at - start < 8 else _fold_long(original[start:at])
        self._add(out, folded, start, at)
        return at


def fold(text: str) -> str:
    """The folded text alone."""
    return Folded(text).text


@lru_cache(maxsize=8192)
def _fold_cluster(cluster: str) -> str:
    return _fold_long(cluster)


def _fold_long(cluster: str) -> str:
    mapped = cluster.translate(_TABLE)
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", mapped).casefold())


def _is_mark(char: str) -> bool:
    return char > "\u02ff" and unicodedata.combining(char) != 0


def _is_emphasis(text: str, start: int, end: int) -> bool:
    """Whether the stars or backticks at [start, end) mark up a word: text on one side, none on the other."""
    if text[start] == "`":
        return True
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    if end - start >= 2:
        return not (before.isspace() and after.isspace())
    wordy = before.isalnum() or _is_mark(before)
    return wordy != after.isalnum() and not (before.isdigit() and after.isspace())
