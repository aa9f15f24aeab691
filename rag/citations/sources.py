"""The passages that stood before the model, prepared once for all choices of an answer."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from rag.citations.fold import Folded
from rag.citations.markers import MARKER
from rag.citations.terms import is_negated, measures, numbers, terms, words
from rag.sentences import is_ordinal_noun, sentence_spans
from rag.types import Passage

_ENDED = tuple(".!?…。！？｡．।॥؟۔:：|\"'”’»“‘«)]}）」』】*`")
_LIST_MARK = re.compile(r"\s*(?:[-*+•‣◦–—]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])\s")
_NUMBER_MARK = re.compile(r"\s*\(?(\d{1,3}[.)]|[A-Za-z][.)])\s*")
_WRAPPED_LINE = 30
_LONG_PASSAGE = 400
_NEIGHBOURS = 3
_SIBLINGS = 40


class Rest(NamedTuple):
    """What stands around a stretch inside its own source sentences, and what may belong to them beyond."""

    left: str
    right: str
    beyond: str

    @property
    def whole(self) -> bool:
        """Nothing of the source sentence was left out."""
        return not words(self.left) and not words(self.right)


class PassageText:
    """One passage with its sentences and its folded text, each made when first needed. Offsets are the
    passage's."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.text = passage.text

    @cached_property
    def folded(self) -> Folded:
        return Folded(self.text)

    @cached_property
    def sentences(self) -> list[tuple[int, int]]:
        return sentence_spans(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _ in self.sentences]

    @cached_property
    def _cut_left(self) -> bool:
        """The passage begins in the middle of a sentence of its document."""
        return self.passage.start > 0 and bool(self.sentences) and self.text[self._starts[0]].islower()

    @cached_property
    def _cut_right(self) -> bool:
        """The passage ends in the middle of a sentence: a long one without an end, in a running paragraph."""
        if len(self.text) < _LONG_PASSAGE or not self.sentences:
            return False
        start, end = self.sentences[-1]
        gap = self.text[self.sentences[-2][1] : start] if len(self.sentences) > 1 else ""
        return not self.text[:end].endswith(_ENDED) and "\n" not in gap

    def sentence_at(self, offset: int) -> int:
        """Number of the sentence that holds `offset`, or the last one before it."""
        return max(bisect_right(self._starts, offset) - 1, 0)

    def is_cut(self, rest: Rest, start: int, end: int) -> bool:
        """Whether the stretch reaches an edge of the passage behind which its sentence goes on."""
        left = self._cut_left and self.sentence_at(start) == 0 and not words(rest.left)
        last = len(self.sentences) - 1
        right = self._cut_right and self.sentence_at(end - 1) == last and not words(rest.right)
        return left or right

    def rest(self, start: int, end: int) -> Rest:
        """The remainder of the source sentences that [start, end) touches, list numbers and markers taken
        out."""
        first, last = self.sentence_at(start), self.sentence_at(max(start, end - 1))
        left = self.text[self.sentences[first][0] : start]
        right = self.text[end : max(end, self.sentences[last][1])]
        mark = _NUMBER_MARK.fullmatch(left)
        if mark and not is_ordinal_noun("".join(words(self.text[start:end])[:1])):
            left = ""
        return Rest(left, MARKER.sub("", right), self._before(first) + "\n" + self._after(last))

    def _before(self, first: int) -> str:
        """Lines above that the sentence may continue: a wrapped line, or the lead-in of its list."""
        if self._is_item(first):
            return self._lead_in(first)
        lines: list[str] = []
        while first > 0 and len(lines) < _NEIGHBOURS and self._wraps(first - 1) and not self._is_item(first - 1):
            first -= 1
            lines.append(self._sentence(first))
        return "\n".join(lines)

    def _after(self, last: int) -> str:
        lines: list[str] = []
        while len(lines) < _NEIGHBOURS and self._wraps(last) and not self._is_item(last + 1):
            last += 1
            lines.append(self._sentence(last))
        return "\n".join(lines)

    def _wraps(self, n: int) -> bool:
        """Whether sentence n is a long line without an end, directly above the next one."""
        if not 0 <= n < len(self.sentences) - 1:
            return False
        line = self._sentence(n)
        gap = self.text[self.sentences[n][1] : self._starts[n + 1]]
        return gap.count("\n") == 1 and len(line) >= _WRAPPED_LINE and not line.endswith(_ENDED)

    def _lead_in(self, item: int) -> str:
        for n in range(item - 1, max(item - _SIBLINGS, -1), -1):
            if not self._is_item(n):
                line = self._sentence(n)
                return line if line.endswith((":", "：")) or not line.endswith(_ENDED) else ""
        return ""

    def _is_item(self, n: int) -> bool:
        return _LIST_MARK.match(self.text, self._starts[n]) is not None or self.text[self._starts[n]] == "|"

    def _sentence(self, n: int) -> str:
        start, end = self.sentences[n]
        return self.text[start:end]


class Aligned(NamedTuple):
    """A source sentence that says much the same: passage (0-based), span in it, share of the words found
    there."""

    passage: int
    start: int
    end: int
    score: float


class Sources:
    """All passages shown. Build one for an answer and hand it to the stream of every choice."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = tuple(passages)
        self.pages = tuple(PassageText(passage) for passage in passages)

    def __len__(self) -> int:
        return len(self.passages)

    @cached_property
    def _sentences(self) -> list[tuple[int, int, int]]:
        return [(n, start, end) for n, page in enumerate(self.pages) for start, end in page.sentences]

    @cached_property
    def _postings(self) -> dict[str, list[int]]:
        postings: dict[str, list[int]] = defaultdict(list)
        for number, (n, start, end) in enumerate(self._sentences):
            for term in set(terms(self.pages[n].text[start:end])):
                postings[term].append(number)
        return dict(postings)

    def align(self, sentence: str, passages: Iterable[int], floor: float) -> Aligned | None:
        """The sentence of `passages` (0-based) that holds the largest share of the words of `sentence`, rare
        words counting more; None below `floor`, or where numbers, their units or negation disagree."""
        weights = {term: self._weight(term) for term in set(terms(sentence))}
        total = sum(weights.values())
        if not total:
            return None
        allowed = set(passages)
        found: Counter[int] = Counter()
        for term, weight in weights.items():
            for number in self._postings.get(term, ()):
                if self._sentences[number][0] in allowed:
                    found[number] += weight  # type: ignore[assignment]
        ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        for number, weight in ranked[:8]:
            if weight < floor * total:
                return None
            n, start, end = self._sentences[number]
            if agrees(sentence, self.pages[n].text[start:end]):
                return Aligned(n, start, end, weight / total)
        return None

    def _weight(self, term: str) -> float:
        return math.log(1 + len(self._sentences) / (len(self._postings.get(term, ())) or 0.5))


def agrees(claim: str, source: str) -> bool:
    """Every number of the claim, with the unit behind it, stands in the source; both negate or neither
    does."""
    if not numbers(claim) <= numbers(source) or is_negated(claim) != is_negated(source):
        return False
    known = set(terms(source))
    return all(unit in known for _, unit in measures(claim))
