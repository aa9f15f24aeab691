"""The worker's side of the catalog: leases, progress and ends of items. Not for the service: it follows ids
of jobs and items, and takes the tenant from the rows.

An item is claimed under a token of its own (`owner`), so that a worker that lost its lease, even to a sibling
in the same process, can change nothing any more. Items of one document are worked on one after the other, in
the order of their making.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Update, and_, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import OPEN, batched, now
from ingestion.catalog.settle import settle_job
from ingestion.catalog.tables import chunks, documents, items, jobs, knowledge_bases
from ingestion.records import JSON, ChunkingStrategy, Problem
from rag.errors import Unavailable


class LeaseLost(Exception):
    """The item is no longer ours: cancelled, deleted, or taken over after the lease ran out."""


class LedgerRow(NamedTuple):
    """Where one chunk lies in the canonical text (code points), and its page."""

    n: int
    start: int
    end: int
    page: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """An item under lease, with all that is needed to work on it."""

    item_id: str
    job_id: str
    tenant: str
    kb_id: str
    document_id: str
    owner: str
    status: str
    aftercare: str | None
    version: int
    target: JSON
    attempts: int
    storing: bool
    error: Problem | None
    name: str
    source_type: str
    data_source_id: str
    current_version: int
    current_sha256: str
    file_id: str | None
    metadata: JSON
    embedding_model: str
    chunking: ChunkingStrategy


# claiming ----------------------------------------------------------------------------------------
def claimable(at: float, max_crashes: int) -> ColumnElement[bool]:
    free = or_(items.c.lease_until.is_(None), items.c.lease_until < at)
    due = or_(
        and_(items.c.status == "queued", items.c.not_before <= at),
        and_(items.c.status == "processing", free, items.c.crashes + 1 < max_crashes),
        and_(items.c.aftercare.is_not(None), free, items.c.not_before <= at),
    )
    other = items.alias("other")
    blocked = exists().where(
        other.c.document_id == items.c.document_id,
        other.c.id != items.c.id,
        or_(
            other.c.lease_until >= at,
            and_(other.c.id < items.c.id, or_(other.c.status.in_(OPEN), other.c.aftercare.is_not(None))),
        ),
    )
    return and_(due, items.c.document_id.is_not(None), ~blocked)


async def claim(
    connection: AsyncConnection, job_id: str, owner: str, *, at: float, lease_seconds: float, max_crashes: int
) -> Claim | None:
    """Takes the job's next item that nobody works on. None: nothing to do now."""
    chosen = (
        select(items.c.id)
        .where(items.c.job_id == job_id, claimable(at, max_crashes))
        .order_by(items.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=items)
    )
    item_id = (await connection.execute(chosen)).scalar_one_or_none()
    if item_id is None:
        return None
    working = items.c.status.in_(OPEN)
    await connection.execute(
        update(items)
        .where(items.c.id == item_id)
        .values(
            status=case((working, "processing"), else_=items.c.status),
            crashes=items.c.crashes + case((items.c.status == "processing", 1), else_=0),
            attempts=items.c.attempts + 1,
            chunks_embedded=0,
            lease_owner=owner,
            lease_until=at + lease_seconds,
        )
    )
    claimed = await _load(connection, item_id)
    if claimed.status == "processing":
        await _started(connection, claimed)
    return claimed


async def _load(connection: AsyncConnection, item_id: str) -> Claim:
    query = (
        select(
            *(items.c[name] for name in ("job_id", "version", "target", "attempts", "storing", "aftercare")),
            *(items.c[name] for name in ("status", "lease_owner", "error_code", "error_message")),
            *(documents.c[name] for name in ("tenant_id", "knowledge_base_id", "name", "source_type")),
            *(documents.c[name] for name in ("data_source_id", "sha256", "file_id", "metadata")),
            documents.c.id.label("document_id"),
            documents.c.version.label("current_version"),
            knowledge_bases.c.embedding_model,
            knowledge_bases.c.chunking,
        )
        .join(documents, items.c.document_id == documents.c.id)
        .join(knowledge_bases, documents.c.knowledge_base_id == knowledge_bases.c.id)
        .where(items.c.id == item_id)
    )
    row = (await connection.execute(query)).mappings().one()
    error = Problem(row["error_code"], row["error_message"]) if row["error_code"] else None
    same = ("job_id", "document_id", "version", "target", "attempts", "storing", "aftercare", "status")
    also = ("name", "source_type", "data_source_id", "current_version", "file_id", "metadata")
    return Claim(
        item_id=item_id,
        tenant=row["tenant_id"],
        kb_id=row["knowledge_base_id"],
        owner=row["lease_owner"],
        error=error,
        current_sha256=row["sha256"],
        embedding_model=row["embedding_model"],
        chunking=ChunkingStrategy(**row["chunking"]),
        **{name: row[name] for name in (*same, *also)},
    )


