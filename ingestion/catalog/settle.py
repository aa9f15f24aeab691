"""How items and jobs come to their ends: shared by cancelling, deleting and completing."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import OPEN, batched, now
from ingestion.catalog.tables import documents, items, jobs

_CANCELLED = "the job was cancelled before this document was done; sync the data source to try again"


async def cancel_items(connection: AsyncConnection, tenant: str, condition: ColumnElement[bool]) -> None:
    """Cancels the open items that `condition` names. Leases stay: the worker lets go when it has stopped.
    Where vectors may have been written, undoing them becomes the item's aftercare; a ledger alone is
    tidied."""
    chosen = and_(items.c.tenant_id == tenant, items.c.status.in_(OPEN), condition)
    planned = items.c.chunks_planned > 0
    undo = case((items.c.storing, "undo"), (planned, "tidy"), else_=items.c.aftercare)
    ended = update(items).where(chosen).values(status="cancelled", aftercare=undo, not_before=0)
    affected = set((await connection.execute(ended.returning(items.c.document_id))).scalars())
    for batch in batched(sorted(affected), 500):
        await connection.execute(
            update(documents)
            .where(documents.c.tenant_id == tenant, documents.c.id.in_(batch), documents.c.version == 0)
            .values(status="failed", error_code="cancelled", error_message=_CANCELLED, updated_at=now())
        )


async def settle_job(connection: AsyncConnection, tenant: str, job_id: str) -> None:
    """Ends the job when every item has ended.

    The row is locked first: of two workers that finish the last two items at the same time, the second
    must see what the first one wrote.
    """
    owned = and_(jobs.c.id == job_id, jobs.c.tenant_id == tenant)
    await connection.execute(select(jobs.c.id).where(owned).with_for_update())
    query = select(items.c.status, func.count().label("n")).where(items.c.job_id == job_id).group_by(items.c.status)
    counts = {row.status: row.n for row in await connection.execute(query)}
    if any(counts.get(status) for status in OPEN):
        return
    values = await _ending(connection, job_id, counts)
    await connection.execute(update(jobs).where(owned, jobs.c.status.in_(OPEN)).values(**values, completed_at=now()))


async def _ending(connection: AsyncConnection, job_id: str, counts: dict[str, int]) -> dict[str, str]:
    failed = counts.get("failed", 0)
    if counts.get("completed") or counts.get("unchanged") or not (failed or counts.get("cancelled")):
        return {"status": "completed"}
    if not failed:
        return {"status": "cancelled"}
    first = select(items.c.error_message).where(items.c.job_id == job_id, items.c.status == "failed")
    reason = (await connection.execute(first.order_by(items.c.id).limit(1))).scalar_one()
    which = "the document" if failed == 1 else f"all {failed} documents"
    return {
        "status": "failed",
        "error_code": "all_documents_failed",
        "error_message": f"{which} failed; the first: {reason}",
    }


def has_live_lease(at: float) -> ColumnElement[bool]:
    """Correlated with `documents`: a worker holds one of the document's items at the time `at`."""
    return exists().where(items.c.document_id == documents.c.id, items.c.lease_until >= at)
