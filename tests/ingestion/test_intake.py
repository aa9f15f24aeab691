"""Taking documents in: once each, whole or not at all, also while others change the same knowledge base."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace

import pytest

from ingestion.catalog import documents as document_rows
from ingestion.intake import Intake, Submission
from ingestion.records import Job, Upload
from rag.errors import Conflict, InvalidRequest, NotFound, Unavailable
from tests.ingestion.world import ALL, TENANT, World


async def submit(world: World, kb_id: str, source_id: str, *uploads: Upload) -> Job:
    intake = Intake(world.database, world.blobs, world.outbox)
    return (await intake.submit(Submission(TENANT, kb_id, uploads, source_id=source_id)))[1]


async def test_the_bytes_are_the_documents_own(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "some words")
    await world.blobs.delete_prefix("files")
    await world.drain()
    assert (await world.ingestion.documents(TENANT, kb.id, ALL)).items[0].status == "completed"


async def test_the_same_bytes_are_embedded_once(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "same words", "other words")
    await world.drain()
    before = await world.end_state()
    job = await world.add(kb.id, "same words")
    assert (job.status, job.documents_unchanged, job.documents_total) == ("completed", 1, 1)
    assert world.outbox.sent == []
    assert await world.end_state() == before
    assert len(world.embedder.batches) == 2
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).status == "active"


async def test_the_same_bytes_twice_in_one_upload_are_one_document(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "same", "same", "same")
    await world.drain()
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert (job.documents_processed, job.documents_unchanged) == (1, 2)
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).document_count == 1
    await world.check_invariants()


async def test_the_same_bytes_of_a_document_in_work_wait_for_it(world: World) -> None:
    kb = await world.kb()
    first = await world.add(kb.id, "same words")
    second = await world.add(kb.id, "same words")
    await world.pipeline().run_job(second.id)
    assert world.parser.parsed == [], "the first job's item comes first"
    await world.drain()
    await world.settle(rounds=2)
    ended = [await world.ingestion.job(TENANT, kb.id, job.id) for job in (first, second)]
    assert [(job.documents_processed, job.documents_unchanged) for job in ended] == [(1, 0), (0, 1)]


async def test_uploads_of_the_same_bytes_at_once_make_one_document(world: World) -> None:
    kb = await world.kb()
    await asyncio.gather(*(world.add(kb.id, "same words") for _ in range(4)))
    await world.settle(rounds=2)
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).document_count == 1
    await world.check_invariants()


async def test_other_knowledge_bases_and_tenants_embed_for_themselves(world: World) -> None:
    one, two = await world.kb(), await world.kb()
    other = await world.kb(tenant="rival")
    for kb, tenant in ((one, TENANT), (two, TENANT), (other, "rival")):
        await world.add(kb.id, "same words", tenant=tenant)
    await world.drain()
    assert (await world.counts())["documents"] == 3
    await world.check_invariants()


async def test_a_failed_document_is_tried_again_when_it_comes_again(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    world.faults.raising("parse", RuntimeError("bug"))
    await world.drain()
    (failed,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert failed.status == "failed"
    job = await world.add(kb.id, "words")
    await world.drain()
    (done,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (done.id, done.status, done.error) == (failed.id, "completed", None)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).documents_processed == 1
    await world.check_invariants()


async def test_syncing_uploaded_files_repeats_the_failed_ones_only(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "good words", "bad words")
    world.faults.on("parse", lambda: _fail_second(world))
    await world.drain()
    again = await world.ingestion.sync_data_source(TENANT, kb.id, job.data_source_id)
    assert (again.documents_total, again.documents_unchanged) == (2, 1)
    world.faults.clear()
    await world.drain()
    again = await world.ingestion.job(TENANT, kb.id, again.id)
    assert (again.status, again.documents_processed) == ("completed", 1)
    await world.check_invariants()


def _fail_second(world: World) -> None:
    if world.parser.parsed:
        raise RuntimeError("bug")


async def test_new_bytes_of_a_known_name_are_a_new_version_without_a_gap(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "old words here and more")
    await world.drain()
    source_id = job.data_source_id
    (old,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items

    def still_there() -> None:
        assert len({key[3] for key in world.store.points}) >= 1
        assert world.store.points

    world.faults.on("within replace", still_there)
    world.faults.on("before replace", still_there)
    again = await submit(world, kb.id, source_id, await world.upload("0.txt", "new words", file_id="file-2"))
    shown = await world.ingestion.document(TENANT, kb.id, old.id)
    assert (shown.status, shown.version, shown.sha256) == ("completed", 1, old.sha256)
    assert await world.ingestion.document_text(TENANT, kb.id, old.id) == "old words here and more"
    await world.drain()
    (new,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (new.id, new.version, new.chunk_count, new.file_id) == (old.id, 2, 1, "file-2")
    assert await world.ingestion.document_text(TENANT, kb.id, old.id) == "new words"
    assert (await world.ingestion.job(TENANT, kb.id, again.id)).documents_processed == 1
    assert all("/2/" in key for key in await world.blobs.keys("documents"))
    await world.check_invariants()


@pytest.mark.parametrize("place", ["parse", "embed", "before replace", "within replace", "after replace"])
async def test_a_version_that_fails_leaves_the_one_before_whole(world: World, place: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "old words here and more")
    await world.drain()
    before = (await world.end_state())[2]
    world.faults.raising(place, Unavailable("away"), times=5)
    again = await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "newer words"))
    await world.settle()
    assert (await world.ingestion.job(TENANT, kb.id, again.id)).status == "failed"
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert (document.status, document.version, document.error.code) == ("completed", 1, "unavailable")
    assert (await world.end_state())[2] == before
    assert await world.ingestion.document_text(TENANT, kb.id, document.id) == "old words here and more"
    await world.check_invariants()


async def test_a_cancelled_version_is_taken_back(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "old words here and more")
    await world.drain()
    before = (await world.end_state())[2]
    again = await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "newer words"))

    async def cancel() -> None:
        world.faults.clear()
        await world.ingestion.cancel_job(TENANT, kb.id, again.id)

    world.faults.on("after replace", cancel)
    await world.settle()
    assert (await world.end_state())[2] == before
    await world.check_invariants()


async def test_versions_of_one_document_are_worked_on_in_order(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "version one")
    second = await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "version two"))
    third = await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "version three"))
    await asyncio.gather(*(world.pipeline(j).run_job(j) for j in (third.id, second.id, job.id)))
    await world.settle(rounds=4)
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.version == 3
    assert await world.ingestion.document_text(TENANT, kb.id, document.id) == "version three"
    await world.check_invariants()


async def test_a_broker_that_is_away_is_no_error_of_the_user(world: World) -> None:
    kb = await world.kb()
    world.outbox.failing = Unavailable("away", code="broker_unavailable")
    job = await world.add(kb.id, "words")
    assert job.status == "queued"
    world.outbox.failing = None
    await world.settle(rounds=2)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "completed"


async def test_bytes_that_are_gone_are_the_users_to_send_again(world: World) -> None:
    kb = await world.kb()
    good, gone = await world.upload("a", "a a"), await world.upload("b", "b b")
    await world.blobs.delete(gone.blob_key)
    with pytest.raises(InvalidRequest, match="upload the file again") as caught:
        await world.ingestion.add_uploads(TENANT, kb.id, "s", [good, gone])
    assert caught.value.code == "file_not_found"
    counts = await world.counts()
    assert {counts[name] for name in ("documents", "jobs", "data_sources", "job_items", "blobs")} == {0}


async def test_a_document_deleted_between_plan_and_commit_is_taken_in_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    await world.drain()
    (old,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    plan, plans = Intake._plan, 0

    async def slow_plan(self: Intake, submission: Submission) -> object:
        nonlocal plans
        plans += 1
        planned = await plan(self, submission)
        if plans == 1:
            await world.ingestion.delete_document(TENANT, kb.id, old.id)
        return planned

    monkeypatch.setattr(Intake, "_plan", slow_plan)
    await world.add(kb.id, "words")
    await world.drain()
    (new,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert new.id != old.id
    assert (new.status, plans) == ("completed", 2)
    await world.check_invariants()


async def test_a_plan_that_is_always_outdated_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    calls = 0
    by_sha256 = document_rows.by_sha256

    async def forgetful(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return {} if calls % 2 else await by_sha256(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(document_rows, "by_sha256", forgetful)
    with pytest.raises(Conflict):
        await world.add(kb.id, "words")
    assert len(await world.blobs.keys("documents")) == 1, "copies of lost plans must go"


async def test_a_failing_commit_takes_the_copies_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kb = await world.kb()

    async def broken(*_: object, **__: object) -> None:
        raise Unavailable("away", code="database_unavailable")

    monkeypatch.setattr("ingestion.catalog.submissions.add_job", broken)
    with pytest.raises(Unavailable):
        await world.add(kb.id, "words")
    counts = await world.counts()
    assert (counts["documents"], counts["data_sources"], counts["blobs"]) == (0, 0, 0)


async def test_strangers_add_nothing(world: World) -> None:
    kb = await world.kb()
    upload = await world.upload("a", "a")
    for tenant, kb_id in (("rival", kb.id), (TENANT, "kb_nope")):
        with pytest.raises(NotFound):
            await world.ingestion.add_uploads(tenant, kb_id, "s", [upload])
    assert (await world.counts())["blobs"] == 0


async def test_names_from_file_systems_are_made_fit(world: World) -> None:
    kb = await world.kb()
    upload = await world.upload("x", "words")
    odd = [replace(upload, name=name) for name in ("a\x00b\nc", "")]
    await world.ingestion.add_uploads(TENANT, kb.id, "s", [odd[0]])
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.name == "a\ufffdb\ufffdc"
    other = replace(await world.upload("y", "other"), name=" ")
    await world.ingestion.add_uploads(TENANT, kb.id, "s", [other])
    assert (await world.ingestion.documents(TENANT, kb.id, ALL)).items[1].name == "unnamed"


async def test_a_vanished_blob_folder_fails_the_document_with_a_reason(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    shutil.rmtree(world.blobs.root / "documents")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert (document.status, document.error.code) == ("failed", "blob_not_found")


async def test_a_submission_that_came_to_nothing_does_not_spoil_the_next(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "locked words")
    await world.drain()
    gone = await world.upload("0.txt", "gone")
    await world.blobs.delete(gone.blob_key)
    with pytest.raises(InvalidRequest):
        await submit(world, kb.id, job.data_source_id, gone)
    again = await world.ingestion.sync_data_source(TENANT, kb.id, job.data_source_id)
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.error is not None
    assert document.error.code == "needs_password", "the bytes that are there were read"
    assert (await world.ingestion.job(TENANT, kb.id, again.id)).status == "failed"
    await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "open words"))
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (document.status, document.version, document.size_bytes) == ("completed", 3, 10)
    await world.check_invariants()


async def test_files_that_change_places_lose_nothing(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "monday log", "sunday log")
    await world.drain()
    rotated = [
        await world.upload("0.txt", "tuesday log"),
        await world.upload("1.txt", "monday log"),
        await world.upload("2.txt", "sunday log"),
    ]
    await submit(world, kb.id, job.data_source_id, *rotated)
    await world.drain()
    found = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    texts = {d.name: await world.ingestion.document_text(TENANT, kb.id, d.id) for d in found}
    assert texts == {"0.txt": "tuesday log", "1.txt": "monday log", "2.txt": "sunday log"}
    await world.check_invariants()


async def test_bytes_that_are_about_to_go_are_not_counted_as_there(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "monday log")
    await world.drain()
    await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "tuesday log"))
    await world.add(kb.id, "monday log")
    await submit(world, kb.id, job.data_source_id, await world.upload("0.txt", "monday log"))
    await world.settle(rounds=3)
    found = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert [(d.name, d.version) for d in found] == [("0.txt", 3), ("0.txt", 1)]
    await world.check_invariants()


async def test_of_two_versions_submitted_at_once_both_are_kept_in_order(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "first words")
    await world.drain()
    uploads = [await world.upload("0.txt", f"words of {n}") for n in range(4)]
    results = await asyncio.gather(
        *(submit(world, kb.id, job.data_source_id, upload) for upload in uploads), return_exceptions=True
    )
    assert all(isinstance(result, Job | Conflict) for result in results), results
    await world.settle(rounds=8)
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (document.status, document.error) == ("completed", None)
    for result in results:
        if isinstance(result, Job):
            assert (await world.ingestion.job(TENANT, kb.id, result.id)).documents_failed == 0
    await world.check_invariants()
