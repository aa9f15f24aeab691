"""A VectorStore in a dictionary, for tests of what stands above it. The store itself is tested on vectord."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.ports import Vectors
from rag.types import Chunk, DocumentRef, Passage, Scope, SearchType


class MemoryStore:
    def __init__(self) -> None:
        self.points: dict[tuple[str, str, str, int], tuple[Passage, NDArray[np.float32]]] = {}
        self.searches: list[dict[str, Any]] = []

    def _inside(self, scope: Scope, document_id: str | None = None) -> list[tuple[str, str, str, int]]:
        return [
            key
            for key in self.points
            if key[0] == scope.tenant_id and key[1] in scope.knowledge_base_ids and document_id in (None, key[2])
        ]

    async def replace(self, document: DocumentRef, chunks: Sequence[Chunk], vectors: Vectors) -> int:
        scope = Scope(document.tenant_id, (document.knowledge_base_id,))
        await self.delete(scope, document.document_id)
        for chunk, vector in zip(chunks, vectors, strict=True):
            passage = Passage(
                chunk_id=f"chunk_{document.document_id}_{chunk.n}",
                document_id=document.document_id,
                knowledge_base_id=document.knowledge_base_id,
                source=document.source,
                text=chunk.text,
                start=chunk.start,
                end=chunk.end,
                n=chunk.n,
                pages=chunk.pages,
                headings=chunk.headings,
                metadata=document.metadata,
            )
            key = (document.tenant_id, document.knowledge_base_id, document.document_id, chunk.n)
            self.points[key] = (passage, vector)
        return len(chunks)

    async def search(
        self,
        scope: Scope,
        query: str,
        vector: NDArray[np.float32] | None,
        *,
        search_type: SearchType,
        limit: int,
        filters: Mapping[str, Any],
    ) -> list[Passage]:
        self.searches.append({"query": query, "search_type": search_type, "limit": limit, "filters": filters})
        assert vector is not None
        hits = [self.points[key] for key in self._inside(scope)]
        scored = [replace(p, score=(float(v @ vector) + 1) / 2) for p, v in hits]
        return sorted(scored, key=lambda passage: -passage.score)[:limit]

    async def chunks(self, scope: Scope, document_id: str, *, limit: int, after: int | None) -> list[Passage]:
        found = sorted((self.points[k][0] for k in self._inside(scope, document_id)), key=lambda p: p.n)
        return [p for p in found if after is None or p.n > after][:limit]

    async def count(self, scope: Scope, document_id: str | None = None) -> int:
        return len(self._inside(scope, document_id))

    async def delete(self, scope: Scope, document_id: str | None = None) -> int:
        keys = self._inside(scope, document_id)
        for key in keys:
            del self.points[key]
        return len(keys)

    async def set_metadata(self, scope: Scope, document_id: str, metadata: Mapping[str, Any]) -> None:
        raise AssertionError("not used")

    async def healthy(self) -> bool:
        return True
