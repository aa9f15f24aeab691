"""Uploaded files: what they are called and where their bytes lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, delete, insert, select

from ingestion.database import Database
from ingestion.records import Listing, Page
from rag.errors import NotFound
from serving.ledger.paging import made_at, read_page
from serving.ledger.tables import files

_BATCH = 500
"""Ids per query: SQLite takes a bounded number of variables."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    tenant_id: str
    filename: str
    purpose: str
    size_bytes: int
    sha256: str
    content_type: str
    blob_key: str
    created_at: int


def blob_key_of(file_id: str) -> str:
    return f"files/{file_id}"


def unknown_file(file_id: str, param: str = "file_id") -> NotFound:
    return NotFound(f"No file {file_id!r}. Upload it first with POST /v1/files.", code="file_not_found", param=param)


def _record(row: RowMapping) -> StoredFile:
    return StoredFile(**{name: row[name] for name in StoredFile.__slots__})


class Files:
    """The files table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: StoredFile) -> StoredFile:
        values = {name: getattr(file, name) for name in StoredFile.__slots__}
        async with self._database.begin() as connection:
            await connection.execute(insert(files).values(values))
        return file

    async def get(self, tenant: str, file_id: str) -> StoredFile:
        query = select(files).where(files.c.tenant_id == tenant, files.c.id == file_id)
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise unknown_file(file_id)
        return _record(row)

    async def get_all(self, tenant: str, file_ids: Sequence[str]) -> list[StoredFile]:
        """The files in the order asked. Raises NotFound for the first that is not there."""
        found: dict[str, StoredFile] = {}
        async with self._database.connect() as connection:
            for at in range(0, len(file_ids), _BATCH):
                wanted = files.c.id.in_(file_ids[at : at + _BATCH])
                query = select(files).where(files.c.tenant_id == tenant, wanted)
                for row in (await connection.execute(query)).mappings():
                    found[row["id"]] = _record(row)
        for file_id in file_ids:
            if file_id not in found:
                raise unknown_file(file_id, "file_ids")
        return [found[file_id] for file_id in file_ids]

    async def list(self, tenant: str, page: Page, *, purpose: str | None = None) -> Listing[StoredFile]:
        query = select(files).where(files.c.tenant_id == tenant)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        async with self._database.connect() as connection:
            rows, more = await read_page(connection, query, files, page)
        return Listing(tuple(_record(row) for row in rows), more)

    async def remove(self, tenant: str, file_id: str) -> StoredFile:
        """Takes the row out and returns it; of two callers only one gets it."""
        gone = delete(files).where(files.c.tenant_id == tenant, files.c.id == file_id).returning(*files.c)
        async with self._database.begin() as connection:
            row = (await connection.execute(gone)).mappings().first()
        if row is None:
            raise unknown_file(file_id)
        return _record(row)


def new_file(
    tenant: str, *, file_id: str, filename: str, purpose: str, stored: tuple[str, int], content_type: str
) -> StoredFile:
    """`stored` is what the blob store said of the bytes: (sha256, size)."""
    sha256, size = stored
    return StoredFile(
        id=file_id,
        tenant_id=tenant,
        filename=filename,
        purpose=purpose,
        size_bytes=size,
        sha256=sha256,
        content_type=content_type,
        blob_key=blob_key_of(file_id),
        created_at=made_at(file_id),
    )
