"""The database: engine, transactions, migrations. The only module that knows which dialect it speaks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, exc, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rag.errors import ConfigurationError, MissingExtra, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIGRATION_LOCK = 0x7E5054A5
_BUSY_MS = 15_000


def normalise(url: str) -> URL:
    """`sqlite:///…` and `postgresql://…` (or `postgres://…`) with the async driver that we use."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise ConfigurationError(
            "DATABASE_URL is not a URL; write sqlite:///path/to/file.db or postgresql://user:password@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend in ("postgresql", "postgres"):
        if find_spec("psycopg") is None:
            raise MissingExtra("PostgreSQL needs psycopg; install tensoras-server[postgres]")
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigurationError(f"DATABASE_URL names {backend!r}; supported are sqlite and postgresql")


def _sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("DATABASE_URL names no file; gateway and workers share one: sqlite:///path")
    return url.set(drivername="sqlite+aiosqlite")


def _sqlite_engine(url: URL) -> AsyncEngine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    # isolation_level None: the driver begins nothing by itself; `_on_begin` says which kind of transaction.
    connect = {"isolation_level": None, "timeout": _BUSY_MS / 1000}
    engine = create_async_engine(url, connect_args=connect, pool_size=8, max_overflow=8, pool_timeout=15)
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    """synchronous=FULL: commits are few (per document, never per chunk), and a promise given to a client or a
    deletion must outlive a power cut, not only kill -9."""
    cursor = connection.cursor()
    pragmas = ("busy_timeout=15000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    """A writer takes the lock at once: upgrading a read to a write fails with 'locked' instead of waiting."""
    writes = connection.get_execution_options().get("tensoras_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's failures as ours; breaches of constraints and wrong SQL stay what they are: bugs."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError) as error:
        raise _unavailable(str(error.orig)) from error
    except exc.TimeoutError as error:
        raise _unavailable("no free connection") from error
    except exc.DBAPIError as error:
        if type(error) is exc.DatabaseError or error.connection_invalidated:
            raise _unavailable(str(error.orig)) from error
        raise


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(
        f"the database does not answer ({reason.strip()[:300]}); check DATABASE_URL, or retry in a moment",
        code="database_unavailable",
    )


class Database:
    """An engine and its transactions. Belongs to the event loop in which it is first used."""

    def __init__(self, url: str) -> None:
        self.url = normalise(url)
        if self.url.get_backend_name() == "sqlite":
            self.engine = _sqlite_engine(self.url)
        else:
            self.engine = create_async_engine(self.url, pool_pre_ping=True, pool_timeout=15)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A writing transaction: committed at the end, rolled back by an exception.
        Raises Unavailable (`database_unavailable`)."""
        with _translated():
            async with self.engine.connect() as connection:
                await connection.execution_options(tensoras_writes=True)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A reading transaction: one snapshot, never committed. Raises as `begin`."""
        with _translated():
            async with self.engine.connect() as connection:
                yield connection

    async def healthy(self) -> bool:
        try:
            async with self.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        await self.engine.dispose()


async def migrate(database: Database, script_location: str | Path, version_table: str) -> None:
    """Brings the tables that `script_location` describes to its newest revision.

    Idempotent and safe when several processes start at once: they wait for each other, the first one does the
    work. Any folder of Alembic scripts whose env.py runs on `config.attributes["connection"]` will do.
    """
    if database.url.get_backend_name() == "sqlite":
        await _write_ahead(database)
    async with database.begin() as connection:
        if database.url.get_backend_name() == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        await connection.run_sync(_upgrade, str(script_location), version_table)


async def _write_ahead(database: Database) -> None:
    """Opens the file once. The first switch to WAL does not honour the busy timeout, so it is retried."""
    for attempt in range(50):
        try:
            async with database.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Unavailable as error:
            if "locked" not in str(error) or attempt == 49:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _upgrade(connection: Connection, script_location: str, version_table: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", script_location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, version_table=version_table)
    command.upgrade(config, "head")
