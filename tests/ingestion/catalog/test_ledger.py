"""The ledger under chance: claims, steps, crashes, lost leases, cancellations and deletions in any order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from sqlalchemy import select

from ingestion.catalog import ledger
from ingestion.catalog.ledger import Claim, LeaseLost, LedgerRow
from ingestion.catalog.tables import items
from ingestion.intake import Intake, Submission
from ingestion.records import Problem
from rag.errors import NotFound
from rag.types import Chunk, DocumentRef
from tests.ingestion.world import ALL, TENANT, World

LEASE = 15.0
CHUNKS = [Chunk(n, "word", n, n + 1) for n in range(3)]


@dataclass
class Held:
    """A claim in the hands of a worker, and how far it is."""

    claim: Claim
    stage: int = 0


class LedgerMachine(RuleBasedStateMachine):
    """Two workers, one knowledge base, a clock that stands still between the steps."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.world: World = self.runner.run(World(Path(self.folder.name)).open())
        self.world.removal._patience = 0
        self.kb: Any = self.runner.run(self.world.kb())

    def change(self, function: Any, *arguments: Any, **named: Any) -> Any:
        async def run() -> Any:
            async with self.world.database.begin() as connection:
                return await function(connection, *arguments, **named)

        return self.runner.run(run())

    # the gateway ---------------------------------------------------------------------------------
    @initialize(texts=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def begin(self, texts: list[int]) -> None:
        self.submit(texts)

    @rule(texts=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def submit(self, texts: list[int]) -> None:
        self.runner.run(self.world.add(self.kb.id, *(f"text {n} of some" for n in texts)))

    @rule(data=st.data(), texts=st.lists(st.integers(0, 5), min_size=1, max_size=2))
    def new_versions(self, data: st.DataObject, texts: list[int]) -> None:
        """The same names in a source that is there already."""
        source = self.one_of(data, self.world.ingestion.data_sources(TENANT, self.kb.id, ALL))

        async def submit() -> None:
            uploads = [await self.world.upload(f"{at}.txt", f"text {n} anew") for at, n in enumerate(texts)]
            intake = Intake(self.world.database, self.world.blobs, self.world.outbox)
            await intake.submit(Submission(TENANT, self.kb.id, uploads, source_id=source.id))

        if source:
            self.runner.run(submit())

    @rule(data=st.data(), kind=st.sampled_from(["cancel", "sync", "document", "source"]))
    def disturb(self, data: st.DataObject, kind: str) -> None:
        gateway = self.world.ingestion
        document = self.one_of(data, gateway.documents(TENANT, self.kb.id, ALL))
        job = self.one_of(data, gateway.jobs(TENANT, self.kb.id, ALL))
        try:
            if kind == "document" and document:
                self.runner.run(gateway.delete_document(TENANT, self.kb.id, document.id))
            elif kind == "cancel" and job:
                self.runner.run(gateway.cancel_job(TENANT, self.kb.id, job.id))
            elif kind == "sync" and job:
                self.runner.run(gateway.sync_data_source(TENANT, self.kb.id, job.data_source_id))
            elif kind == "source" and job:
                self.runner.run(gateway.delete_data_source(TENANT, self.kb.id, job.data_source_id))
        except NotFound:  # the job of a source that is being deleted
            return

    def one_of(self, data: st.DataObject, listing: Any) -> Any:
        found = self.runner.run(listing).items
        return data.draw(st.sampled_from(found)) if found else None

    # the workers ---------------------------------------------------------------------------------
    @rule(target=held, worker=st.sampled_from(["a", "b"]))
    def claim(self, worker: str) -> Any:
        at = self.world.clock()
        for job in self.runner.run(self.world.ingestion.jobs(TENANT, self.kb.id, ALL)).items:
            owner = f"{worker}:{uuid4().hex}"
            claim = self.change(ledger.claim, job.id, owner, at=at, lease_seconds=LEASE, max_crashes=3)
            if claim:
                return Held(claim)
        return multiple()

    @rule(held=held, steps=st.integers(1, 4))
    def work(self, held: Held, steps: int) -> None:
        """The next things that the pipeline would do with the claim."""
        todo = [self._plan, self._begin, self._store, self._end]
        for step in todo[held.stage : held.stage + steps]:
            try:
                step(held.claim)
            except LeaseLost:
                held.stage = len(todo)
                self.runner.run(self.world.pipeline()._let_go(held.claim))
                return
            held.stage += 1

    def _version(self, claim: Claim) -> int:
        return claim.current_version if claim.aftercare else claim.version

    def _plan(self, claim: Claim) -> None:
        rows = [LedgerRow(chunk.n, chunk.start, chunk.end, None) for chunk in CHUNKS]
        if self._version(claim):
            self.change(ledger.plan, claim, self._version(claim), rows)

    def _begin(self, claim: Claim) -> None:
        self.change(ledger.begin_storing, claim, until=self.world.clock() + LEASE)

    def _store(self, claim: Claim) -> None:
        """Only a worker that holds its lease writes: one that has stalled stops at its next heartbeat."""
        state = self.change(ledger.renew, claim, until=self.world.clock() + LEASE, embedded=1)
        if state != (claim.status, claim.aftercare):
            raise LeaseLost
        reference = DocumentRef(claim.tenant, claim.kb_id, claim.document_id, self._version(claim), "x")
        chunks = CHUNKS if self._version(claim) else []
        self.runner.run(self.world.store.replace(reference, chunks, chunks))  # type: ignore[arg-type]

    def _end(self, claim: Claim) -> None:
        if claim.aftercare:
            if self._version(claim):
                self.change(ledger.restored, claim, points=3)
            self.change(ledger.cared_for, claim)
        elif claim.current_version and claim.target["sha256"] == claim.current_sha256:
            self.change(ledger.unchanged, claim)
        else:
            done = self.change(ledger.complete, claim, points=3, content_type="x", page_count=None)
            if done.aftercare:
                self.change(ledger.cared_for, done)

    @rule(held=consumes(held), kind=st.sampled_from(["fail", "retry", "release"]))
    def give_up(self, held: Held, kind: str) -> None:
        if held.stage >= 4:
            return
        problem = Problem("away", "away")
        try:
            if held.claim.aftercare:
                self.change(ledger.postpone, held.claim, not_before=self.world.clock() + 2)
            elif kind == "fail":
                self.change(ledger.fail, held.claim, problem)
            elif kind == "retry":
                self.change(ledger.retry, held.claim, problem, not_before=self.world.clock() + 2)
            else:
                self.change(ledger.release, held.claim)
        except LeaseLost:
            self.change(ledger.surrender, held.claim)

    @rule(held=consumes(held))
    def crash(self, held: Held) -> None:
        """The process is gone; its lease runs out some day."""

    @rule(seconds=st.sampled_from([1.0, 10.0, 16.0, 400.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.runner.run(self.world.sweeper().sweep())

    # what holds always ---------------------------------------------------------------------------
    @invariant()
    def one_live_lease_per_document(self) -> None:
        live = select(items.c.document_id).where(items.c.lease_until >= self.world.clock())
        found = [row.document_id for row in self.runner.run(self.world.rows(live)) if row.document_id]
        assert len(found) == len(set(found))

    @invariant()
    def counts_add_up(self) -> None:
        for job in self.runner.run(self.world.ingestion.jobs(TENANT, self.kb.id, ALL)).items:
            done = job.documents_processed + job.documents_failed + job.documents_unchanged
            assert 0 <= done <= job.documents_total
            if job.status == "completed":
                assert job.documents_total == 0 or done > 0

    def teardown(self) -> None:
        try:
            self.runner.run(self._everything_ends())
        finally:
            self.runner.run(self.world.close())
            self.runner.close()
            self.folder.cleanup()

    async def _everything_ends(self) -> None:
        world = self.world
        for _ in range(30):  # versions of one document come one after the other, each with its own job
            await world.settle(rounds=3)
            if not await world.rows(select(items).where(items.c.status.in_(("queued", "processing")))):
                break
        await world.settle(rounds=3)
        for job in (await world.ingestion.jobs(TENANT, self.kb.id, ALL)).items:
            assert job.status in ("completed", "failed", "cancelled"), job
        for item in await world.rows(select(items)):
            assert item.status in ("completed", "failed", "cancelled", "unchanged")
        await world.check_invariants()
        await world.ingestion.delete_knowledge_base(TENANT, self.kb.id)
        assert set((await world.counts()).values()) == {0}


LedgerMachine.TestCase.settings = settings(
    max_examples=8,
    # No shrinking: each step is a commit, and a bug would take minutes to become smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLedger = LedgerMachine.TestCase


CLAIMER = """
import asyncio, sys
from ingestion.catalog import ledger
from ingestion.database import Database

async def main():
    database = Database(sys.argv[1])
    sys.stdin.readline()
    while True:
        async with database.begin() as connection:
            claim = await ledger.claim(
                connection, sys.argv[2], sys.argv[3], at=1e12, lease_seconds=60, max_crashes=3)
        if claim is None:
            break
        print(claim.item_id)
    await database.close()

asyncio.run(main())
"""


async def test_two_processes_never_claim_the_same_item(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, *(f"text {n}" for n in range(40)))
    command = [sys.executable, "-c", CLAIMER, f"sqlite:///{world.root}/catalog.db", job.id]
    claimers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    outputs = [await asyncio.to_thread(claimer.communicate, timeout=60) for claimer in claimers]
    claimed = [line for output, _ in outputs for line in output.split()]
    assert [claimer.returncode for claimer in claimers] == [0, 0]
    assert len(claimed) == len(set(claimed)) == 40


async def test_a_worker_that_slept_through_its_lease_changes_nothing(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "text")

    async def claim(owner: str) -> Claim | None:
        async with world.database.begin() as connection:
            return await ledger.claim(connection, job.id, owner, at=world.clock(), lease_seconds=LEASE, max_crashes=3)

    sleeper = await claim("sleeper")
    assert sleeper is not None
    assert await claim("rival") is None
    world.clock.advance(16)
    rival = await claim("rival")
    assert rival is not None
    assert rival.item_id == sleeper.item_id
    for change in (
        lambda connection: ledger.complete(connection, sleeper, points=0, content_type="x", page_count=None),
        lambda connection: ledger.fail(connection, sleeper, Problem("x", "x")),
        lambda connection: ledger.begin_storing(connection, sleeper, until=world.clock() + 99),
        lambda connection: ledger.unchanged(connection, sleeper),
        lambda connection: ledger.plan(connection, sleeper, 1, []),
    ):
        try:
            async with world.database.begin() as connection:
                await change(connection)
        except LeaseLost:
            continue
        raise AssertionError("a lost lease was used")
    async with world.database.begin() as connection:
        assert await ledger.renew(connection, sleeper, until=world.clock() + 99, embedded=0) is None
        await ledger.surrender(connection, sleeper)
        assert await ledger.state(connection, rival) == ("processing", None)
