"""Knowledge bases of one tenant. Their counts are derived from their documents by SQL."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    ScalarSelect,
    Select,
    and_,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import OPEN, being_deleted, listing, not_found, now
from ingestion.catalog.tables import documents, jobs, knowledge_bases
from ingestion.ids import new_id
from ingestion.records import JSON, ChunkingStrategy, KnowledgeBase, Listing, Page

_t = knowledge_bases.c


def _query(tenant: str) -> Select[tuple[object, ...]]:
    mine = and_(documents.c.knowledge_base_id == _t.id, documents.c.deleting_since.is_(None))
    busy = exists().where(jobs.c.knowledge_base_id == _t.id, jobs.c.status.in_(OPEN))
    return select(
        knowledge_bases,
        select(func.count()).select_from(documents).where(mine).scalar_subquery().label("document_count"),
        _sum(documents.c.chunk_count, mine).label("chunk_count"),
        _sum(documents.c.size_bytes, mine).label("size_bytes"),
        busy.label("busy"),
    ).where(_t.tenant_id == tenant)


def _sum(column: ColumnElement[int], condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.coalesce(func.sum(column), 0)).where(condition).scalar_subquery()


def _record(row: RowMapping) -> KnowledgeBase:
    return KnowledgeBase(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        description=row["description"],
        embedding_model=row["embedding_model"],
        chunking_strategy=ChunkingStrategy(**row["chunking"]),
        metadata=row["metadata"],
        defaults=row["defaults"],
        status="deleting" if row["deleting_since"] is not None else "updating" if row["busy"] else "active",
        document_count=row["document_count"],
        chunk_count=int(row["chunk_count"]),
        size_bytes=int(row["size_bytes"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def create(connection: AsyncConnection, tenant: str, values: JSON) -> str:
    """The new id. `values`: name, description, embedding_model, chunking and metadata, checked by the
    caller."""
    kb_id, at = new_id("kb"), now()
    row = {**values, "chunking": asdict(values["chunking"])}
    await connection.execute(
        insert(knowledge_bases).values(id=kb_id, tenant_id=tenant, defaults={}, created_at=at, updated_at=at, **row)
    )
    return kb_id


async def get(connection: AsyncConnection, tenant: str, kb_id: str) -> KnowledgeBase:
    row = (await connection.execute(_query(tenant).where(_t.id == kb_id))).mappings().one_or_none()
    if row is None:
        raise not_found("knowledge base", kb_id)
    return _record(row)


async def find(connection: AsyncConnection, tenant: str, page: Page) -> Listing[KnowledgeBase]:
    return await listing(connection, _query(tenant), _t.id, "kb", page, _record)


async def change(connection: AsyncConnection, tenant: str, kb_id: str, changes: JSON) -> None:
    """`changes`: columns and their new values, checked by the caller."""
    await lock(connection, tenant, kb_id)
    owned = and_(_t.id == kb_id, _t.tenant_id == tenant)
    await connection.execute(update(knowledge_bases).where(owned).values(**changes, updated_at=now()))


async def lock(connection: AsyncConnection, tenant: str, kb_id: str) -> None:
    """Holds the row until the transaction ends, so that additions, changes and its deletion take turns.
    Raises NotFound, or Conflict while it is being deleted."""
    owned = select(_t.deleting_since).where(_t.id == kb_id, _t.tenant_id == tenant)
    row = (await connection.execute(owned.with_for_update())).one_or_none()
    if row is None:
        raise not_found("knowledge base", kb_id)
    if row.deleting_since is not None:
        raise being_deleted("knowledge base", kb_id)


async def exists_for(connection: AsyncConnection, tenant: str, kb_id: str) -> None:
    """Raises NotFound where the tenant has no such knowledge base."""
    owned = select(_t.id).where(_t.id == kb_id, _t.tenant_id == tenant)
    if (await connection.execute(owned)).one_or_none() is None:
        raise not_found("knowledge base", kb_id)
