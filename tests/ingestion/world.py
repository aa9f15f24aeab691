"""A whole ingestion on one SQLite file, one folder and the doubles; and its invariants."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import event, func, select

from ingestion.blobs import FolderBlobs
from ingestion.catalog.tables import chunks, documents, items, metadata
from ingestion.database import Database
from ingestion.migrations import migrate_catalog
from ingestion.pipeline import Parts, Pipeline
from ingestion.records import Job, KnowledgeBase, Page, Upload
from ingestion.removal import Removal
from ingestion.service import Ingestion
from ingestion.settings import Policy
from ingestion.sweep import Sweeper
from tests.ingestion.doubles import (
    Clock,
    Faults,
    FaultyEmbedder,
    MemoryStore,
    Outbox,
    TextParser,
    three_words,
)

TENANT = "acme"
ALL = Page(limit=100, order="asc")


_empty: list[bytes] = []


async def empty_catalog(scratch: Path) -> bytes:
    """A migrated database file, made once: the migration costs more than most tests."""
    if not _empty:
        file = scratch / "empty.db"
        database = Database(f"sqlite:///{file}")
        await migrate_catalog(database)
        await database.close()
        _empty.append(file.read_bytes())
    return _empty[0]


def _without_fsync(connection: Any, _record: Any) -> None:
    """Tests kill no power supply."""
    connection.execute("PRAGMA synchronous=OFF")


@dataclass
class World:
    root: Path
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=Clock)

    async def open(self) -> World:
        self.root.mkdir(parents=True, exist_ok=True)
        file = self.root / "catalog.db"
        file.write_bytes(await empty_catalog(self.root))
        self.database = Database(f"sqlite:///{file}")
        event.listen(self.database.engine.sync_engine, "connect", _without_fsync)
        self.faults = Faults()
        self.blobs = FolderBlobs(self.root / "blobs")
        self.store = MemoryStore(self.faults)
        self.parser = TextParser(self.faults)
        self.embedder = FaultyEmbedder(self.faults)
        self.outbox = Outbox()
        self.removal = Removal(self.database, self.blobs, self.store, patience=0.3, clock=self.clock)
        self.ingestion = Ingestion(
            self.database, self.blobs, self.store, self.outbox, {"hash-embedder": 256, "other": 100}
        )
        self.ingestion._removal = self.removal
        return self

    async def close(self) -> None:
        await self.database.close()

    def pipeline(self, worker: str = "w") -> Pipeline:
        parts = Parts(
            self.database,
            self.blobs,
            self.store,
            self.embedder,
            self.parser,
            three_words,
            self.outbox,
        )
        return Pipeline(parts, self.policy, worker=worker, clock=self.clock)

    def sweeper(self, idle: int = 4) -> Sweeper:
        return Sweeper(
            self.database,
            self.blobs,
            self.outbox,
            self.removal,
            idle=lambda: idle,
            policy=self.policy,
            clock=self.clock,
        )

    # doing ---------------------------------------------------------------------------------------
    async def kb(self, name: str = "kb", tenant: str = TENANT) -> KnowledgeBase:
        return await self.ingestion.create_knowledge_base(tenant, name)

    async def upload(self, name: str, text: str | bytes, **more: Any) -> Upload:
        data = text.encode() if isinstance(text, str) else text
        key = f"files/{hashlib.sha256(data + name.encode()).hexdigest()[:16]}"
        stored = await self.blobs.put(key, data)
        return Upload(name, key, stored.sha256, stored.size_bytes, "text/plain", **more)

    async def add(self, kb_id: str, *texts: str, tenant: str = TENANT) -> Job:
        uploads = [await self.upload(f"{n}.txt", text) for n, text in enumerate(texts)]
        return (await self.ingestion.add_uploads(tenant, kb_id, "files", uploads))[1]

    async def drain(self, pipeline: Pipeline | None = None) -> None:
        """Works until no message is left."""
        worker = pipeline or self.pipeline()
        while jobs := self.outbox.take():
            for job_id in jobs:
                await worker.run_job(job_id)

    async def settle(self, rounds: int = 12) -> None:
        """Time goes on, the sweeper sweeps, workers work: whatever can come to an end does."""
        for _ in range(rounds):
            await self.drain()
            self.clock.advance(400)
            await self.sweeper().sweep()
        await self.drain()

    # looking -------------------------------------------------------------------------------------
    async def rows(self, statement: Any) -> Sequence[Any]:
        async with self.database.connect() as connection:
            return (await connection.execute(statement)).all()

    async def counts(self) -> dict[str, int]:
        """Rows of each table, vectors and blobs of documents."""
        found = {
            name: (await self.rows(select(func.count()).select_from(table)))[0][0]
            for name, table in metadata.tables.items()
        }
        return found | {
            "vectors": len(self.store.points),
            "blobs": len(await self.blobs.keys("documents")),
        }

    async def end_state(self) -> Any:
        """Everything that a crash may not change, without ids and times."""
        docs = await self.rows(
            select(
                documents.c.name,
                documents.c.status,
                documents.c.error_code,
                documents.c.version,
                documents.c.chunk_count,
                documents.c.sha256,
            ).order_by(documents.c.id)
        )
        ledger = await self.rows(
            select(documents.c.name, chunks.c.version, chunks.c.n, chunks.c.start, chunks.c.end)
            .join(documents, documents.c.id == chunks.c.document_id)
            .order_by(documents.c.id, chunks.c.version, chunks.c.n)
        )
        points = sorted(
            (reference.source, reference.version, chunk.n, chunk.text)
            for reference, chunk in self.store.points.values()
        )
        blobs = sorted(key.split("/", 4)[-1] for key in await self.blobs.keys("documents"))
        return [tuple(row) for row in docs], [tuple(row) for row in ledger], points, blobs

    async def check_invariants(self) -> None:
        """planned = rows = points for every completed document; nothing else is stored anywhere."""
        docs = {row.id: row for row in await self.rows(select(documents))}
        for row in docs.values():
            mine = [key for key in self.store.points if key[2] == row.id]
            ledger = await self.rows(select(chunks).where(chunks.c.document_id == row.id))
            if row.version:
                assert {key[3] for key in mine} == {row.version}
                assert {line.version for line in ledger} == {row.version}
                assert len(mine) == len(ledger) == row.chunk_count > 0
            else:
                assert (mine, ledger, row.chunk_count) == ([], [], 0)
        assert {key[2] for key in self.store.points} <= set(docs)
        assert {key.split("/")[3] for key in await self.blobs.keys("documents")} <= set(docs)
        left = await self.rows(
            select(items).where((items.c.lease_until >= self.clock()) | items.c.aftercare.is_not(None))
        )
        assert left == []
