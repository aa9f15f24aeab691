"""API keys. Only their sha256 is stored; a key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ingestion.database import Database
from ingestion.ids import new_id
from ingestion.records import Listing, Page
from rag.errors import NotFound
from serving.ledger.paging import read_page
from serving.ledger.tables import api_keys

SCOPES = (
    "chat",
    "embeddings",
    "rerank",
    "files",
    "batches",
    "knowledge_bases:read",
    "knowledge_bases:write",
    "admin",
)
DEFAULT_TENANT = "default"
BOOTSTRAP_ID = "key_bootstrap"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: everything but the key. `operator` may act for other tenants."""

    id: str
    tenant_id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    rpm: int | None
    tpm: int | None
    operator: bool
    created_at: int
    expires_at: int | None


def new_key() -> str:
    return "tns_" + secrets.token_hex(32)


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _hint(key: str) -> str:
    """Enough to tell keys apart in a list, too little to guess one."""
    return f"{key[:4]}…{key[-4:]}"


def _record(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"]),
        rpm=row["rpm"],
        tpm=row["tpm"],
        operator=row["operator"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


class Keys:
    """The api_keys table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str) -> ApiKey | None:
        """The live key, or None for one that is unknown, expired or revoked. Read afresh each time, so that a
        revocation counts at once in every process."""
        digest = hash_of(key)
        query = select(api_keys).where(api_keys.c.hash == digest, api_keys.c.revoked_at.is_(None))
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None or not hmac.compare_digest(row["hash"], digest):
            return None
        if row["expires_at"] is not None and row["expires_at"] <= time.time():
            return None
        return _record(row)

    async def create(
        self,
        tenant: str,
        name: str,
        scopes: Sequence[str],
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        expires_at: int | None = None,
    ) -> tuple[ApiKey, str]:
        """The new key's record and the key itself, which cannot be read again."""
        key = new_key()
        row = {
            "id": new_id("key"),
            "tenant_id": tenant,
            "name": name,
            "hash": hash_of(key),
            "hint": _hint(key),
            "scopes": list(scopes),
            "rpm": rpm,
            "tpm": tpm,
            "operator": False,
            "created_at": int(time.time()),
            "expires_at": expires_at,
        }
        async with self._database.begin() as connection:
            written = insert(api_keys).values(row).returning(*api_keys.c)
            return _record((await connection.execute(written)).mappings().one()), key

    def _live(self, tenant: str, key_id: str) -> list[object]:
        return [
            api_keys.c.tenant_id == tenant,
            api_keys.c.id == key_id,
            api_keys.c.revoked_at.is_(None),
        ]

    async def get(self, tenant: str, key_id: str) -> ApiKey:
        query = select(api_keys).where(and_(*self._live(tenant, key_id)))  # type: ignore[arg-type]
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise _unknown(key_id)
        return _record(row)

    async def list(self, tenant: str, page: Page) -> Listing[ApiKey]:
        query = select(api_keys).where(api_keys.c.tenant_id == tenant, api_keys.c.revoked_at.is_(None))
        async with self._database.connect() as connection:
            rows, more = await read_page(connection, query, api_keys, page)
        return Listing(tuple(_record(row) for row in rows), more)

    async def revoke(self, tenant: str, key_id: str) -> None:
        """The row stays, so that usage keeps its key."""
        ended = (
            update(api_keys)
            .where(and_(*self._live(tenant, key_id)))  # type: ignore[arg-type]
            .values(revoked_at=int(time.time()))
        )
        async with self._database.begin() as connection:
            if (await connection.execute(ended)).rowcount == 0:
                raise _unknown(key_id)

    async def ensure_bootstrap(self, key: str | None) -> str | None:
        """Makes sure that the operator has a key.

        With `key` (from the settings) that one is it, and an earlier bootstrap key stops working. Without one
        a key is made if there is none, and returned: it must be shown then, for it is not stored. Of several
        processes that start at once only one makes a key.
        """
        made = None if key else new_key()
        row = _bootstrap_row(key or made or "")
        try:
            async with self._database.begin() as connection:
                await connection.execute(insert(api_keys).values(row))
        except IntegrityError:
            return await self._replace_bootstrap(row, made)
        return made

    async def _replace_bootstrap(self, row: dict[str, object], made: str | None) -> str | None:
        """The row is there: a key from the settings takes its place, a made one only if it was revoked."""
        named = api_keys.c.id == BOOTSTRAP_ID
        stale = or_(api_keys.c.hash != row["hash"], api_keys.c.revoked_at.is_not(None))
        condition = and_(named, api_keys.c.revoked_at.is_not(None) if made else stale)
        async with self._database.begin() as connection:
            changed = (await connection.execute(update(api_keys).where(condition).values(row))).rowcount
        return made if changed else None


def _bootstrap_row(key: str) -> dict[str, object]:
    return {
        "id": BOOTSTRAP_ID,
        "tenant_id": DEFAULT_TENANT,
        "name": "bootstrap",
        "hash": hash_of(key),
        "hint": _hint(key),
        "scopes": list(SCOPES),
        "operator": True,
        "created_at": int(time.time()),
        "revoked_at": None,
    }


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"No API key {key_id!r}.", code="api_key_not_found", param="key_id")