async def _started(connection: AsyncConnection, claimed: Claim) -> None:
    at = now()
    await connection.execute(
        update(documents)
        .where(documents.c.id == claimed.document_id, documents.c.version == 0)
        .values(status="processing", error_code=None, error_message=None, updated_at=at)
    )
    await connection.execute(
        update(jobs)
        .where(jobs.c.id == claimed.job_id, jobs.c.status == "queued")
        .values(status="processing", started_at=at)
    )


# holding -----------------------------------------------------------------------------------------
async def renew(
    connection: AsyncConnection, claimed: Claim, *, until: float, embedded: int
) -> tuple[str, str | None] | None:
    """Prolongs the lease, also of an item that was cancelled meanwhile: its worker may still be writing.
    Returns the item's (status, aftercare), None when somebody else holds it or it is gone."""
    ours = and_(items.c.id == claimed.item_id, items.c.lease_owner == claimed.owner)
    renewed = update(items).where(ours).values(lease_until=until, chunks_embedded=embedded)
    row = (await connection.execute(renewed.returning(items.c.status, items.c.aftercare))).one_or_none()
    return (row.status, row.aftercare) if row else None


async def state(connection: AsyncConnection, claimed: Claim) -> tuple[str, str | None] | None:
    """As `renew`, without renewing."""
    ours = and_(items.c.id == claimed.item_id, items.c.lease_owner == claimed.owner)
    row = (await connection.execute(select(items.c.status, items.c.aftercare).where(ours))).one_or_none()
    return (row.status, row.aftercare) if row else None


async def _change(connection: AsyncConnection, claimed: Claim, **values: Any) -> None:
    """Changes the item if it is still ours and nobody has decided otherwise about it. Raises LeaseLost."""
    ours = and_(
        items.c.id == claimed.item_id,
        items.c.lease_owner == claimed.owner,
        items.c.status == claimed.status,
        items.c.aftercare.is_not_distinct_from(claimed.aftercare),
    )
    changed = update(items).where(ours).values(**values).returning(items.c.id)
    if (await connection.execute(changed)).one_or_none() is None:
        raise LeaseLost(claimed.item_id)


async def surrender(connection: AsyncConnection, claimed: Claim) -> None:
    """Lets go of an item that others have decided about. Nothing happens when it is not ours any more."""
    await connection.execute(_lease_of(claimed).values(lease_owner=None, lease_until=None))


def _lease_of(claimed: Claim) -> Update:
    return update(items).where(items.c.id == claimed.item_id, items.c.lease_owner == claimed.owner)


async def plan(connection: AsyncConnection, claimed: Claim, version: int, rows: Sequence[LedgerRow]) -> None:
    """Writes the ledger of `version` anew: the chunks that are planned. Raises LeaseLost."""
    await _change(connection, claimed, chunks_planned=len(rows))
    owned = {"tenant_id": claimed.tenant, "knowledge_base_id": claimed.kb_id}
    document = {"document_id": claimed.document_id, "version": version}
    await connection.execute(delete(chunks).where(_ledger(claimed.document_id, version)))
    for batch in batched(rows, 1000):
        await connection.execute(insert(chunks), [owned | document | row._asdict() for row in batch])


def _ledger(document_id: str, version: int) -> ColumnElement[bool]:
    return and_(chunks.c.document_id == document_id, chunks.c.version == version)


async def begin_storing(connection: AsyncConnection, claimed: Claim, *, until: float) -> None:
    """The last moment at which nothing of this version can be in the vector store. Raises LeaseLost."""
    await _change(connection, claimed, storing=True, lease_until=until)


# ends --------------------------------------------------------------------------------------------
async def complete(
    connection: AsyncConnection, claimed: Claim, *, points: int, content_type: str, page_count: int | None
) -> Claim:
    """The new version becomes the document, if planned = rows = points. Raises LeaseLost, or Unavailable
    (`count_mismatch`) to be tried again. Where older versions have left blobs, the claim goes on as
    aftercare."""
    tidy = claimed.version > 1
    await _change(
        connection,
        claimed,
        status="completed",
        aftercare="tidy" if tidy else None,
        error_code=None,
        error_message=None,
        **({} if tidy else {"lease_owner": None, "lease_until": None}),
    )
    await _reconcile(connection, claimed, claimed.version, points)
    await connection.execute(
        update(documents)
        .where(documents.c.id == claimed.document_id)
        .values(
            status="completed",
            error_code=None,
            error_message=None,
            version=claimed.version,
            content_type=content_type,
            page_count=page_count,
            chunk_count=points,
            updated_at=now(),
            **claimed.target,
        )
    )
    await connection.execute(
        delete(chunks).where(chunks.c.document_id == claimed.document_id, chunks.c.version != claimed.version)
    )
    await settle_job(connection, claimed.tenant, claimed.job_id)
    return replace(claimed, status="completed", aftercare="tidy" if tidy else None)


