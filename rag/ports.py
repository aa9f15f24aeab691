"""The four parts that can be swapped. Ports are async; CPU-bound adapters hop to a thread once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.types import (
    Chunk,
    Delta,
    DocumentRef,
    GenerationRequest,
    Message,
    Passage,
    Scope,
    SearchType,
)

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into unit vectors. `max_tokens` counts content tokens: special tokens are taken off."""

    @property
    def model(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """(n, dimension) float32 unit rows. Raises InvalidRequest for a text longer than the model reads."""
        ...

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As embed_documents, with the model's query prefix."""
        ...

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Code-point span of every token of `text`, in order, without special tokens."""
        ...


class Reranker(Protocol):
    @property
    def model(self) -> str: ...

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Probability 0–1 that each text answers the query, in the order given."""
        ...


class Generator(Protocol):
    """A chat model."""

    @property
    def model(self) -> str: ...

    async def context_length(self) -> int:
        """Tokens of prompt and answer together. Raises EngineUnavailable while the engine is not up."""
        ...

    async def count_tokens(self, messages: Sequence[Message], params: Mapping[str, Any]) -> int:
        """Prompt tokens of `messages` and `params["tools"]` as the model's own chat template makes them."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """The answer as it is made; closing it stops the generation."""
        ...


class VectorStore(Protocol):
    """Chunks and vectors. Every method is confined to a scope or to one document of one tenant."""

    async def replace(self, document: DocumentRef, chunks: Sequence[Chunk], vectors: Vectors) -> int:
        """Stores this version, then drops every other version of the document. Idempotent.
        Returns the number of points now counted for the document."""
        ...

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
        """One query to the engine, best first. `filters` is API.md's filter object."""
        ...

    async def chunks(self, scope: Scope, document_id: str, *, limit: int, after: int | None) -> list[Passage]:
        """A document's chunks in reading order, those with n > `after`."""
        ...

    async def count(self, scope: Scope, document_id: str | None = None) -> int: ...
    async def delete(self, scope: Scope, document_id: str | None = None) -> int:
        """Removes a document, or everything in scope; returns how many points went."""
        ...

    async def set_metadata(self, scope: Scope, document_id: str, metadata: Mapping[str, Any]) -> None: ...
    async def healthy(self) -> bool: ...
