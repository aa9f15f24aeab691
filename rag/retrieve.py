"""Search: embed the query, one query to the engine, then the cross-encoder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rag.ports import Embedder, Reranker, VectorStore
from rag.types import DEFAULT_TOP_K, Passage, RagOptions, Retrieval, Scope, SearchResult

_MAX_WINDOWS = 8


class Stopwatch:
    """Milliseconds of named steps, each since the one before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.timings: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name] = round((now - self._last) * 1000, 3)
        self._last = now


class Retriever:
    """`search` finds and ranks; the reranker is optional and the result says whether it was applied."""

    def __init__(self, embedder: Embedder, store: VectorStore, reranker: Reranker | None = None) -> None:
        self._embedder = embedder
        self._store = store
        self._reranker = reranker

    @property
    def reranker(self) -> Reranker | None:
        return self._reranker

    async def search(self, query: str, scope: Scope, options: RagOptions) -> SearchResult:
        """The `options.top_k` best passages above `options.min_score`, best first."""
        top_k = options.top_k or DEFAULT_TOP_K
        watch = Stopwatch()
        vector = await self._query_vector(query)
        watch.lap("embed")
        rerank = options.rerank and self._reranker is not None
        found = await self._store.search(
            scope,
            query,
            vector,
            search_type=options.search_type,
            limit=max(options.candidates, top_k) if rerank else top_k,
            filters=options.filters,
        )
        watch.lap("search")
        ranked = await self._rank(query, found) if rerank else found
        watch.lap("rerank")
        best = [passage for passage in ranked if passage.score >= options.min_score][:top_k]
        report = self._report(query, options, len(found), watch.timings)
        return SearchResult(tuple(best), report)

    def _report(self, query: str, options: RagOptions, candidates: int, timings: Mapping[str, float]) -> Retrieval:
        if not options.rerank:
            return Retrieval(query, options.search_type, candidates, "off", timings)
        applied = self._reranker is not None
        return Retrieval(query, options.search_type, candidates, "applied" if applied else "skipped", timings)

    async def _query_vector(self, query: str) -> NDArray[np.float32]:
        """Unit vector of the query; one longer than the model reads is the mean of its windows."""
        spans = self._embedder.token_spans(query)
        size = self._embedder.max_tokens
        if len(spans) <= size:
            windows = [query]
        else:
            starts = range(0, min(len(spans), size * _MAX_WINDOWS), size)
            windows = [query[spans[at][0] : spans[min(at + size, len(spans)) - 1][1]] for at in starts]
        vector = (await self._embedder.embed_queries(windows)).mean(axis=0)
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit

    async def _rank(self, query: str, found: list[Passage]) -> list[Passage]:
        if self._reranker is None or not found:
            return found
        scores = await self._reranker.score(query, [passage.text for passage in found])
        scored = [replace(passage, score=score) for passage, score in zip(found, scores, strict=True)]
        return sorted(scored, key=lambda passage: -passage.score)
