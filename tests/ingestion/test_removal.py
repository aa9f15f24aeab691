"""Deletions: nothing is left, the receipt is true, and what is cut off is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ingestion.records import Receipt
from rag.errors import Conflict, NotFound, VectorStoreUnavailable
from tests.ingestion.world import ALL, TENANT, World

NOTHING = {"documents": 0, "chunks": 0, "vectors": 0, "blobs": 0}


async def left(world: World, *more: str) -> dict[str, int]:
    counts = await world.counts()
    return {name: counts[name] for name in (*NOTHING, *more)}


async def test_a_document_goes_with_everything(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one two three four")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    receipt = await world.ingestion.delete_document(TENANT, kb.id, document.id)
    assert receipt == Receipt(documents=1, chunks=2, vectors=2, blobs=2)
    assert await left(world) == NOTHING
    with pytest.raises(NotFound):
        await world.ingestion.delete_document(TENANT, kb.id, document.id)
    job = await world.ingestion.job(TENANT, kb.id, job.id)
    assert (job.status, job.documents_processed) == ("completed", 1), "history stays true"
    await world.pipeline().run_job(job.id)
    assert await left(world) == NOTHING


async def test_only_what_was_asked_for_goes(world: World) -> None:
    one, two, other = await world.kb(), await world.kb(), await world.kb(tenant="rival")
    for kb, tenant in ((one, TENANT), (two, TENANT), (other, "rival")):
        await world.add(kb.id, "one two three", "four five", tenant=tenant)
    await world.drain()
    receipt = await world.ingestion.delete_knowledge_base(TENANT, one.id)
    assert receipt == Receipt(documents=2, chunks=2, vectors=2, blobs=4)
    assert await left(world) == {"documents": 4, "chunks": 4, "vectors": 4, "blobs": 8}
    await world.check_invariants()


async def test_a_data_source_goes_with_documents_and_jobs(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one two three", "four five")
    kept = await world.add(kb.id, "kept words")
    await world.drain()
    receipt = await world.ingestion.delete_data_source(TENANT, kb.id, job.data_source_id)
    assert receipt == Receipt(documents=2, chunks=2, vectors=2, blobs=4)
    assert await left(world, "data_sources", "jobs", "job_items") == {
        "documents": 1,
        "chunks": 1,
        "vectors": 1,
        "blobs": 2,
        "data_sources": 1,
        "jobs": 1,
        "job_items": 1,
    }
    with pytest.raises(NotFound):
        await world.ingestion.job(TENANT, kb.id, job.id)
    assert (await world.ingestion.job(TENANT, kb.id, kept.id)).status == "completed"


async def test_a_document_that_two_sources_brought_stays_with_the_second(world: World) -> None:
    kb = await world.kb()
    first = await world.add(kb.id, "shared words", "only the first")
    await world.drain()
    second = await world.add(kb.id, "shared words")
    receipt = await world.ingestion.delete_data_source(TENANT, kb.id, first.data_source_id)
    assert receipt.documents == 1
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert document.data_source_id == second.data_source_id
    await world.check_invariants()
    await world.ingestion.delete_data_source(TENANT, kb.id, second.data_source_id)
    assert await left(world, "data_sources", "jobs") == NOTHING | {"data_sources": 0, "jobs": 0}


async def test_a_shared_document_in_work_is_finished_for_the_second(world: World) -> None:
    kb = await world.kb()
    first = await world.add(kb.id, "shared words")
    second = await world.add(kb.id, "shared words")
    await world.ingestion.delete_data_source(TENANT, kb.id, first.data_source_id)
    await world.settle(rounds=3)
    job = await world.ingestion.job(TENANT, kb.id, second.id)
    assert (job.status, job.documents_processed) == ("completed", 1)
    await world.check_invariants()


@pytest.mark.parametrize("place", ["parse", "embed", "within replace", "after replace"])
@pytest.mark.parametrize("what", ["source", "kb"])
async def test_deleting_over_a_running_job(world: World, place: str, what: str) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one two three four", "five six")
    deleting: list[asyncio.Task[Receipt]] = []

    async def delete() -> None:
        world.faults.clear()
        if what == "kb":
            work = world.ingestion.delete_knowledge_base(TENANT, kb.id)
        else:
            work = world.ingestion.delete_data_source(TENANT, kb.id, job.data_source_id)
        deleting.append(asyncio.create_task(work))
        await asyncio.sleep(0.05)

    world.faults.on(place, delete)
    await world.drain()
    await deleting[0]
    await world.settle(rounds=3)
    assert await left(world, "jobs", "job_items") == NOTHING | {"jobs": 0, "job_items": 0}


Delete = Callable[[World, str, str, str], Awaitable[Receipt]]
DELETES: dict[str, Delete] = {
    "document": lambda w, kb, _, doc: w.ingestion.delete_document(TENANT, kb, doc),
    "data source": lambda w, kb, ds, _: w.ingestion.delete_data_source(TENANT, kb, ds),
    "knowledge base": lambda w, kb, _, __: w.ingestion.delete_knowledge_base(TENANT, kb),
}


@pytest.mark.parametrize("what", DELETES)
async def test_deleting_what_is_not_there_names_it(world: World, what: str) -> None:
    kb = await world.kb()
    missing = "kb_missing" if what == "knowledge base" else kb.id
    identifier = {"document": "doc_missing", "data source": "ds_missing"}.get(what, missing)
    with pytest.raises(NotFound) as caught:
        await DELETES[what](world, missing, "ds_missing", "doc_missing")
    assert identifier in caught.value.message
    assert caught.value.code == what.replace(" ", "_") + "_not_found"


@pytest.mark.parametrize("step", ["before delete", "after delete", "delete_prefix", "drop"])
@pytest.mark.parametrize("what", DELETES)
async def test_a_deletion_cut_off_anywhere_is_finished(
    world: World, what: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one two three four")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items

    async def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if step == "delete_prefix":
        monkeypatch.setattr(world.blobs, "delete_prefix", cut)
    elif step == "drop":
        for name in ("drop_document", "drop_source", "drop_knowledge_base"):
            monkeypatch.setattr(f"ingestion.catalog.deletions.{name}", cut)
    else:
        world.faults.raising(step, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await DELETES[what](world, kb.id, job.data_source_id, document.id)
    monkeypatch.undo()
    if what != "knowledge base":
        with pytest.raises(NotFound):
            await world.ingestion.document(TENANT, kb.id, document.id)
    else:
        assert (await world.ingestion.knowledge_base(TENANT, kb.id)).status == "deleting"
    await world.settle(rounds=2)
    assert await left(world) == NOTHING
    assert (await world.counts())["knowledge_bases"] == (0 if what == "knowledge base" else 1)
    assert (await world.counts())["data_sources"] == (1 if what == "document" else 0)


async def test_a_store_that_is_away_does_not_lose_the_deletion(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "one two three four")
    await world.drain()
    world.faults.raising("before delete", VectorStoreUnavailable("away"), times=3)
    with pytest.raises(VectorStoreUnavailable):
        await world.ingestion.delete_knowledge_base(TENANT, kb.id)
    with pytest.raises(VectorStoreUnavailable):
        await world.ingestion.delete_knowledge_base(TENANT, kb.id)
    await world.settle(rounds=3)
    assert await left(world, "knowledge_bases") == NOTHING | {"knowledge_bases": 0}


async def test_a_second_request_finishes_the_first(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "one two three four")
    await world.drain()
    world.faults.raising("after delete", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await world.ingestion.delete_knowledge_base(TENANT, kb.id)
    await world.ingestion.delete_knowledge_base(TENANT, kb.id)
    assert await left(world, "knowledge_bases") == NOTHING | {"knowledge_bases": 0}


async def test_deletions_at_once_do_not_break_each_other(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one two three four", "five six")
    await world.drain()
    ids = [d.id for d in (await world.ingestion.documents(TENANT, kb.id, ALL)).items]
    results = await asyncio.gather(
        *(world.ingestion.delete_document(TENANT, kb.id, doc) for doc in (*ids, *ids)),
        world.ingestion.delete_data_source(TENANT, kb.id, job.data_source_id),
        world.ingestion.delete_knowledge_base(TENANT, kb.id),
        return_exceptions=True,
    )
    assert all(isinstance(result, Receipt | NotFound) for result in results), results
    await world.settle(rounds=2)
    assert await left(world, "knowledge_bases", "jobs") == NOTHING | {"knowledge_bases": 0, "jobs": 0}


async def test_nothing_can_be_added_to_what_is_being_deleted(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    world.faults.raising("before delete", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await world.ingestion.delete_knowledge_base(TENANT, kb.id)
    with pytest.raises(Conflict):
        await world.add(kb.id, "more words")
    with pytest.raises(Conflict):
        await world.ingestion.sync_data_source(TENANT, kb.id, job.data_source_id)
    with pytest.raises(Conflict):
        await world.ingestion.update_knowledge_base(TENANT, kb.id, {"name": "x"})


async def test_other_tenants_delete_nothing(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    before = await world.counts()
    for attempt in (
        world.ingestion.delete_knowledge_base("rival", kb.id),
        world.ingestion.delete_data_source("rival", kb.id, job.data_source_id),
        world.ingestion.delete_document("rival", kb.id, document.id),
        world.ingestion.delete_document(TENANT, "kb_other", document.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await world.counts() == before
