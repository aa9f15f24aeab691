"""Citations while the answer is being written, one stream per choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.citations.markers import held_from
from rag.citations.sources import Sources
from rag.citations.support import Finding, Support, support
from rag.citations.terms import words
from rag.sentences import Segmenter
from rag.types import Annotation, Citation, CitedSpan, Passage


@dataclass(frozen=True, slots=True)
class Piece:
    """Answer text that may be sent now, and the annotations of sentences that closed with it. Never both
    empty."""

    text: str
    annotations: tuple[Annotation, ...] = ()


class CitationStream:
    """Reads one choice of an answer piece by piece, sends it on, and cites each sentence when it closes.

    Under `annotate` the pieces joined are the text that was fed, unchanged. Under `strict` a sentence that no
    source holds exactly or normalized is left out, with its markers, and listed in `dropped`; text then comes
    sentence by sentence. JSON is never cut: under either policy it is sent whole, and the spans tell what is
    verified. Spans and annotations count code points of the text sent, and do not depend on how the input was
    cut in pieces.
    """

    def __init__(
        self,
        passages: Sequence[Passage] | Sources,
        *,
        choice: int = 0,
        policy: Literal["annotate", "strict"] = "annotate",
    ) -> None:
        self._sources = passages if isinstance(passages, Sources) else Sources(passages)
        self._choice = choice
        self._strict = policy == "strict"
        self._segmenter = Segmenter()
        self._held = ""
        self._text = ""  # what the segmenter has seen from `_base` on
        self._base = 0
        self._sent = 0  # length of the text sent
        self._gap = ""  # strict: white space owed to the next sentence
        self._spans: list[tuple[int, CitedSpan]] = []
        self._dropped: list[str] = []
        self._closed = False

    @property
    def spans(self) -> tuple[tuple[int, CitedSpan], ...]:
        """(passage, span) in the order of the answer; passages count from 0."""
        return tuple(self._spans)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Sentences left out under `strict`, in order."""
        return tuple(self._dropped)

    def feed(self, text: str) -> Iterator[Piece]:
        """What may be sent after `text` came from the generator. The work is done before the first piece is
        taken."""
        if self._closed:
            raise RuntimeError("this citation stream is closed; make a new one for another answer")
        self._held += text
        cut = held_from(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return iter(self._advance(ready, self._segmenter.feed(ready)) if ready else ())

    def close(self) -> Iterator[Piece]:
        """The rest, when the generator has ended. A second call gives nothing."""
        if self._closed:
            return iter(())
        self._closed = True
        ready, self._held = self._held, ""
        spans = [*self._segmenter.feed(ready), *self._segmenter.close()]
        return iter(self._advance(ready, spans, last=True))

    def _advance(self, ready: str, closed: Iterable[tuple[int, int]], *, last: bool = False) -> list[Piece]:
        self._text += ready
        if self._strict and not self._segmenter.json:
            # Whether it is JSON may show only later; then nothing was sent yet, and `_text` holds all of it.
            pieces = [piece for start, end in closed if (piece := self._decide(start, end)) is not None]
            return pieces + self._rest() if last else pieces
        if self._strict and not self._sent:
            ready = self._text
        self._sent += len(ready)
        annotations: list[Annotation] = []
        for start, end in closed:
            annotations += self._cite(self._finding(start, end), start)
            self._forget(end)
        return [Piece(ready, tuple(annotations))] if ready or annotations else []

    def _finding(self, start: int, end: int) -> Finding:
        sentence = self._text[start - self._base : end - self._base]
        return support(self._sources, sentence, json=self._segmenter.json)

    def _cite(self, finding: Finding, offset: int) -> list[Annotation]:
        """Records the supports of a sentence that begins at `offset` of the text sent."""
        annotations: dict[Annotation, None] = {}
        for found in finding.supports:
            span = self._span(found, offset)
            self._spans.append((found.passage, span))
            annotations[Annotation(span.answer_start, span.answer_end, found.passage + 1)] = None
        return list(annotations)

    def _span(self, found: Support, offset: int) -> CitedSpan:
        begin, end = offset + found.start, offset + found.end
        if found.quote_start is None or found.quote_end is None:
            return CitedSpan(begin, end, found.verification, choice=self._choice)
        passage = self._sources.passages[found.passage]
        start = passage.start + found.quote_start
        return CitedSpan(
            begin,
            end,
            found.verification,
            quote=passage.text[found.quote_start : found.quote_end],
            start=start,
            end=passage.start + found.quote_end,
            page=passage.page_at(start),
            choice=self._choice,
        )

    def _forget(self, end: int) -> None:
        self._text = self._text[end - self._base :]
        self._base = end

    # strict
    # ---------------------------------------------------------------------------------------------------

    def _decide(self, start: int, end: int) -> Piece | None:
        """Sends the sentence [start, end) or drops it."""
        gap = self._text[: start - self._base]
        sentence = self._text[start - self._base : end - self._base]
        finding = self._finding(start, end)
        self._forget(end)
        # Of two gaps around a dropped sentence the one that separates more stays.
        if not self._gap or gap.count("\n") >= self._gap.count("\n"):
            self._gap = gap
        if not finding.verified or (not words(sentence) and self._dropped and not self._sent):
            self._dropped.append(sentence)
            return None
        text = (self._gap if self._sent else self._gap.lstrip()) + sentence
        annotations = self._cite(finding, self._sent + len(text) - len(sentence))
        self._sent += len(text)
        self._gap = ""
        return Piece(text, tuple(annotations))

    def _rest(self) -> list[Piece]:
        rest, self._text = self._text, ""
        if not rest or not self._sent:
            return []
        self._sent += len(rest)
        return [Piece(rest)]


def cite(passages: Sequence[Passage], streams: Sequence[CitationStream]) -> tuple[Citation, ...]:
    """One citation per passage shown, best first, with the spans of every choice in the order of the
    answers."""
    found: list[list[CitedSpan]] = [[] for _ in passages]
    for stream in streams:
        for n, span in stream.spans:
            found[n].append(span)
    return tuple(Citation(n + 1, passage, tuple(found[n])) for n, passage in enumerate(passages))
