"""From uploaded bytes to stored vectors, and every way in which that can be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion.records import ChunkingStrategy
from ingestion.settings import Policy
from rag.errors import (
    DocumentError,
    NotFound,
    TensorasError,
    Unavailable,
    VectorStoreUnavailable,
)
from rag.types import Scope
from tests.ingestion.world import ALL, TENANT, World

TEXT = "one two three four five six seven"


async def test_a_document_becomes_text_ledger_and_vectors(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    assert (job.status, job.documents_total) == ("queued", 1)
    await world.drain()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert (job.status, job.documents_processed, job.chunks_created) == ("completed", 1, 3)
    assert job.started_at is not None
    assert job.completed_at is not None
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (document.status, document.version, document.chunk_count) == ("completed", 1, 3)
    assert document.page_count == 1
    assert await world.ingestion.document_text(TENANT, kb.id, document.id) == TEXT
    kb = await world.ingestion.knowledge_base(TENANT, kb.id)
    assert (kb.document_count, kb.chunk_count, kb.size_bytes) == (1, 3, len(TEXT))
    await world.check_invariants()


async def test_running_a_job_twice_changes_nothing(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT, "another text")
    await world.drain()
    before = await world.end_state()
    await world.pipeline().run_job(job.id)
    await world.pipeline().run_job("job_000000000000000000000000")
    assert await world.end_state() == before
    assert world.parser.parsed == ["0.txt", "1.txt"]


async def test_embedding_goes_in_bounded_batches(tmp_path: Path) -> None:
    world = await World(tmp_path, Policy(embed_batch=2)).open()
    kb = await world.kb()
    await world.add(kb.id, TEXT)
    await world.drain()
    assert world.embedder.batches == [2, 1]
    await world.close()


async def test_a_document_error_fails_one_document_at_once_and_not_the_others(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "locked", TEXT)
    await world.drain()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert (job.status, job.documents_processed, job.documents_failed) == ("completed", 1, 1)
    failed, done = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert failed.error is not None
    assert (failed.status, failed.error.code, done.status) == ("failed", "needs_password", "completed")
    with pytest.raises(NotFound, match="no text yet"):
        await world.ingestion.document_text(TENANT, kb.id, failed.id)
    await world.check_invariants()


async def test_a_job_fails_when_every_document_failed(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "locked", "locked too")
    await world.drain()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "all_documents_failed"
    assert "encrypted" in job.error.message


async def test_a_document_without_words_is_a_failure(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "   \n ")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert (document.status, document.error.code) == ("failed", "empty_document")


async def test_a_file_over_the_limit_is_not_parsed(tmp_path: Path) -> None:
    world = await World(tmp_path, Policy(max_file_mb=1)).open()
    kb = await world.kb()
    await world.add(kb.id, "x " * 600_000)
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert (document.error.code, world.parser.parsed) == ("too_large", [])
    await world.close()


@pytest.mark.parametrize("place", ["embed", "before replace", "within replace", "after replace"])
async def test_a_retryable_error_is_tried_again_after_a_pause(world: World, place: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    world.faults.raising(place, VectorStoreUnavailable("away"))
    await world.drain()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "processing"
    await world.pipeline().run_job(job.id)
    assert len(world.parser.parsed) == 1, "the pause was not kept"
    world.clock.advance(2.1)
    await world.pipeline().run_job(job.id)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"
    await world.check_invariants()


async def test_pauses_grow_and_are_bounded() -> None:
    policy = Policy()
    error = TensorasError("x")
    assert [policy.pause(n, error) for n in range(1, 7)] == [2, 8, 32, 128, 300, 300]
    assert policy.pause(1, Unavailable("x", retry_after=60)) == 60
    assert policy.pause(10_000, error) == 300


@pytest.mark.parametrize("place", ["embed", "within replace", "after replace"])
async def test_after_five_attempts_a_document_fails_and_leaves_nothing(world: World, place: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    world.faults.raising(place, VectorStoreUnavailable("the store is away"), times=99)
    await world.settle()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert job.status == "failed"
    assert len(world.parser.parsed) == 5
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert document.error.code == "vector_store_unavailable"
    await world.check_invariants()


async def test_an_unexpected_error_fails_the_document_and_names_no_details(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, TEXT)
    world.faults.raising("parse", RuntimeError("secret path /etc"))
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert document.error.code == "internal_error"
    assert "secret" not in document.error.message


async def test_another_embedding_model_is_refused(world: World) -> None:
    kb = await world.ingestion.create_knowledge_base(TENANT, "kb", embedding_model="other")
    await world.add(kb.id, TEXT)
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert document.error.code == "index_mismatch"
    assert world.store.points == {}


async def test_a_store_that_lost_a_point_is_not_believed(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)

    def lose_one() -> None:
        world.store.points.popitem()
        world.faults.clear()

    world.faults.on("after replace", lose_one)
    await world.drain()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "processing"
    await world.settle()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"
    await world.check_invariants()


async def test_metadata_that_changes_while_a_document_is_stored_is_not_lost(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items

    async def patch() -> None:
        world.faults.clear()
        await world.ingestion.update_document(TENANT, kb.id, document.id, {"team": "blue"})

    world.faults.on("before replace", patch)
    await world.settle()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"
    assert {ref.metadata["team"] for ref, _ in world.store.points.values()} == {"blue"}


class Killed(BaseException):
    """kill -9: nothing of ours runs after it."""


PLACES = ["parse", "embed", "before replace", "within replace", "after replace"]


async def run_killed(world: World, job_id: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs until `place`, and then the process is gone: no ending is written down."""
    pipeline = world.pipeline("dying")
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def nothing(*_: object, **__: object) -> None:
        return None

    world.faults.on(place, hang)
    running = asyncio.ensure_future(pipeline.run_job(job_id))
    await reached.wait()
    monkeypatch.setattr(pipeline, "_record", nothing)
    monkeypatch.setattr("ingestion.lease.uninterrupted", lambda work: work)
    monkeypatch.setattr("ingestion.pipeline.uninterrupted", lambda work: work)
    world.faults.clear()
    await kill(running)
    monkeypatch.undo()


