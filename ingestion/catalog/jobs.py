"""Ingestion jobs of one knowledge base. Counts are derived from the items, never kept beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import RowMapping, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog import settle
from ingestion.catalog.rows import OPEN, not_found, now, page_of, problem
from ingestion.catalog.tables import items, jobs
from ingestion.records import Job, Listing, Page

_t = jobs.c
_Counts = dict[str, tuple[int, int]]
"""Item status → (items, chunks)."""


def _query(tenant: str, kb_id: str) -> Select[tuple[object, ...]]:
    return select(jobs).where(_t.tenant_id == tenant, _t.knowledge_base_id == kb_id)


async def _counts(connection: AsyncConnection, tenant: str, job_ids: Sequence[str]) -> dict[str, _Counts]:
    query = (
        select(items.c.job_id, items.c.status, func.count().label("n"), func.sum(items.c.chunks_planned))
        .where(items.c.job_id.in_(job_ids), items.c.tenant_id == tenant)
        .group_by(items.c.job_id, items.c.status)
    )
    found: dict[str, _Counts] = defaultdict(dict)
    for job_id, status, n, chunks in await connection.execute(query):
        found[job_id][status] = (n, int(chunks))
    return found


def _record(row: RowMapping, counts: _Counts) -> Job:
    def of(status: str) -> int:
        return counts.get(status, (0, 0))[0]

    return Job(
        id=row["id"],
        tenant_id=row["tenant_id"],
        knowledge_base_id=row["knowledge_base_id"],
        data_source_id=row["data_source_id"],
        status=row["status"],
        documents_total=sum(n for n, _ in counts.values()),
        documents_processed=of("completed"),
        documents_failed=of("failed"),
        documents_unchanged=of("unchanged"),
        chunks_created=counts.get("completed", (0, 0))[1],
        error=problem(row),
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
    )


async def get(connection: AsyncConnection, tenant: str, kb_id: str, job_id: str) -> Job:
    row = (await connection.execute(_query(tenant, kb_id).where(_t.id == job_id))).mappings().one_or_none()
    if row is None:
        raise not_found("ingestion job", job_id)
    return _record(row, (await _counts(connection, tenant, [job_id])).get(job_id, {}))


async def find(
    connection: AsyncConnection, tenant: str, kb_id: str, page: Page, *, status: str | None = None
) -> Listing[Job]:
    query = _query(tenant, kb_id)
    if status is not None:
        query = query.where(_t.status == status)
    rows, has_more = await page_of(connection, query, _t.id, "job", page)
    counts = await _counts(connection, tenant, [row["id"] for row in rows])
    return Listing(tuple(_record(row, counts.get(row["id"], {})) for row in rows), has_more)


async def cancel(connection: AsyncConnection, tenant: str, kb_id: str, job_id: str) -> None:
    """Ends every item that is not at its end, and the job with them; a job that has ended stays as it is.

    A worker keeps its lease on a cancelled item until it has noticed; what it wrote is undone after that.
    """
    await get(connection, tenant, kb_id, job_id)
    await settle.cancel_items(connection, tenant, items.c.job_id == job_id)
    await connection.execute(
        update(jobs)
        .where(_t.id == job_id, _t.tenant_id == tenant, _t.status.in_(OPEN))
        .values(status="cancelled", completed_at=now())
    )
