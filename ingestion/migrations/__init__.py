"""The tables of the catalog, as Alembic scripts."""

from __future__ import annotations

from pathlib import Path

from ingestion.database import Database, migrate

VERSION_TABLE = "alembic_version_catalog"


async def migrate_catalog(database: Database) -> None:
    """Makes or updates the tables. Safe when the gateway and workers start at once."""
    await migrate(database, Path(__file__).parent, VERSION_TABLE)
