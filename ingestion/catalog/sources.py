"""Data sources of one knowledge base."""

from __future__ import annotations

from sqlalchemy import RowMapping, Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import listing, not_found, now
from ingestion.catalog.tables import data_sources
from ingestion.ids import new_id
from ingestion.records import JSON, DataSource, Listing, Page

_t = data_sources.c


def _query(tenant: str, kb_id: str) -> Select[tuple[object, ...]]:
    return select(data_sources).where(
        _t.tenant_id == tenant, _t.knowledge_base_id == kb_id, _t.deleting_since.is_(None)
    )


def _record(row: RowMapping) -> DataSource:
    return DataSource(
        id=row["id"],
        tenant_id=row["tenant_id"],
        knowledge_base_id=row["knowledge_base_id"],
        type=row["type"],
        name=row["name"],
        config=row["config"],
        metadata=row["metadata"],
        status="active",
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def create(
    connection: AsyncConnection,
    tenant: str,
    kb_id: str,
    source_type: str,
    name: str,
    *,
    config: JSON,
    metadata: JSON,
) -> str:
    """The new id. The caller has locked the knowledge base."""
    source_id, at = new_id("ds"), now()
    await connection.execute(
        insert(data_sources).values(
            id=source_id,
            tenant_id=tenant,
            knowledge_base_id=kb_id,
            type=source_type,
            name=name,
            config=dict(config),
            metadata=dict(metadata),
            created_at=at,
            updated_at=at,
        )
    )
    return source_id


async def get(connection: AsyncConnection, tenant: str, kb_id: str, source_id: str) -> DataSource:
    query = _query(tenant, kb_id).where(_t.id == source_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise not_found("data source", source_id)
    return _record(row)


async def find(connection: AsyncConnection, tenant: str, kb_id: str, page: Page) -> Listing[DataSource]:
    return await listing(connection, _query(tenant, kb_id), _t.id, "ds", page, _record)
