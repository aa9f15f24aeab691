"""Documents of one knowledge base, as their owner sees them: what is being deleted is not there any more."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import RowMapping, Select, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog.rows import OPEN, batched, listing, not_found, now, problem
from ingestion.catalog.tables import documents, items
from ingestion.records import JSON, Document, Listing, Page

_t = documents.c


def _query(tenant: str, kb_id: str) -> Select[tuple[object, ...]]:
    return select(documents).where(_t.tenant_id == tenant, _t.knowledge_base_id == kb_id, _t.deleting_since.is_(None))


def record(row: RowMapping) -> Document:
    return Document(
        id=row["id"],
        tenant_id=row["tenant_id"],
        knowledge_base_id=row["knowledge_base_id"],
        data_source_id=row["data_source_id"],
        file_id=row["file_id"],
        name=row["name"],
        source_type=row["source_type"],
        status=row["status"],
        error=problem(row),
        content_type=row["content_type"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        version=row["version"],
        page_count=row["page_count"],
        chunk_count=row["chunk_count"],
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def get(connection: AsyncConnection, tenant: str, kb_id: str, document_id: str) -> Document:
    query = _query(tenant, kb_id).where(_t.id == document_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise not_found("document", document_id)
    return record(row)


async def find(
    connection: AsyncConnection,
    tenant: str,
    kb_id: str,
    page: Page,
    *,
    status: str | None = None,
    data_source_id: str | None = None,
    name: str | None = None,
) -> Listing[Document]:
    query = _query(tenant, kb_id)
    for column, value in ((_t.status, status), (_t.data_source_id, data_source_id), (_t.name, name)):
        if value is not None:
            query = query.where(column == value)
    return await listing(connection, query, _t.id, "doc", page, record)


async def set_metadata(connection: AsyncConnection, tenant: str, kb_id: str, document_id: str, metadata: JSON) -> None:
    await get(connection, tenant, kb_id, document_id)
    owned = (_t.id == document_id, _t.tenant_id == tenant)
    await connection.execute(update(documents).where(*owned).values(metadata=dict(metadata), updated_at=now()))


async def of_source(connection: AsyncConnection, tenant: str, kb_id: str, source_id: str) -> list[RowMapping]:
    """Every row of a data source, in the order of their making."""
    query = _query(tenant, kb_id).where(_t.data_source_id == source_id).order_by(_t.id)
    return list((await connection.execute(query)).mappings())


def _with_future(tenant: str, kb_id: str) -> Select[tuple[object, ...]]:
    """Rows, with `superseded`: a newer version is on its way, so the bytes that the row names will go."""
    newer = exists().where(
        items.c.document_id == _t.id,
        items.c.status.in_(OPEN),
        items.c.version > _t.version,
        _t.version > 0,
    )
    return _query(tenant, kb_id).add_columns(newer.label("superseded"))


async def by_sha256(
    connection: AsyncConnection, tenant: str, kb_id: str, hashes: Iterable[str]
) -> dict[str, RowMapping]:
    """sha256 → the row of the document that has these bytes and will keep them: the oldest of several."""
    found: dict[str, RowMapping] = {}
    for batch in batched(sorted(set(hashes)), 500):
        query = _with_future(tenant, kb_id).where(_t.sha256.in_(batch)).order_by(_t.id.desc())
        rows = (await connection.execute(query)).mappings()
        found |= {row["sha256"]: row for row in rows if not row["superseded"]}
    return found


async def by_name(
    connection: AsyncConnection, tenant: str, kb_id: str, source_id: str, names: Iterable[str]
) -> dict[str, RowMapping]:
    """Name → the row of the document of this data source that bears it, with `superseded`."""
    found: dict[str, RowMapping] = {}
    for batch in batched(sorted(set(names)), 500):
        query = _with_future(tenant, kb_id).where(_t.data_source_id == source_id, _t.name.in_(batch))
        rows = (await connection.execute(query.order_by(_t.id.desc()))).mappings()
        found |= {row["name"]: row for row in rows}
    return found


async def next_version(connection: AsyncConnection, tenant: str, kb_id: str, document_id: str) -> int:
    """Reserves a version number. A number that is never used does no harm."""
    owned = (_t.id == document_id, _t.tenant_id == tenant, _t.knowledge_base_id == kb_id)
    bump = update(documents).where(*owned).values(reserved_version=_t.reserved_version + 1)
    return int((await connection.execute(bump.returning(_t.reserved_version))).scalar_one())
