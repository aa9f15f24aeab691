"""New work: the rows that one submission adds. The caller holds the lock of the knowledge base."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import now
from ingestion.catalog.settle import settle_job
from ingestion.catalog.tables import documents, items, jobs
from ingestion.ids import new_id
from ingestion.records import JSON, DataSource, Upload


@dataclass(frozen=True, slots=True)
class Placement:
    """What an upload becomes: a `new` document, a new `version` of one, or nothing new (`same` bytes).

    `done`: the document with these bytes is completed, so there is nothing to do but to say so.
    """

    upload: Upload
    kind: Literal["new", "version", "same"]
    document_id: str
    version: int
    done: bool = False


def _target(placement: Placement) -> dict[str, Any]:
    upload = placement.upload
    return {"sha256": upload.sha256, "size_bytes": upload.size_bytes, "file_id": upload.file_id}


async def add_documents(
    connection: AsyncConnection,
    tenant: str,
    source: DataSource,
    placements: Sequence[Placement],
    metadata: JSON,
) -> None:
    """Rows for the placements that are new; `metadata` of the source lies under that of each upload."""
    at = now()
    rows = [
        {
            "id": placement.document_id,
            "tenant_id": tenant,
            "knowledge_base_id": source.knowledge_base_id,
            "data_source_id": source.id,
            "file_id": placement.upload.file_id,
            "name": placement.upload.name,
            "source_type": source.type,
            "status": "queued",
            "content_type": placement.upload.content_type,
            "size_bytes": placement.upload.size_bytes,
            "sha256": placement.upload.sha256,
            "version": 0,
            "last_version": placement.version,
            "reserved_version": placement.version,
            "chunk_count": 0,
            "metadata": {**metadata, **placement.upload.metadata},
            "created_at": at,
            "updated_at": at,
        }
        for placement in placements
        if placement.kind == "new"
    ]
    if rows:
        await connection.execute(insert(documents), rows)


async def add_job(connection: AsyncConnection, tenant: str, source: DataSource, placements: Sequence[Placement]) -> str:
    """A job with one item per placement; it has ended at once where there is nothing to do. Its id."""
    job_id = new_id("job")
    kb_id = source.knowledge_base_id
    await connection.execute(
        insert(jobs).values(
            id=job_id,
            tenant_id=tenant,
            knowledge_base_id=kb_id,
            data_source_id=source.id,
            status="queued",
            created_at=now(),
            dispatched_at=time.time(),
        )
    )
    rows = [
        {
            "id": new_id("item"),
            "job_id": job_id,
            "tenant_id": tenant,
            "knowledge_base_id": kb_id,
            "document_id": placement.document_id,
            "status": "unchanged" if placement.done else "queued",
            "version": placement.version,
            "target": _target(placement),
            "not_before": 0.0,
            "attempts": 0,
            "crashes": 0,
            "storing": False,
            "chunks_planned": 0,
            "chunks_embedded": 0,
        }
        for placement in placements
    ]
    if rows:
        await connection.execute(insert(items), rows)
    await _describe(connection, tenant, [p for p in placements if p.kind == "version"])
    await _reopen(connection, tenant, [p.document_id for p in placements if not p.done])
    await settle_job(connection, tenant, job_id)
    return job_id


async def _describe(connection: AsyncConnection, tenant: str, placements: Sequence[Placement]) -> None:
    """A document without a searchable version is described by its newest bytes: those of `last_version`."""
    for placement in placements:
        mine = (documents.c.id == placement.document_id, documents.c.tenant_id == tenant)
        await connection.execute(update(documents).where(*mine).values(last_version=placement.version))
        described = update(documents).where(*mine, documents.c.version == 0)
        await connection.execute(described.values(**_target(placement)))


async def _reopen(connection: AsyncConnection, tenant: str, document_ids: Sequence[str]) -> None:
    """A document that failed before is queued again."""
    for document_id in document_ids:
        await connection.execute(
            update(documents)
            .where(
                documents.c.id == document_id,
                documents.c.tenant_id == tenant,
                documents.c.status == "failed",
            )
            .values(status="queued", error_code=None, error_message=None, updated_at=now())
        )
