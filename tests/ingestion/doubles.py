"""Small stand-ins for the parts beside ingestion, with a place to make each of them fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingestion.parse.elements import ParsedDocument
from ingestion.pipeline import TokenSpans
from ingestion.records import ChunkingStrategy
from rag.errors import DocumentError
from rag.ports import Vectors
from rag.qdrant import point_id
from rag.types import Chunk, DocumentRef, Passage, Scope

Hook = Callable[[], Awaitable[None] | None]


class Faults:
    """Named places in which a test can raise, wait or look."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}
        self.seen: list[str] = []

    def on(self, place: str, hook: Hook) -> None:
        self._hooks[place] = hook

    def raising(self, place: str, error: BaseException, times: int = 1) -> None:
        left = times

        def hook() -> None:
            nonlocal left
            if left > 0:
                left -= 1
                raise error

        self.on(place, hook)

    def clear(self) -> None:
        self._hooks.clear()

    async def at(self, place: str) -> None:
        self.seen.append(place)
        if (hook := self._hooks.get(place)) and (waiting := hook()) is not None:
            await waiting


class MemoryStore:
    """A VectorStore in a dict: (tenant, kb, document, version, n) → (reference, chunk)."""

    def __init__(self, faults: Faults) -> None:
        self.points: dict[tuple[str, str, str, int, int], tuple[DocumentRef, Chunk]] = {}
        self.faults = faults

    def _of(self, scope: Scope, document_id: str | None) -> list[tuple[str, str, str, int, int]]:
        return [
            key
            for key in self.points
            if key[0] == scope.tenant_id and key[1] in scope.knowledge_base_ids and document_id in (None, key[2])
        ]

    async def replace(self, document: DocumentRef, chunks: Sequence[Chunk], vectors: Vectors) -> int:
        assert len(chunks) == len(vectors)
        await self.faults.at("before replace")
        base = (document.tenant_id, document.knowledge_base_id, document.document_id)
        for at, chunk in enumerate(chunks):
            if at == len(chunks) // 2:
                await self.faults.at("within replace")
            self.points[(*base, document.version, chunk.n)] = (document, chunk)
        scope = Scope(document.tenant_id, (document.knowledge_base_id,))
        for key in self._of(scope, document.document_id):
            if key[3] != document.version:
                del self.points[key]
        await self.faults.at("after replace")
        return await self.count(scope, document.document_id)

    async def search(self, *_: Any, **__: Any) -> list[Passage]:
        raise AssertionError("ingestion never searches")

    async def chunks(self, scope: Scope, document_id: str, *, limit: int, after: int | None) -> list[Passage]:
        keys = sorted(self._of(scope, document_id), key=lambda key: key[4])
        found = [self.points[key] for key in keys if after is None or key[4] > after]
        return [_passage(reference, chunk) for reference, chunk in found[:limit]]

    async def count(self, scope: Scope, document_id: str | None = None) -> int:
        return len(self._of(scope, document_id))

    async def delete(self, scope: Scope, document_id: str | None = None) -> int:
        await self.faults.at("before delete")
        keys = self._of(scope, document_id)
        for key in keys:
            del self.points[key]
        await self.faults.at("after delete")
        return len(keys)

    async def set_metadata(self, scope: Scope, document_id: str, metadata: Mapping[str, Any]) -> None:
        await self.faults.at("before set_metadata")
        for key in self._of(scope, document_id):
            reference, chunk = self.points[key]
            fields = {name: getattr(reference, name) for name in DocumentRef.__slots__}
            self.points[key] = (DocumentRef(**{**fields, "metadata": metadata}), chunk)

    async def healthy(self) -> bool:
        return True


def _passage(reference: DocumentRef, chunk: Chunk) -> Passage:
    return Passage(
        chunk_id="chunk_" + point_id(reference, chunk.n).replace("-", ""),
        document_id=reference.document_id,
        knowledge_base_id=reference.knowledge_base_id,
        source=reference.source,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        n=chunk.n,
    )


class TextParser:
    """The file is UTF-8 text. `locked` in it is a document error, as is nothing."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.parsed: list[str] = []

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        await self.faults.at("parse")
        self.parsed.append(name)
        text = (await asyncio.to_thread(path.read_bytes)).decode()
        if "locked" in text:
            raise DocumentError("needs_password", "the file is encrypted; upload it without a password")
        return ParsedDocument(text, (), pages=((0, 1),), page_outcomes=("text",))


def three_words(document: ParsedDocument, strategy: ChunkingStrategy, spans: TokenSpans) -> list[Chunk]:
    """Chunks of three tokens."""
    tokens = list(spans(document.text))
    parts = [tokens[at : at + 3] for at in range(0, len(tokens), 3)]
    return [
        Chunk(n, document.text[part[0][0] : part[-1][1]], part[0][0], part[-1][1], pages=((0, 1),))
        for n, part in enumerate(parts)
    ]


class FaultyEmbedder:
    """The shipped double with a place to fail."""

    model = "hash-embedder"
    dimension = 8
    max_tokens = 256

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.batches: list[int] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        await self.faults.at("embed")
        self.batches.append(len(texts))
        return np.ones((len(texts), self.dimension), dtype=np.float32)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return await self.embed_documents(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        spans, at = [], 0
        for word in text.split():
            start = text.index(word, at)
            at = start + len(word)
            spans.append((start, at))
        return spans


class Outbox:
    """A dispatcher that keeps the messages, or fails."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.failing: Exception | None = None

    async def enqueue(self, job_id: str, fan_out: int) -> None:
        if self.failing:
            raise self.failing
        self.sent.append((job_id, fan_out))

    def take(self) -> list[str]:
        jobs = [job_id for job_id, _ in self.sent]
        self.sent.clear()
        return jobs


class Clock:
    """Time that goes on when told to. Begins with the real one, which the gateway writes into rows."""

    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
