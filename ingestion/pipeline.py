"""What a worker does with a job: claim, parse, chunk, embed, store, complete, or deal with a failure.

Every step can be repeated: whatever is killed anywhere ends, done again, in the same store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.blobs import Blobs, document_prefix, original_key, text_key
from ingestion.catalog import ledger, upkeep
from ingestion.catalog.ledger import Claim, LeaseLost, LedgerRow
from ingestion.database import Database
from ingestion.dispatch import Dispatch
from ingestion.lease import Lease, uninterrupted, write
from ingestion.parse.elements import ParsedDocument
from ingestion.records import ChunkingStrategy, Problem
from ingestion.settings import Policy
from rag.errors import DocumentError, IndexMismatch, TensorasError, Unavailable
from rag.ports import Embedder, Vectors, VectorStore
from rag.types import Chunk, DocumentRef, Scope

log = logging.getLogger(__name__)
TokenSpans = Callable[[str], Sequence[tuple[int, int]]]
Chunker = Callable[[ParsedDocument, ChunkingStrategy, TokenSpans], list[Chunk]]


class Parser(Protocol):
    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """Raises DocumentError."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with."""

    database: Database
    blobs: Blobs
    store: VectorStore
    embedder: Embedder
    parser: Parser
    chunker: Chunker
    dispatcher: Dispatch


@dataclass(frozen=True, slots=True)
class _Built:
    """A version, ready to be stored."""

    content_type: str
    page_count: int | None
    chunks: list[Chunk]
    vectors: Vectors


