"""Deleting documents, data sources and knowledge bases, so that nothing is left and a crash loses nothing.

Order: mark (hidden at once, work cancelled), wait for the workers to let go, vectors, blobs, rows.
Whatever is interrupted keeps its mark; `resume` (the sweeper) or a second request does the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from ingestion.blobs import Blobs, document_prefix
from ingestion.catalog import deletions
from ingestion.catalog.upkeep import Pending
from ingestion.database import Database
from ingestion.records import Receipt
from rag.errors import NotFound
from rag.ports import VectorStore
from rag.types import Scope

log = logging.getLogger(__name__)


class Removal:
    """`patience`: seconds that a request waits for workers to let go; after that the sweeper finishes."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        store: VectorStore,
        *,
        patience: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._store = store
        self._patience = patience
        self._clock = clock

    async def delete_document(self, tenant: str, kb_id: str, document_id: str) -> Receipt:
        """Raises NotFound, or Unavailable while the vector store is away (the deletion is finished later)."""
        async with self._database.begin() as connection:
            await deletions.mark_document(connection, tenant, kb_id, document_id, self._clock())
        idle = await self._idle(tenant, kb_id, document_id=document_id)
        return await self._purge_document(tenant, kb_id, document_id, drop=idle)

    async def delete_data_source(self, tenant: str, kb_id: str, source_id: str) -> Receipt:
        """With its documents and jobs. Raises as `delete_document`."""
        async with self._database.begin() as connection:
            ids = await deletions.mark_source(connection, tenant, kb_id, source_id, self._clock())
        idle = await self._idle(tenant, kb_id, source_id=source_id)
        total = Receipt(0, 0, 0, 0)
        for document_id in ids:
            quiet = await self._quiet(tenant, kb_id, document_id=document_id)
            idle = idle and quiet
            total = _sum(total, await self._purge_document(tenant, kb_id, document_id, drop=quiet))
        if idle:
            async with self._database.begin() as connection:
                await deletions.drop_source(connection, tenant, kb_id, source_id)
        return total

    async def delete_knowledge_base(self, tenant: str, kb_id: str) -> Receipt:
        """With everything below it; running jobs are cancelled. Raises as `delete_document`."""
        async with self._database.begin() as connection:
            await deletions.mark_knowledge_base(connection, tenant, kb_id, self._clock())
            documents = await deletions.count_documents(connection, tenant, kb_id)
        idle = await self._idle(tenant, kb_id)
        vectors = await self._store.delete(Scope(tenant, (kb_id,)))
        blobs = await self._blobs.delete_prefix(document_prefix(tenant, kb_id))
        if not idle:
            return Receipt(documents, 0, vectors, blobs)
        async with self._database.begin() as connection:
            chunks = await deletions.drop_knowledge_base(connection, tenant, kb_id)
        return Receipt(documents, chunks, vectors, blobs)

    async def resume(self, pending: Pending) -> None:
        """Finishes a deletion that was cut off."""
        log.info("finishing a deletion", extra={"kind": pending.kind, "id": pending.id})
        try:
            if pending.kind == "document":
                await self.delete_document(pending.tenant, pending.kb_id, pending.id)
            elif pending.kind == "data_source":
                await self.delete_data_source(pending.tenant, pending.kb_id, pending.id)
            else:
                await self.delete_knowledge_base(pending.tenant, pending.id)
        except NotFound:
            log.info("the deletion was finished by another process", extra={"id": pending.id})

    async def _purge_document(self, tenant: str, kb_id: str, document_id: str, *, drop: bool) -> Receipt:
        vectors = await self._store.delete(Scope(tenant, (kb_id,)), document_id)
        blobs = await self._blobs.delete_prefix(document_prefix(tenant, kb_id, document_id))
        if not drop:
            return Receipt(1, 0, vectors, blobs)
        async with self._database.begin() as connection:
            chunks = await deletions.drop_document(connection, tenant, kb_id, document_id)
        return Receipt(1, chunks, vectors, blobs)

    async def _idle(
        self, tenant: str, kb_id: str, *, source_id: str | None = None, document_id: str | None = None
    ) -> bool:
        """Waits until no worker holds anything below; False when patience ran out."""
        waited = 0.0
        while not await self._quiet(tenant, kb_id, source_id=source_id, document_id=document_id):
            if waited >= self._patience:
                return False
            await asyncio.sleep(0.1)
            waited += 0.1
        return True

    async def _quiet(
        self, tenant: str, kb_id: str, *, source_id: str | None = None, document_id: str | None = None
    ) -> bool:
        async with self._database.connect() as connection:
            return not await deletions.in_work(
                connection, tenant, self._clock(), kb_id=kb_id, source_id=source_id, document_id=document_id
            )


def _sum(one: Receipt, other: Receipt) -> Receipt:
    return Receipt(
        one.documents + other.documents,
        one.chunks + other.chunks,
        one.vectors + other.vectors,
        one.blobs + other.blobs,
    )
