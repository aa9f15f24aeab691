"""The books themselves: bootstrap, paging, sums, the schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from ingestion.database import Database, migrate
from ingestion.records import Page
from rag.errors import InvalidRequest, NotFound
from serving.ledger import MIGRATIONS, VERSION_TABLE, Ledger
from serving.ledger.files import new_file
from serving.ledger.paging import made_at, new_file_id
from serving.ledger.tables import metadata
from serving.ledger.usage import today

KEY = "tns_" + "a" * 64


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    await migrate(made, MIGRATIONS, VERSION_TABLE)
    yield made
    await made.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


async def test_the_migrations_make_the_tables(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, metadata)

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []
    await migrate(database, MIGRATIONS, VERSION_TABLE)


async def test_bootstrap_makes_a_key_once(ledger: Ledger) -> None:
    made = await asyncio.gather(*(ledger.ensure_bootstrap_key(None) for _ in range(5)))
    keys = [key for key in made if key]
    assert len(keys) == 1
    found = await ledger.keys.find(keys[0])
    assert found is not None
    assert found.operator
    assert "admin" in found.scopes
    assert await ledger.ensure_bootstrap_key(None) is None


async def test_a_bootstrap_key_from_the_settings(ledger: Ledger) -> None:
    assert await ledger.ensure_bootstrap_key(KEY) is None
    assert await ledger.ensure_bootstrap_key(KEY) is None
    assert await ledger.keys.find(KEY)
    changed = "tns_" + "c" * 64
    await ledger.ensure_bootstrap_key(changed)
    assert await ledger.keys.find(KEY) is None
    assert await ledger.keys.find(changed)
    assert await ledger.ensure_bootstrap_key(None) is None
    assert await ledger.keys.find(changed)


async def test_a_revoked_bootstrap_key_is_made_anew(ledger: Ledger) -> None:
    first = await ledger.ensure_bootstrap_key(None)
    await ledger.keys.revoke("default", "key_bootstrap")
    assert await ledger.keys.find(first or "") is None
    second = await ledger.ensure_bootstrap_key(None)
    assert second
    assert second != first
    assert await ledger.keys.find(second)


async def test_odd_keys_are_just_unknown(ledger: Ledger) -> None:
    for odd in ("", "\x00", "\ud800", "x" * 100_000, "' or 1=1 --"):
        assert await ledger.keys.find(odd) is None


async def test_pages_walk_both_ways(ledger: Ledger) -> None:
    ids = [new_file_id() for _ in range(7)]
    for file_id in ids:
        await ledger.files.add(
            new_file("t", file_id=file_id, filename="f", purpose="batch", stored=("0", 1), content_type="x")
        )
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        for limit in (1, 2, 3, 7, 8):
            assert await walk(ledger, limit, order, "after") == expected
            assert await walk(ledger, limit, order, "before") == expected


async def walk(ledger: Ledger, limit: int, order: Any, way: str) -> list[str]:
    """All ids, page by page: forwards from the start, or backwards from the end."""
    seen: list[str] = []
    cursor: str | None = None if way == "after" else ("file-" + ("f" if order == "asc" else "0") * 24)
    while True:
        page = Page(limit, **{way: cursor}, order=order)
        listing = await ledger.files.list("t", page)
        ids = [one.id for one in listing.items]
        assert len(ids) <= limit
        seen = seen + ids if way == "after" else ids + seen
        if not listing.has_more:
            return seen
        cursor = ids[-1] if way == "after" else ids[0]


@pytest.mark.parametrize("cursor", ["x", "file-", "file-xyz", "' or 1=1"])
async def test_odd_cursors(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ledger.files.list("t", Page(after=cursor))
    assert refused.value.param == "after"


def test_ids_sort_by_time() -> None:
    ids = [new_file_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert [made_at(one) for one in ids] == sorted(made_at(one) for one in ids)


async def test_many_files_at_once(ledger: Ledger) -> None:
    known = [new_file_id() for _ in range(3)]
    for file_id in known:
        await ledger.files.add(
            new_file("t", file_id=file_id, filename="f", purpose="batch", stored=("0", 1), content_type="x")
        )
    assert [one.id for one in await ledger.files.get_all("t", known[::-1])] == known[::-1]
    assert await ledger.files.get_all("t", []) == []
    with pytest.raises(NotFound):
        await ledger.files.get_all("t", [*known, *(f"file-{n}" for n in range(1200))])
    with pytest.raises(NotFound):
        await ledger.files.get_all("u", known)


async def test_of_two_deletions_one_wins(ledger: Ledger) -> None:
    file_id = new_file_id()
    made = new_file("t", file_id=file_id, filename="f", purpose="batch", stored=("0", 1), content_type="x")
    await ledger.files.add(made)
    done = await asyncio.gather(*(ledger.files.remove("t", file_id) for _ in range(4)), return_exceptions=True)
    assert sum(one == made for one in done) == 1
    assert sum(isinstance(one, NotFound) for one in done) == 3


async def test_concurrent_usage_adds_up(ledger: Ledger) -> None:
    async def add(n: int) -> None:
        await ledger.usage.add("t", "k", "m", prompt_tokens=n, completion_tokens=1, aborted=n % 2 == 0)

    await asyncio.gather(*(add(n) for n in range(20)))
    (row,) = await ledger.usage.rows("t")
    assert (row.requests, row.aborted, row.prompt_tokens, row.completion_tokens) == (20, 10, 190, 20)
    assert row.day == today()
    assert await ledger.usage.rows("other") == []
