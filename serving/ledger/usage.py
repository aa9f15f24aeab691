"""Tokens and requests per key, model and day (UTC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import RowMapping, select

from ingestion.database import Database
from serving.ledger.tables import upsert, usage


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one key used of one model on one day. `aborted` of the requests ended before their answer did;
    their tokens are estimates where the engine had not yet counted."""

    key_id: str
    model: str
    day: str
    requests: int
    aborted: int
    prompt_tokens: int
    completion_tokens: int


def _record(row: RowMapping) -> UsageRow:
    return UsageRow(**{name: row[name] for name in UsageRow.__slots__})


def today() -> str:
    return datetime.now(UTC).date().isoformat()


class UsageBook:
    """The usage table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        tenant: str,
        key_id: str,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int = 0,
        aborted: bool = False,
    ) -> None:
        """Counts one request. Concurrent calls add up: the sum is made by the database."""
        counts = {
            "requests": 1,
            "aborted": int(aborted),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        key = {"tenant_id": tenant, "key_id": key_id, "model": model, "day": today()}
        async with self._database.begin() as connection:
            added = upsert(connection, usage).values({**key, **counts})
            sums = {name: usage.c[name] + getattr(added.excluded, name) for name in counts}
            await connection.execute(added.on_conflict_do_update(index_elements=list(key), set_=sums))

    async def rows(
        self,
        tenant: str,
        *,
        start: str | None = None,
        end: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        limit: int = 1000,
    ) -> Sequence[UsageRow]:
        """Newest day first. `start` and `end` are ISO dates, both included."""
        query = select(usage).where(usage.c.tenant_id == tenant)
        if start is not None:
            query = query.where(usage.c.day >= start)
        if end is not None:
            query = query.where(usage.c.day <= end)
        if key_id is not None:
            query = query.where(usage.c.key_id == key_id)
        if model is not None:
            query = query.where(usage.c.model == model)
        query = query.order_by(usage.c.day.desc(), usage.c.key_id, usage.c.model).limit(limit)
        async with self._database.connect() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]