async def kill(task: asyncio.Future[None]) -> None:
    """Cancels everything that the task waits for, also what is shielded."""
    me = asyncio.current_task()
    while not task.done():
        for other in asyncio.all_tasks() - {me}:
            other.cancel()
        await asyncio.wait({task}, timeout=0.05)


@pytest.mark.parametrize("place", PLACES)
async def test_killed_anywhere_and_run_again_ends_in_the_same_state(
    world: World, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = await World(tmp_path / "calm").open()
    calm_kb = await calm.kb()
    await calm.add(calm_kb.id, TEXT, "other words")
    await calm.drain()
    kb = await world.kb()
    job = await world.add(kb.id, TEXT, "other words")
    world.outbox.take()
    await run_killed(world, job.id, place, monkeypatch)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "processing"
    await world.settle()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"
    assert await world.end_state() == await calm.end_state()
    await world.check_invariants()
    await calm.close()


@pytest.mark.parametrize("place", PLACES)
async def test_a_document_that_kills_its_worker_every_time_is_given_up(
    world: World, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    for _ in range(3):
        await run_killed(world, job.id, place, monkeypatch)
        world.clock.advance(16)
    await world.settle()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert (document.status, document.error.code) == ("failed", "parse_crashed")
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "failed"
    await world.check_invariants()


async def test_a_stopping_worker_releases_its_document_without_counting_an_attempt(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    world.outbox.take()
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    world.faults.on("parse", hang)
    pipeline = world.pipeline()
    running = asyncio.create_task(pipeline.run_job(job.id))
    await reached.wait()
    pipeline.stop()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    world.faults.clear()
    await pipeline.run_job(job.id)
    assert world.parser.parsed == [], "a stopped worker claimed again"
    await world.pipeline("next").run_job(job.id)  # at once: no lease to wait for
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"


def _cancel(world: World, kb_id: str, job_id: str) -> Callable[[], object]:
    async def cancel() -> None:
        world.faults.clear()
        await world.ingestion.cancel_job(TENANT, kb_id, job_id)

    return cancel


@pytest.mark.parametrize("place", PLACES)
async def test_a_cancelled_job_leaves_nothing_in_the_store(world: World, place: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT, "not begun yet")
    world.faults.on(place, _cancel(world, kb.id, job.id))  # type: ignore[arg-type]
    await world.drain()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert (job.status, job.documents_processed) == ("cancelled", 0)
    await world.settle()
    await world.check_invariants()
    assert world.store.points == {}
    statuses = {d.error.code for d in (await world.ingestion.documents(TENANT, kb.id, ALL)).items if d.error}
    assert statuses == {"cancelled"}


@pytest.mark.parametrize("place", PLACES)
async def test_a_document_deleted_while_its_job_runs_stays_deleted(world: World, place: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    deleting: list[asyncio.Task[object]] = []

    async def delete() -> None:
        world.faults.clear()
        deleting.append(asyncio.create_task(world.ingestion.delete_document(TENANT, kb.id, document.id)))
        while (await world.ingestion.documents(TENANT, kb.id, ALL)).items:
            await asyncio.sleep(0)

    world.faults.on(place, delete)
    await world.drain()
    await deleting[0]
    await world.settle(rounds=3)
    counts = await world.counts()
    assert (counts["documents"], counts["vectors"], counts["blobs"], counts["chunks"]) == (0, 0, 0, 0)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "cancelled"


async def test_the_heartbeat_keeps_a_slow_document_and_notices_a_cancellation(tmp_path: Path) -> None:
    import time

    world = await World(tmp_path, Policy(lease_seconds=0.5, heartbeat_seconds=0.05), clock=time.time).open()  # type: ignore[arg-type]
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    world.outbox.take()
    beaten, cancelled = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began = time.time()
        while time.time() < began + 0.8:  # longer than the lease
            await asyncio.sleep(0.05)
            assert await world.pipeline("rival")._claim(job.id) is None
        beaten.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    world.faults.on("parse", slow)
    running = asyncio.create_task(world.pipeline().run_job(job.id))
    await beaten.wait()
    await world.ingestion.cancel_job(TENANT, kb.id, job.id)
    await cancelled.wait()
    await running
    world.faults.clear()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "cancelled"
    await world.check_invariants()
    await world.close()


async def test_a_job_gives_its_place_to_others_after_its_slice(tmp_path: Path) -> None:
    world = await World(tmp_path, Policy(slice_seconds=0)).open()
    kb = await world.kb()
    job = await world.add(kb.id, TEXT, "b c d", "e f g")
    world.outbox.take()
    await world.pipeline().run_job(job.id)
    assert len(world.parser.parsed) == 1
    assert world.outbox.sent == [(job.id, 1)]
    await world.drain()
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).documents_processed == 3
    await world.close()


async def test_two_workers_share_a_job_and_never_a_document(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, *(f"text number {n} with words" for n in range(12)))
    await asyncio.gather(*(world.pipeline(f"w{n}").run_job(job.id) for n in range(3)))
    assert sorted(world.parser.parsed) == sorted(f"{n}.txt" for n in range(12))
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).documents_processed == 12
    await world.check_invariants()


async def test_the_chunks_of_the_store_carry_where_they_come_from(world: World) -> None:
    kb = await world.kb()
    uploads = [await world.upload("a.txt", TEXT, file_id="file-1", metadata={"team": "red"})]
    source, _ = await world.ingestion.add_uploads(TENANT, kb.id, "s", uploads, metadata={"year": 2026})
    await world.drain()
    (reference,) = {id(ref): ref for ref, _ in world.store.points.values()}.values()
    assert reference.file_id == "file-1"
    assert reference.data_source_id == source.id
    assert reference.metadata == {"team": "red", "year": 2026}
    assert await world.store.count(Scope(TENANT, (kb.id,))) == 3


async def test_a_database_that_is_away_for_a_moment_costs_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "locked")
    pipeline = world.pipeline()
    write, failures = pipeline._write, 2

    async def flaky(change: object) -> object:
        nonlocal failures
        if world.parser.parsed and failures:
            failures -= 1
            raise Unavailable("away", code="database_unavailable")
        return await write(change)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "_write", flaky)
    await pipeline.run_job(job.id)
    assert (failures, (await world.ingestion.job(TENANT, kb.id, job.id)).status) == (0, "failed")


def test_strategies_are_values() -> None:
    assert ChunkingStrategy() == ChunkingStrategy("recursive", 512, 64)
    assert isinstance(DocumentError("too_large", "x"), TensorasError)


async def test_more_vectors_of_an_earlier_attempt_do_not_stay(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, TEXT)
    world.faults.raising("after replace", VectorStoreUnavailable("away"))
    await world.drain()
    (key, point), *_ = world.store.points.items()
    world.store.points[(*key[:4], 99)] = point  # as another chunker would have made
    await world.settle(rounds=2)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"
    await world.check_invariants()
