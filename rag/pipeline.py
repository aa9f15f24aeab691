"""The whole chat path on one screen: rewrite, retrieve, build the prompt, generate, cite."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from rag import prompt
from rag.citations import CitationStream, Piece, Sources, cite
from rag.collect import collect
from rag.errors import NotFound
from rag.ports import Embedder, Generator, Reranker, VectorStore
from rag.retrieve import Retriever
from rag.rewrite import search_query
from rag.types import (
    DEFAULT_TOP_K,
    Answer,
    Delta,
    GenerationRequest,
    Passage,
    Question,
    RagOptions,
    Retrieval,
    Scope,
    SearchResult,
)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of the model list. `context_length` is in tokens, None while the engine has not told it."""

    id: str
    kind: str
    owned_by: str
    created: int
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A generator under its public name, and how it likes its passages."""

    generator: Generator
    card: ModelCard
    layout: prompt.Layout = field(default_factory=prompt.Layout)
    default_top_k: int = DEFAULT_TOP_K


class Pipeline:
    """Answers questions from knowledge bases. Usable in a notebook: no server, no database."""

    def __init__(
        self,
        embedder: Embedder,
        store: VectorStore,
        chat_models: Mapping[str, ChatModel],
        *,
        reranker: Reranker | None = None,
        cards: Sequence[ModelCard] = (),
    ) -> None:
        self.embedder = embedder
        self.store = store
        self.reranker = reranker
        self._retriever = Retriever(embedder, store, reranker)
        self._chat = dict(chat_models)
        self._cards = tuple(cards)

    @property
    def models(self) -> dict[str, ModelCard]:
        """Every model by public name, aliases included."""
        chat = {name: replace(model.card, id=name) for name, model in self._chat.items()}
        return {**chat, **{card.id: card for card in self._cards}}

    def chat_model(self, name: str) -> ChatModel:
        if name not in self._chat:
            known = ", ".join(sorted(self._chat))
            raise NotFound(
                f"no chat model is named {name!r}; known are: {known}", code="model_not_found", param="model"
            )
        return self._chat[name]

    async def retrieve(self, query: str, scope: Scope, options: RagOptions) -> SearchResult:
        return await self._retriever.search(query, scope, options)

    async def stream(self, question: Question) -> AsyncGenerator[Delta, None]:
        """The answer as it is made; see Delta for what comes when. Closing it stops the generation."""
        model = self.chat_model(question.model)
        if question.scope is None:
            plain = GenerationRequest(question.messages, question.params, _last_words(question))
            async with aclosing(model.generator.stream(plain)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        found = await self._find(question, question.scope, model.default_top_k)
        built = await prompt.build(
            question.messages,
            found.passages,
            model.generator,
            question.params,
            layout=model.layout,
            context_tokens=question.rag.context_tokens,
        )
        request = GenerationRequest(built.messages, question.params, found.retrieval.query, built.passages, True)
        citing = _Citing(built.passages, found.retrieval, question)
        async with aclosing(model.generator.stream(request)) as deltas:
            async for delta in deltas:
                for cited in citing.follow(delta):
                    yield cited

    async def answer(self, question: Question) -> Answer:
        """The joined stream."""
        return await collect(self.stream(question))

    async def _find(self, question: Question, scope: Scope, default_top_k: int) -> SearchResult:
        query = search_query(question.messages, rewrite=question.rag.rewrite == "auto")
        if not query:
            report = Retrieval("", question.rag.search_type, 0, "off")
            return SearchResult((), report)
        options = replace(question.rag, top_k=question.rag.top_k or default_top_k)
        return await self._retriever.search(query, scope, options)


def _last_words(question: Question) -> str:
    return next((m.text for m in reversed(question.messages) if m.role == "user"), "")


@dataclass(slots=True)
class _Citing:
    """Runs every choice's text through the citation checker and closes the answer with the report."""

    passages: tuple[Passage, ...]
    retrieval: Retrieval
    question: Question
    _sources: Sources = field(init=False)
    _streams: dict[int, CitationStream] = field(default_factory=dict)
    _finished: set[int] = field(default_factory=set)
    _started: float = field(default_factory=time.perf_counter)
    _first: float | None = None

    def __post_init__(self) -> None:
        self._sources = Sources(self.passages)

    def follow(self, delta: Delta) -> Iterator[Delta]:
        if not self._streams:
            # With the engine's first word, not before: until then a failure is an error and not a broken stream.
            yield Delta(choice=delta.choice, citations=cite(self.passages, ()))
        if delta.usage is not None:
            yield delta
            return
        stream = self._stream(delta.choice)
        if self._first is None and (delta.text or delta.tool_calls):
            self._first = time.perf_counter()
        yield from _written(delta, stream.feed(delta.text) if delta.text else ())
        if delta.finish_reason is not None:
            for piece in stream.close():
                yield Delta(choice=delta.choice, text=piece.text, annotations=piece.annotations)
            yield self._finish(delta)

    def _stream(self, choice: int) -> CitationStream:
        if choice not in self._streams:
            # With nothing to cite, the strict policy would drop the honest "I do not know" as well.
            policy = self.question.rag.citation_policy if self.passages else "annotate"
            self._streams[choice] = CitationStream(self._sources, choice=choice, policy=policy)
        return self._streams[choice]

    def _finish(self, delta: Delta) -> Delta:
        self._finished.add(delta.choice)
        ended = Delta(choice=delta.choice, finish_reason=delta.finish_reason)
        if len(self._finished) < int(self.question.params.get("n") or 1):
            return ended
        return replace(ended, citations=cite(self.passages, self._ordered()), retrieval=self._report())

    def _ordered(self) -> list[CitationStream]:
        return [self._streams[choice] for choice in sorted(self._streams)]

    def _report(self) -> Retrieval:
        now = time.perf_counter()
        first = self._first or now
        timings = {
            **self.retrieval.timings_ms,
            "first_token": round((first - self._started) * 1000, 3),
            "generate": round((now - self._started) * 1000, 3),
        }
        dropped = tuple(sentence for stream in self._ordered() for sentence in stream.dropped)
        return replace(self.retrieval, timings_ms=timings, dropped_sentences=dropped)


def _written(delta: Delta, pieces: Iterable[Piece]) -> Iterator[Delta]:
    """`delta` with its text replaced by what may be shown by now.

    Everything else that the engine sent goes with the first piece, or alone while the text is held back, so
    log-probabilities stay at their own step.
    """
    bare = replace(delta, text="", finish_reason=None)
    carried = bool(bare.role or bare.tool_calls or bare.logprobs or bare.extra)
    for piece in pieces:
        yield replace(bare if carried else Delta(choice=delta.choice), text=piece.text, annotations=piece.annotations)
        carried = False
    if carried:
        yield bare
