"""What the sweeper looks for: crashed items, jobs without a worker, deletions that were cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, literal, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.ledger import claimable, fail_document, failure
from ingestion.catalog.rows import OPEN
from ingestion.catalog.settle import settle_job
from ingestion.catalog.tables import data_sources, documents, items, jobs, knowledge_bases
from ingestion.records import Problem

_CRASHED = Problem(
    "parse_crashed",
    "the document crashed the worker repeatedly; give the worker more memory, or convert the file",
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that has an item to be worked on now."""

    job_id: str
    dispatched_at: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A deletion that was begun."""

    kind: Literal["document", "data_source", "knowledge_base"]
    tenant: str
    kb_id: str
    id: str


async def bury_crashed(connection: AsyncConnection, *, at: float, max_crashes: int) -> int:
    """Fails the items whose workers died `max_crashes` times. Returns how many."""
    dead = (
        select(items.c.id, items.c.tenant_id, items.c.job_id, items.c.document_id, items.c.version)
        .where(
            items.c.status == "processing",
            items.c.lease_until < at,
            items.c.crashes + 1 >= max_crashes,
        )
        .with_for_update(skip_locked=True)
        .limit(100)
    )
    rows = (await connection.execute(dead)).all()
    for row in rows:
        ended = update(items).where(items.c.id == row.id)
        await connection.execute(ended.values(**failure(_CRASHED), crashes=items.c.crashes + 1))
        await fail_document(connection, row.document_id, row.version, _CRASHED)
        await settle_job(connection, row.tenant_id, row.job_id)
    return len(rows)


async def waiting_jobs(
    connection: AsyncConnection, *, at: float, max_crashes: int, dispatched_before: float, limit: int
) -> list[Waiting]:
    """Jobs with claimable items that were not dispatched lately, the longest waiting first."""
    due = select(items.c.job_id).where(claimable(at, max_crashes))
    query = (
        select(jobs.c.id, jobs.c.dispatched_at)
        .where(jobs.c.id.in_(due), jobs.c.dispatched_at < dispatched_before)
        .order_by(jobs.c.dispatched_at, jobs.c.id)
        .limit(limit)
    )
    return [Waiting(job_id, float(dispatched)) for job_id, dispatched in await connection.execute(query)]


async def take_dispatch(connection: AsyncConnection, waiting: Waiting, *, at: float) -> bool:
    """Whether it is ours to dispatch the job: of several sweepers one wins."""
    mine = (jobs.c.id == waiting.job_id, jobs.c.dispatched_at == waiting.dispatched_at)
    taken = await connection.execute(update(jobs).where(*mine).values(dispatched_at=at).returning(jobs.c.id))
    return taken.one_or_none() is not None


async def has_claimable(connection: AsyncConnection, job_id: str, *, at: float, max_crashes: int) -> bool:
    due = select(func.count()).where(items.c.job_id == job_id, claimable(at, max_crashes))
    return bool((await connection.execute(due)).scalar_one())


async def pending_deletions(connection: AsyncConnection, *, marked_before: float) -> list[Pending]:
    """Marks that nobody has finished. What lies below a larger deletion goes with it."""
    kbs, sources, docs = knowledge_bases.c, data_sources.c, documents.c
    whole = select(literal("knowledge_base").label("kind"), kbs.tenant_id, kbs.id.label("kb_id"), kbs.id).where(
        kbs.deleting_since < marked_before
    )
    of_source = (
        select(literal("data_source"), sources.tenant_id, sources.knowledge_base_id, sources.id)
        .join(knowledge_bases, sources.knowledge_base_id == kbs.id)
        .where(sources.deleting_since < marked_before, kbs.deleting_since.is_(None))
    )
    single = (
        select(literal("document"), docs.tenant_id, docs.knowledge_base_id, docs.id)
        .join(knowledge_bases, docs.knowledge_base_id == kbs.id)
        .join(data_sources, docs.data_source_id == sources.id)
        .where(docs.deleting_since < marked_before, kbs.deleting_since.is_(None))
        .where(sources.deleting_since.is_(None))
    )
    found = await connection.execute(union_all(whole, of_source, single).limit(100))
    return [Pending(row.kind, row.tenant_id, row.kb_id, row.id) for row in found]


async def settle_stragglers(connection: AsyncConnection) -> None:
    """Jobs whose items have all ended, though the job has not."""
    unfinished = select(items.c.job_id).where(items.c.status.in_(OPEN))
    query = select(jobs.c.tenant_id, jobs.c.id).where(jobs.c.status.in_(OPEN), jobs.c.id.not_in(unfinished))
    for tenant, job_id in (await connection.execute(query.limit(100))).all():
        await settle_job(connection, tenant, job_id)
