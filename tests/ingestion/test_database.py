"""Transactions, errors and migrations."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from ingestion.catalog.tables import metadata
from ingestion.database import Database, migrate, normalise
from ingestion.migrations import VERSION_TABLE, migrate_catalog
from rag.errors import ConfigurationError, MissingExtra, Unavailable
from tests.ingestion.world import World


def test_urls_get_our_drivers() -> None:
    assert normalise("sqlite:///x/y.db").render_as_string() == "sqlite+aiosqlite:///x/y.db"
    for url in ("mysql://h/x", "nonsense", "", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError):
            normalise(url)


def test_postgresql_is_normalised_or_names_its_extra() -> None:
    for url in ("postgresql://u:p@h/x", "postgres://u:p@h/x"):
        if find_spec("psycopg"):
            assert normalise(url).drivername == "postgresql+psycopg"
        else:
            with pytest.raises(MissingExtra, match="postgres"):
                normalise(url)


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        normalise("mysql://root:hunter2@h/x")
    assert "hunter2" not in str(caught.value)


async def test_the_migration_makes_what_the_tables_say(world: World) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    async with world.database.begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_pragmas_hold_on_every_connection(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")
    async with database.connect() as one, database.connect() as two:
        for connection in (one, two):
            found = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 15000]
    await database.close()


async def test_an_exception_rolls_back(world: World) -> None:
    async def fail() -> None:
        async with world.database.begin() as connection:
            await connection.execute(text("CREATE TABLE t (a INTEGER)"))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        await fail()
    async with world.database.connect() as connection:
        found = await connection.execute(text("SELECT name FROM sqlite_master WHERE name = 't'"))
        assert found.all() == []


async def test_writers_wait_for_each_other(world: World) -> None:
    """Reading first and writing then fails with 'locked' in SQLite unless the lock is taken at once."""
    async with world.database.begin() as connection:
        await connection.execute(text("CREATE TABLE n (a INTEGER)"))
        await connection.execute(text("INSERT INTO n VALUES (0)"))

    async def increment() -> None:
        async with world.database.begin() as connection:
            value = (await connection.execute(text("SELECT a FROM n"))).scalar_one()
            await asyncio.sleep(0)
            await connection.execute(text("UPDATE n SET a = :a"), {"a": value + 1})

    await asyncio.gather(*(increment() for _ in range(20)))
    async with world.database.connect() as connection:
        assert (await connection.execute(text("SELECT a FROM n"))).scalar_one() == 20


async def test_breaches_of_constraints_are_not_called_outages(world: World) -> None:
    with pytest.raises(IntegrityError):
        async with world.database.begin() as connection:
            await connection.execute(text("INSERT INTO jobs (id) VALUES ('x')"))


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(b"not a database at all, but long enough to be looked at" * 30)
    database = Database(f"sqlite:///{file}")
    with pytest.raises(Unavailable) as caught:
        await migrate_catalog(database)
    assert caught.value.code == "database_unavailable"
    assert not await database.healthy()
    await database.close()


async def driver_threads_ended() -> None:
    """A connection that could not be opened still says goodbye to the event loop, which must live that long."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "x.db").mkdir()
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Unavailable, match="check DATABASE_URL"):
        await migrate_catalog(database)
    await database.close()
    await driver_threads_ended()


async def test_migrating_twice_changes_nothing(world: World) -> None:
    await migrate_catalog(world.database)
    assert await world.database.healthy()
    async with world.database.connect() as connection:
        version = await connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))
        assert version.scalars().all() == ["0001"]


async def test_two_sets_of_tables_live_in_one_database(world: World, tmp_path: Path) -> None:
    scripts = tmp_path / "other"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(
        "from alembic import context\n"
        "a = context.config.attributes\n"
        "context.configure(connection=a['connection'], version_table=a['version_table'])\n"
        "context.run_migrations()\n"
    )
    (scripts / "versions/1_x.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\nrevision = 'a1'\ndown_revision = None\n"
        "def upgrade():\n    op.create_table('theirs', sa.Column('id', sa.Integer))\n"
    )
    await migrate(world.database, scripts, "alembic_version_other")
    async with world.database.connect() as connection:
        await connection.execute(text("SELECT id FROM theirs"))
        await connection.execute(text("SELECT id FROM jobs"))


def test_processes_that_start_at_once_do_not_race(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from ingestion.database import Database\n"
        "from ingestion.migrations import migrate_catalog\n"
        "async def main():\n"
        "    database = Database(sys.argv[1])\n"
        "    sys.stdin.readline()\n"
        "    await migrate_catalog(database)\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/shared.db"]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