class Pipeline:
    """Runs jobs. `worker` names this process in leases; `clock` is Unix time in seconds."""

    def __init__(
        self,
        parts: Parts,
        policy: Policy | None = None,
        *,
        worker: str = "worker",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parts = parts
        self._policy = policy or Policy()
        self._worker = worker
        self._clock = clock
        self._stopping = False

    def stop(self) -> None:
        """Claims nothing any more; what is in work goes on."""
        self._stopping = True

    # the job -------------------------------------------------------------------------------------
    async def run_job(self, job_id: str) -> None:
        """Works on the job until nothing of it can be claimed, or its slice of time is over; then it queues
        again behind the others. Several workers may do this for the same job at once."""
        began = time.monotonic()
        while not self._stopping and (claim := await self._claim(job_id)):
            await self.process(claim)
            if time.monotonic() - began > self._policy.slice_seconds:
                return await self._queue_again(job_id)
        return None

    async def _claim(self, job_id: str) -> Claim | None:
        def take(connection: AsyncConnection) -> Coroutine[Any, Any, Claim | None]:
            return ledger.claim(
                connection,
                job_id,
                f"{self._worker}:{uuid4().hex}",
                at=self._clock(),
                lease_seconds=self._policy.lease_seconds,
                max_crashes=self._policy.max_crashes,
            )

        return await write(self._parts.database, take)

    async def _queue_again(self, job_id: str) -> None:
        crashes = self._policy.max_crashes
        async with self._parts.database.connect() as connection:
            more = await upkeep.has_claimable(connection, job_id, at=self._clock(), max_crashes=crashes)
        if more and not self._stopping:
            await self._parts.dispatcher.enqueue(job_id, 1)

    # one item ------------------------------------------------------------------------------------
    async def process(self, claim: Claim) -> None:
        """Works on a claimed item and writes down how it ended."""
        lease = Lease(
            self._parts.database,
            claim,
            seconds=self._policy.lease_seconds,
            heartbeat=self._policy.heartbeat_seconds,
            clock=self._clock,
        )
        work = self._care(lease) if claim.aftercare else self._ingest(lease)
        try:
            await lease.guard(work)
        except LeaseLost:
            await uninterrupted(self._let_go(claim))
        except asyncio.CancelledError:
            await uninterrupted(self._record(lease.claim, partial(ledger.release, claimed=lease.claim)))
            raise
        except TensorasError as error:
            await self._failed(lease.claim, error)
        except Exception as error:  # a fault of ours costs one document, which says so, and not its job
            log.exception("a document failed unexpectedly", extra={"document": claim.document_id})
            await self._failed(lease.claim, _unexpected(error))

    async def _ingest(self, lease: Lease) -> None:
        claim = lease.claim
        if claim.current_version and claim.target["sha256"] == claim.current_sha256:
            lease.closing()
            await self._write(partial(ledger.unchanged, claimed=claim))
            return
        built = await self._build(lease, claim.version)
        points = await self._store(lease, claim.version, built)
        lease.closing()
        lease.claim = await self._write(
            partial(
                ledger.complete,
                claimed=claim,
                points=points,
                content_type=built.content_type,
                page_count=built.page_count,
            )
        )
        if lease.claim.aftercare:
            await self._tidy(lease.claim)

    async def _build(self, lease: Lease, version: int) -> _Built:
        claim = lease.claim
        self._check(claim)
        prefix = document_prefix(claim.tenant, claim.kb_id, claim.document_id)
        async with self._parts.blobs.local_path(original_key(prefix, version)) as path:
            parsed = await self._parts.parser.parse(path, claim.name)
        data = await asyncio.to_thread(parsed.text.encode)
        await self._parts.blobs.put(text_key(prefix, version), data)
        spans = self._parts.embedder.token_spans
        chunks = await asyncio.to_thread(self._parts.chunker, parsed, claim.chunking, spans)
        if not chunks:
            raise DocumentError("empty_document", "the document holds no text; check that it is not blank")
        await self._write(partial(_planned, claim=claim, version=version, chunks=chunks))
        vectors = await self._embed(lease, chunks)
        return _Built(parsed.content_type, parsed.page_count, chunks, vectors)

    def _check(self, claim: Claim) -> None:
        if claim.target["size_bytes"] > self._policy.max_file_mb * 1_000_000:
            raise DocumentError(
                "too_large",
                f"the file is larger than {self._policy.max_file_mb} MB; split it into smaller ones",
            )
        if claim.embedding_model != self._parts.embedder.model:
            raise IndexMismatch(
                f"the knowledge base was made with {claim.embedding_model!r}, but this worker embeds with "
                f"{self._parts.embedder.model!r}; set EMBEDDING_MODEL back, or make a new knowledge base"
            )

    async def _embed(self, lease: Lease, chunks: Sequence[Chunk]) -> Vectors:
        size = self._policy.embed_batch
        vectors = np.empty((len(chunks), self._parts.embedder.dimension), dtype=np.float32)
        for at in range(0, len(chunks), size):
            texts = [chunk.text for chunk in chunks[at : at + size]]
            vectors[at : at + len(texts)] = await self._parts.embedder.embed_documents(texts)
            lease.embedded = at + len(texts)
        return vectors

    async def _store(self, lease: Lease, version: int, built: _Built) -> int:
        """The number of vectors that the document has now. Not cut short by a cancellation: a request that is
        under way would land after whatever is decided next."""
        claim = lease.claim
        await self._write(partial(ledger.begin_storing, claimed=claim, until=lease.until))
        return await uninterrupted(self._replace(claim, version, built))

    async def _replace(self, claim: Claim, version: int, built: _Built) -> int:
        store, reference = self._parts.store, _reference(claim, version)
        points = await store.replace(reference, built.chunks, built.vectors)
        if points <= len(built.chunks):
            return points
        # An attempt before, with another release of the parser, left more chunks under the same version.
        log.warning("vectors of an earlier attempt are removed", extra={"document": claim.document_id})
        await store.delete(Scope(claim.tenant, (claim.kb_id,)), claim.document_id)
        return await store.replace(reference, built.chunks, built.vectors)

    # aftercare -----------------------------------------------------------------------------------
    async def _care(self, lease: Lease) -> None:
        """What an ended item left to be done."""
        if lease.claim.aftercare == "undo":
            await self._undo(lease)
        await self._tidy(lease.claim, closing=lease.closing)

    async def _undo(self, lease: Lease) -> None:
        """Takes a version that will not be out of the vector store; the one before it comes back whole."""
        claim = lease.claim
        if claim.current_version == 0:
            scope = Scope(claim.tenant, (claim.kb_id,))
            await uninterrupted(self._parts.store.delete(scope, claim.document_id))
            return
        built = await self._build(lease, claim.current_version)
        points = await self._store(lease, claim.current_version, built)
        await self._write(partial(ledger.restored, claimed=claim, points=points))

    async def _tidy(self, claim: Claim, closing: Callable[[], None] = lambda: None) -> None:
        """Removes the blobs of versions older than the current one."""
        current = claim.version if claim.status == "completed" else claim.current_version
        prefix = document_prefix(claim.tenant, claim.kb_id, claim.document_id)
        for version in {int(key.split("/")[-2]) for key in await self._parts.blobs.keys(prefix)}:
            if version < current:
                await self._parts.blobs.delete_prefix(f"{prefix}/{version}")
        closing()
        await self._write(partial(ledger.cared_for, claimed=claim))

    # failures ------------------------------------------------------------------------------------
    async def _failed(self, claim: Claim, error: TensorasError) -> None:
        problem = Problem(error.code, error.message)
        not_before = self._clock() + self._policy.pause(claim.attempts, error)
        facts = {"document": claim.document_id, "code": error.code, "attempt": claim.attempts}
        if claim.aftercare:
            log.error("cleaning up after a document failed: %s", error.message, extra=facts)
            change = partial(ledger.postpone, claimed=claim, not_before=not_before)
        elif error.retryable and claim.attempts < self._policy.max_attempts:
            log.warning("a document is tried again later: %s", error.message, extra=facts)
            change = partial(ledger.retry, claimed=claim, problem=problem, not_before=not_before)
        else:
            log.warning("a document failed: %s", error.message, extra=facts)
            change = partial(ledger.fail, claimed=claim, problem=problem)
        await uninterrupted(self._record(claim, change))

    async def _record(self, claim: Claim, change: Callable[[AsyncConnection], Coroutine[Any, Any, None]]) -> None:
        """Writes an ending down, patiently: a database that is away for a moment must not cost an attempt.
        After the length of a lease it is left to the sweeper."""
        give_up = time.monotonic() + self._policy.lease_seconds
        while True:
            try:
                await self._write(change)
            except LeaseLost:
                await self._let_go(claim)
            except Unavailable as error:
                if time.monotonic() < give_up:
                    await asyncio.sleep(0.5)
                    continue
                log.warning("how a document ended could not be written down: %s", error)
            return

    async def _let_go(self, claim: Claim) -> None:
        """Others have decided about the item. Of a document that is gone altogether nothing may stay."""
        try:
            async with self._parts.database.connect() as connection:
                gone = not await ledger.document_exists(connection, claim.document_id)
            if gone:
                await self._parts.store.delete(Scope(claim.tenant, (claim.kb_id,)), claim.document_id)
                prefix = document_prefix(claim.tenant, claim.kb_id, claim.document_id)
                await self._parts.blobs.delete_prefix(prefix)
            await self._write(partial(ledger.surrender, claimed=claim))
        except Unavailable as error:
            log.warning("a lease is left to run out: %s", error, extra={"document": claim.document_id})

    async def _write(self, change: Callable[[AsyncConnection], Coroutine[Any, Any, Any]]) -> Any:
        return await write(self._parts.database, change)


async def _planned(connection: AsyncConnection, *, claim: Claim, version: int, chunks: list[Chunk]) -> None:
    rows = [LedgerRow(c.n, c.start, c.end, c.pages[0][1] if c.pages else None) for c in chunks]
    await ledger.plan(connection, claim, version, rows)


def _reference(claim: Claim, version: int) -> DocumentRef:
    new = version == claim.version
    return DocumentRef(
        tenant_id=claim.tenant,
        knowledge_base_id=claim.kb_id,
        document_id=claim.document_id,
        version=version,
        source=claim.name,
        source_type=claim.source_type,
        file_id=claim.target["file_id"] if new else claim.file_id,
        data_source_id=claim.data_source_id,
        metadata=claim.metadata,
    )


def _unexpected(error: Exception) -> TensorasError:
    return TensorasError(
        f"an unexpected error ({type(error).__name__}) stopped this document; the worker's log says more"
    )
