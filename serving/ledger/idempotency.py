"""Answers to requests that carried an Idempotency-Key, kept for 24 hours and across restarts.

A claim is a row without an answer and with a lease. Whoever inserts it runs the request; the others wait for
the answer. If the runner dies, its lease runs out and the next caller takes the claim over.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy import and_, delete, select, update
from sqlalchemy.sql.elements import ColumnElement

from ingestion.database import Database
from serving.ledger.tables import idempotency, upsert

KEEP_SECONDS = 24 * 3600
LEASE_SECONDS = 600
PURGE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Slot:
    """Whose request it is: the key's own name space, and the token that the client chose."""

    tenant_id: str
    key_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a slot. `owner` is set when this caller holds the claim and must run the request;
    `status` and `body` are set when the answer is there."""

    fingerprint: str
    owner: str | None = None
    status: int | None = None
    body: bytes | None = None


def _where(slot: Slot) -> ColumnElement[bool]:
    return and_(
        idempotency.c.tenant_id == slot.tenant_id,
        idempotency.c.key_id == slot.key_id,
        idempotency.c.token == slot.token,
    )


class Idempotency:
    """The idempotency table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._purged = float("-inf")

    async def claim(self, slot: Slot, fingerprint: str) -> Entry:
        """Claims the slot if it is free, stale or its runner is gone; else tells what is there."""
        await self._purge_now_and_then()
        now, owner = int(time.time()), secrets.token_hex(16)
        fresh = {
            "fingerprint": fingerprint,
            "owner": owner,
            "status": None,
            "body": None,
            "leased_until": now + LEASE_SECONDS,
            "created_at": now,
        }
        abandoned = and_(idempotency.c.status.is_(None), idempotency.c.leased_until <= now)
        stale = idempotency.c.created_at <= now - KEEP_SECONDS
        async with self._database.begin() as connection:
            key = {"tenant_id": slot.tenant_id, "key_id": slot.key_id, "token": slot.token}
            claimed = upsert(connection, idempotency).values({**key, **fresh})
            await connection.execute(
                claimed.on_conflict_do_update(index_elements=list(key), set_=fresh, where=abandoned | stale)
            )
            row = (await connection.execute(select(idempotency).where(_where(slot)))).mappings().one()
        mine = owner if row["owner"] == owner else None
        return Entry(row["fingerprint"], mine, row["status"], row["body"])

    async def complete(self, slot: Slot, owner: str, status: int, body: bytes) -> None:
        """Keeps the answer. A claim that was taken over meanwhile is left to its new owner."""
        held = and_(_where(slot), idempotency.c.owner == owner)
        async with self._database.begin() as connection:
            await connection.execute(update(idempotency).where(held).values(status=status, body=body))

    async def release(self, slot: Slot, owner: str) -> None:
        """Gives the claim back after a failure, so that a retry runs again."""
        held = and_(_where(slot), idempotency.c.owner == owner, idempotency.c.status.is_(None))
        async with self._database.begin() as connection:
            await connection.execute(delete(idempotency).where(held))

    async def _purge_now_and_then(self) -> None:
        """At the first claim of a process, and hourly: the table stays as small as a day's traffic."""
        now = time.monotonic()
        if now - self._purged >= PURGE_SECONDS:
            self._purged = now
            await self.purge()

    async def purge(self) -> int:
        """Drops what is older than 24 hours; returns how many rows went."""
        old = idempotency.c.created_at <= int(time.time()) - KEEP_SECONDS
        async with self._database.begin() as connection:
            return (await connection.execute(delete(idempotency).where(old))).rowcount