async def _reconcile(connection: AsyncConnection, claimed: Claim, version: int, points: int) -> None:
    """planned = rows = points, and the stored metadata is what the row says (a PATCH may have come
    between)."""
    ours = items.c.id == claimed.item_id
    planned = (await connection.execute(select(items.c.chunks_planned).where(ours))).scalar_one()
    counted = select(func.count()).select_from(chunks).where(_ledger(claimed.document_id, version))
    rows = (await connection.execute(counted)).scalar_one()
    if not planned == rows == points:
        raise Unavailable(
            f"{planned} chunks were planned, {rows} rows and {points} vectors are stored; trying again",
            code="count_mismatch",
        )
    owned = documents.c.id == claimed.document_id
    metadata = (await connection.execute(select(documents.c.metadata).where(owned))).scalar_one()
    if metadata != claimed.metadata:
        raise Unavailable("the document's metadata changed meanwhile; trying again", code="metadata_changed")


async def unchanged(connection: AsyncConnection, claimed: Claim) -> None:
    """The document has these bytes already."""
    await _change(connection, claimed, status="unchanged", chunks_planned=0, lease_owner=None, lease_until=None)
    await settle_job(connection, claimed.tenant, claimed.job_id)


async def retry(connection: AsyncConnection, claimed: Claim, problem: Problem, *, not_before: float) -> None:
    await _change(
        connection,
        claimed,
        status="queued",
        not_before=not_before,
        lease_owner=None,
        lease_until=None,
        error_code=problem.code,
        error_message=problem.message,
    )
    await _requeue_document(connection, claimed)


async def release(connection: AsyncConnection, claimed: Claim) -> None:
    """Gives an unfinished item back, as if it had not been claimed: the worker is stopping."""
    if claimed.aftercare:
        return await surrender(connection, claimed)
    await _change(
        connection,
        claimed,
        status="queued",
        not_before=0.0,
        attempts=items.c.attempts - 1,
        lease_owner=None,
        lease_until=None,
    )
    return await _requeue_document(connection, claimed)


async def _requeue_document(connection: AsyncConnection, claimed: Claim) -> None:
    await connection.execute(
        update(documents)
        .where(documents.c.id == claimed.document_id, documents.c.version == 0)
        .values(status="queued", updated_at=now())
    )


async def fail(connection: AsyncConnection, claimed: Claim, problem: Problem) -> None:
    """The end without success. A document that has an older version keeps it, and shows the reason."""
    await _change(connection, claimed, **failure(problem))
    await fail_document(connection, claimed.document_id, claimed.version, problem)
    await settle_job(connection, claimed.tenant, claimed.job_id)


def failure(problem: Problem) -> dict[str, Any]:
    """The columns of an item that has failed. Vectors that it may have written remain to be undone."""
    return {
        "status": "failed",
        "aftercare": case((items.c.storing, "undo"), else_=None),
        "not_before": 0.0,
        "lease_owner": None,
        "lease_until": None,
        "error_code": problem.code,
        "error_message": problem.message,
    }


async def fail_document(connection: AsyncConnection, document_id: str, version: int, problem: Problem) -> None:
    status = case((documents.c.version == 0, "failed"), else_=documents.c.status)
    failed = update(documents).where(documents.c.id == document_id)
    await connection.execute(
        failed.values(status=status, error_code=problem.code, error_message=problem.message, updated_at=now())
    )
    current = select(documents.c.version).where(documents.c.id == document_id).scalar_subquery()
    unused = and_(_ledger(document_id, version), chunks.c.version != current)
    await connection.execute(delete(chunks).where(unused))


# aftercare ---------------------------------------------------------------------------------------
async def postpone(connection: AsyncConnection, claimed: Claim, *, not_before: float) -> None:
    await _change(connection, claimed, not_before=not_before, lease_owner=None, lease_until=None)


async def restored(connection: AsyncConnection, claimed: Claim, points: int) -> None:
    """The version that the catalog names is whole in the vector store again."""
    await _reconcile(connection, claimed, claimed.current_version, points)
    await connection.execute(update(documents).where(documents.c.id == claimed.document_id).values(chunk_count=points))


async def cared_for(connection: AsyncConnection, claimed: Claim) -> None:
    """Nothing remains to be done. Ledger rows of versions that did not become the document go too."""
    await _change(connection, claimed, aftercare=None, lease_owner=None, lease_until=None)
    current = select(documents.c.version).where(documents.c.id == claimed.document_id).scalar_subquery()
    await connection.execute(
        delete(chunks).where(chunks.c.document_id == claimed.document_id, chunks.c.version != current)
    )


async def document_exists(connection: AsyncConnection, document_id: str) -> bool:
    found = await connection.execute(select(documents.c.id).where(documents.c.id == document_id))
    return found.one_or_none() is not None
