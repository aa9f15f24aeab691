"""Deleting in two commits: mark (hidden from then on, its work cancelled), and drop when nothing is left
of it.

Between the two the vectors and blobs go. A crash leaves a mark, and whoever finds the mark does the rest
again. A row is not dropped while a worker holds a lease below it: what that worker still writes would
have no owner.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Delete, Table, and_, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import OPEN, not_found
from ingestion.catalog.settle import cancel_items, settle_job
from ingestion.catalog.tables import chunks, data_sources, documents, items, jobs, knowledge_bases


# marking -----------------------------------------------------------------------------------------
async def mark_document(connection: AsyncConnection, tenant: str, kb_id: str, document_id: str, at: float) -> None:
    """Raises NotFound. Marking twice is allowed: a deletion that was cut off is taken up again."""
    await _take_turn(connection, tenant, kb_id)
    await _mark(connection, documents, _owned(documents, tenant, kb_id, document_id), ("document", document_id), at)
    await _end_work(connection, tenant, items.c.document_id == document_id)
    await _no_aftercare(connection, tenant, items.c.document_id == document_id)


async def mark_source(connection: AsyncConnection, tenant: str, kb_id: str, source_id: str, at: float) -> list[str]:
    """Marks the source and its documents, whose ids it returns. A document that another source of the
    knowledge base has brought too (same bytes) goes over to that source and stays."""
    await _take_turn(connection, tenant, kb_id)
    await _mark(
        connection, data_sources, _owned(data_sources, tenant, kb_id, source_id), ("data source", source_id), at
    )
    await _hand_over(connection, tenant, source_id)
    mine = and_(documents.c.tenant_id == tenant, documents.c.data_source_id == source_id)
    marked = update(documents).where(mine).values(deleting_since=at).returning(documents.c.id)
    ids = sorted((await connection.execute(marked)).scalars())
    of_documents = items.c.document_id.in_(select(documents.c.id).where(mine))
    await _end_work(connection, tenant, of_documents | _of_source(source_id))
    await _no_aftercare(connection, tenant, of_documents)
    return ids


async def mark_knowledge_base(connection: AsyncConnection, tenant: str, kb_id: str, at: float) -> None:
    await _take_turn(connection, tenant, kb_id)
    owned = and_(knowledge_bases.c.id == kb_id, knowledge_bases.c.tenant_id == tenant)
    await _mark(connection, knowledge_bases, owned, ("knowledge base", kb_id), at)
    below = items.c.knowledge_base_id == kb_id
    await _end_work(connection, tenant, below)
    await _no_aftercare(connection, tenant, below)


async def _take_turn(connection: AsyncConnection, tenant: str, kb_id: str) -> None:
    """One after the other with submissions to the same knowledge base."""
    owned = and_(knowledge_bases.c.id == kb_id, knowledge_bases.c.tenant_id == tenant)
    row = await connection.execute(select(knowledge_bases.c.id).where(owned).with_for_update())
    if row.one_or_none() is None:
        raise not_found("knowledge base", kb_id)


def _owned(table: Table, tenant: str, kb_id: str, row_id: str) -> ColumnElement[bool]:
    return and_(table.c.id == row_id, table.c.tenant_id == tenant, table.c.knowledge_base_id == kb_id)


def _of_source(source_id: str) -> ColumnElement[bool]:
    return items.c.job_id.in_(select(jobs.c.id).where(jobs.c.data_source_id == source_id))


async def _mark(
    connection: AsyncConnection, table: Table, owned: ColumnElement[bool], named: tuple[str, str], at: float
) -> None:
    """`named`: what is marked and its id, for the error."""
    marked = await connection.execute(update(table).where(owned).values(deleting_since=at).returning(table.c.id))
    if marked.one_or_none() is None:
        raise not_found(*named)


async def _hand_over(connection: AsyncConnection, tenant: str, source_id: str) -> None:
    brought = items.join(jobs, items.c.job_id == jobs.c.id).join(
        data_sources, jobs.c.data_source_id == data_sources.c.id
    )
    other = (
        select(func.min(data_sources.c.id))
        .select_from(brought)
        .where(
            items.c.document_id == documents.c.id,
            items.c.status.in_((*OPEN, "completed", "unchanged")),
            data_sources.c.id != source_id,
            data_sources.c.deleting_since.is_(None),
        )
        .correlate(documents)
        .scalar_subquery()
    )
    mine = and_(documents.c.tenant_id == tenant, documents.c.data_source_id == source_id)
    await connection.execute(
        update(documents)
        .where(mine, documents.c.deleting_since.is_(None), other.is_not(None))
        .values(data_source_id=other)
    )


async def _end_work(connection: AsyncConnection, tenant: str, condition: ColumnElement[bool]) -> None:
    open_items = and_(items.c.tenant_id == tenant, items.c.status.in_(OPEN), condition)
    affected = (await connection.execute(select(items.c.job_id).where(open_items).distinct())).scalars().all()
    await cancel_items(connection, tenant, condition)
    for job_id in affected:
        await settle_job(connection, tenant, job_id)


async def _no_aftercare(connection: AsyncConnection, tenant: str, condition: ColumnElement[bool]) -> None:
    """Nothing below a mark is mended any more: it all goes."""
    await connection.execute(update(items).where(items.c.tenant_id == tenant, condition).values(aftercare=None))


# dropping ----------------------------------------------------------------------------------------
async def in_work(
    connection: AsyncConnection,
    tenant: str,
    at: float,
    *,
    kb_id: str,
    source_id: str | None = None,
    document_id: str | None = None,
) -> bool:
    """Whether a worker holds a lease below the document, the source or the knowledge base at the time
    `at`."""
    below = and_(items.c.tenant_id == tenant, items.c.knowledge_base_id == kb_id)
    if document_id is not None:
        below = and_(below, items.c.document_id == document_id)
    if source_id is not None:
        below = and_(below, _of_source(source_id))
    unfinished = (items.c.lease_until >= at) | items.c.aftercare.is_not(None)
    return bool((await connection.execute(select(exists().where(below, unfinished)))).scalar_one())


async def drop_document(connection: AsyncConnection, tenant: str, kb_id: str, document_id: str) -> int:
    """Removes the row and its ledger; items stay as history without it. Returns the ledger rows removed."""
    owned = _owned(documents, tenant, kb_id, document_id)
    marked = select(documents.c.id).where(owned, documents.c.deleting_since.is_not(None))
    if (await connection.execute(marked.with_for_update())).one_or_none() is None:
        return 0
    count = await _remove(connection, delete(chunks).where(chunks.c.document_id == document_id))
    forget = update(items).where(items.c.document_id == document_id, items.c.tenant_id == tenant)
    await connection.execute(forget.values(document_id=None, target={}))
    await connection.execute(delete(documents).where(owned))
    return count


async def drop_source(connection: AsyncConnection, tenant: str, kb_id: str, source_id: str) -> None:
    """Removes the marked source with its jobs. Its documents have been dropped before."""
    await connection.execute(delete(items).where(items.c.tenant_id == tenant, _of_source(source_id)))
    await connection.execute(delete(jobs).where(jobs.c.tenant_id == tenant, jobs.c.data_source_id == source_id))
    await connection.execute(delete(data_sources).where(_owned(data_sources, tenant, kb_id, source_id)))


async def drop_knowledge_base(connection: AsyncConnection, tenant: str, kb_id: str) -> int:
    """Removes everything below the marked knowledge base, and itself. Returns the ledger rows removed."""
    removed = 0
    for table in (chunks, items, documents, jobs, data_sources):
        below = and_(table.c.knowledge_base_id == kb_id, table.c.tenant_id == tenant)
        count = await _remove(connection, delete(table).where(below))
        removed += count if table is chunks else 0
    owned = and_(knowledge_bases.c.id == kb_id, knowledge_bases.c.tenant_id == tenant)
    await connection.execute(delete(knowledge_bases).where(owned))
    return removed


async def count_documents(connection: AsyncConnection, tenant: str, kb_id: str) -> int:
    """Rows below a knowledge base, those whose own deletion has begun included."""
    below = and_(documents.c.knowledge_base_id == kb_id, documents.c.tenant_id == tenant)
    return int((await connection.execute(select(func.count()).where(below))).scalar_one())


async def _remove(connection: AsyncConnection, statement: Delete) -> int:
    result: Any = await connection.execute(statement)
    return int(result.rowcount)
