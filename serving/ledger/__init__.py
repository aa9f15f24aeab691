"""The gateway's own books: API keys, files, usage and idempotency. Only it touches their tables."""

from __future__ import annotations

from pathlib import Path

from ingestion.database import Database
from serving.ledger.files import Files, StoredFile
from serving.ledger.idempotency import Idempotency
from serving.ledger.keys import DEFAULT_TENANT, SCOPES, ApiKey, Keys
from serving.ledger.tables import VERSION_TABLE
from serving.ledger.usage import UsageBook, UsageRow

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
"""Alembic scripts, for `migrate(database, MIGRATIONS, VERSION_TABLE)`."""

__all__ = [
    "DEFAULT_TENANT",
    "MIGRATIONS",
    "SCOPES",
    "VERSION_TABLE",
    "ApiKey",
    "Ledger",
    "StoredFile",
    "UsageRow",
]


class Ledger:
    """One object per table group. Every query takes the tenant, but for the look-up of a key."""

    def __init__(self, database: Database) -> None:
        self.keys = Keys(database)
        self.files = Files(database)
        self.usage = UsageBook(database)
        self.idempotency = Idempotency(database)

    async def ensure_bootstrap_key(self, key: str | None) -> str | None:
        """The operator's key exists after this. Returns a new key only when one was made: show it once."""
        return await self.keys.ensure_bootstrap(key)
