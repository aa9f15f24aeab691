"""What the gateway sees: bounded input, stable pages, and never another tenant's things."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from ingestion.records import ChunkingStrategy, Page
from ingestion.service import Ingestion
from rag.errors import InvalidRequest, NotFound
from tests.ingestion.world import ALL, TENANT, World

BAD_KNOWLEDGE_BASES: list[tuple[str, dict[str, Any]]] = [
    ("name", {"name": ""}),
    ("name", {"name": "   "}),
    ("name", {"name": "x" * 257}),
    ("name", {"name": "a\nb"}),
    ("name", {"name": "a\x00b"}),
    ("name", {"name": "\ud800"}),
    ("description", {"description": "x" * 4097}),
    ("description", {"description": "a\x00"}),
    ("embedding_model", {"embedding_model": "unknown"}),
    ("embedding_model", {"embedding_model": ""}),
    ("metadata", {"metadata": {"a": "x" * 20_000}}),
    ("metadata", {"metadata": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}),
    ("metadata", {"metadata": {"a": float("nan")}}),
    ("metadata", {"metadata": {"a": 2**63}}),
    ("metadata", {"metadata": {"a": "\x00"}}),
    ("metadata", {"metadata": {"a": object()}}),
    ("metadata", {"metadata": {1: "a"}}),
    ("metadata", {"metadata": ["a"]}),
    ("chunking_strategy.type", {"chunking": ChunkingStrategy("magic", 10, 0)}),  # type: ignore[arg-type]
    ("chunking_strategy.type", {"chunking": ChunkingStrategy("hierarchical", 100, 10)}),
    ("chunking_strategy.chunk_size", {"chunking": ChunkingStrategy("recursive", 257, 0)}),
    ("chunking_strategy.chunk_size", {"chunking": ChunkingStrategy("recursive", 0, 0)}),
    ("chunking_strategy.chunk_size", {"chunking": ChunkingStrategy("recursive", -1, -2)}),
    ("chunking_strategy.chunk_overlap", {"chunking": ChunkingStrategy("recursive", 64, 64)}),
    ("chunking_strategy.chunk_overlap", {"chunking": ChunkingStrategy("recursive", 64, -1)}),
    (
        "chunking_strategy.parent_chunk_size",
        {"chunking": ChunkingStrategy("recursive", 64, 8, parent_chunk_size=256)},
    ),
    (
        "chunking_strategy.parent_chunk_size",
        {"chunking": ChunkingStrategy("hierarchical", 64, 8, parent_chunk_size=32)},
    ),
]


@pytest.mark.parametrize(("param", "arguments"), BAD_KNOWLEDGE_BASES)
async def test_what_cannot_be_a_knowledge_base_is_refused_by_name(
    world: World, param: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.ingestion.create_knowledge_base(TENANT, **{"name": "kb", **arguments})
    assert caught.value.param == param
    assert (await world.counts())["knowledge_bases"] == 0


async def test_defaults_are_lowered_to_what_the_model_reads(world: World) -> None:
    kb = await world.ingestion.create_knowledge_base(TENANT, "  Ünïcode 知識 🙂  ")
    assert kb.name == "Ünïcode 知識 🙂"
    assert kb.embedding_model == "hash-embedder"
    assert kb.chunking_strategy == ChunkingStrategy("recursive", 256, 64)
    other = await world.ingestion.create_knowledge_base(TENANT, "kb", embedding_model="other")
    assert other.chunking_strategy == ChunkingStrategy("recursive", 100, 50)
    assert (other.status, other.document_count, other.chunk_count, other.size_bytes) == ("active", 0, 0, 0)
    asked = ChunkingStrategy("sentence", 100, 10)
    kb = await world.ingestion.create_knowledge_base(TENANT, "kb", chunking=asked)
    assert kb.chunking_strategy == asked


async def test_changes_are_checked_like_creations(world: World) -> None:
    kb = await world.kb()
    changed = await world.ingestion.update_knowledge_base(
        TENANT, kb.id, {"name": "new", "metadata": {"a": [1, None, True]}, "defaults": {"top_k": 3}}
    )
    assert (changed.name, changed.metadata, changed.defaults) == (
        "new",
        {"a": [1, None, True]},
        {"top_k": 3},
    )
    for param, changes in (("name", {"name": ""}), ("tenant_id", {"tenant_id": "x"}), ("id", {"id": "kb_1"})):
        with pytest.raises(InvalidRequest) as caught:
            await world.ingestion.update_knowledge_base(TENANT, kb.id, changes)
        assert caught.value.param == param


async def test_a_knowledge_base_with_work_is_updating(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).status == "updating"
    await world.drain()
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).status == "active"


# pages -----------------------------------------------------------------------------------------------
async def test_pages_go_through_everything_once_in_both_directions(world: World) -> None:
    made = [(await world.kb(str(n))).id for n in range(7)]
    for order, want in (("asc", made), ("desc", made[::-1])):
        forwards: list[str] = []
        page = Page(limit=3, order=order)  # type: ignore[arg-type]
        while True:
            listing = await world.ingestion.knowledge_bases(TENANT, page)
            forwards += [kb.id for kb in listing.items]
            if not listing.has_more:
                break
            page = Page(limit=3, order=order, after=forwards[-1])  # type: ignore[arg-type]
        assert forwards == want
        back = await world.ingestion.knowledge_bases(TENANT, Page(limit=3, order=order, before=want[5]))  # type: ignore[arg-type]
        assert ([kb.id for kb in back.items], back.has_more) == (want[2:5], True)
        between = Page(limit=9, order=order, after=want[1], before=want[4])  # type: ignore[arg-type]
        inside = await world.ingestion.knowledge_bases(TENANT, between)
        assert [kb.id for kb in inside.items] == want[2:4]


async def test_a_client_may_delete_while_it_pages(world: World) -> None:
    for n in range(5):
        await world.kb(str(n))
    seen = 0
    page = Page(limit=2)
    while items := (await world.ingestion.knowledge_bases(TENANT, page)).items:
        for kb in items:
            await world.ingestion.delete_knowledge_base(TENANT, kb.id)
            seen += 1
        page = Page(limit=2, after=items[-1].id)
    assert seen == 5


@pytest.mark.parametrize(
    ("page", "param"),
    [
        (Page(limit=0), "limit"),
        (Page(limit=101), "limit"),
        (Page(after="kb_x"), "after"),
        (Page(after="doc_0123456789abcdef01234567"), "after"),
        (Page(before="' OR 1=1 --"), "before"),
    ],
)
async def test_pages_that_cannot_be_are_refused(world: World, page: Page, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.ingestion.knowledge_bases(TENANT, page)
    assert caught.value.param == param


async def test_documents_and_jobs_can_be_filtered(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "good", "locked")
    other = await world.add(kb.id, "waiting words")
    await world.pipeline().run_job(job.id)

    async def names(**filters: str) -> list[str]:
        return [d.name for d in (await world.ingestion.documents(TENANT, kb.id, ALL, **filters)).items]

    assert await names() == ["0.txt", "1.txt", "0.txt"]
    assert await names(status="failed") == ["1.txt"]
    assert await names(status="queued", name="0.txt") == ["0.txt"]
    assert await names(data_source_id=other.data_source_id) == ["0.txt"]
    assert await names(name="%") == []
    queued = await world.ingestion.jobs(TENANT, kb.id, ALL, status="queued")
    assert [found.id for found in queued.items] == [other.id]
    with pytest.raises(InvalidRequest):
        await names(status="done")
    with pytest.raises(InvalidRequest):
        await world.ingestion.jobs(TENANT, kb.id, ALL, status="done")


async def test_chunks_are_paged_in_reading_order(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, " ".join(str(n) for n in range(30)))
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items

    async def page(**more: Any) -> tuple[list[int], bool]:
        listing = await world.ingestion.document_chunks(TENANT, kb.id, document.id, Page(**more))
        return [passage.n for passage in listing.items], listing.has_more

    everything = await world.ingestion.document_chunks(TENANT, kb.id, document.id, ALL)
    ids = [passage.chunk_id for passage in everything.items]
    assert everything.items[0].text == "0 1 2"
    assert await page(limit=4, order="asc") == ([0, 1, 2, 3], True)
    assert await page(limit=4, order="asc", after=ids[7]) == ([8, 9], False)
    assert await page(limit=4, order="asc", before=ids[7]) == ([3, 4, 5, 6], True)
    assert await page(limit=4, order="desc") == ([9, 8, 7, 6], True)
    assert await page(limit=4, order="desc", after=ids[2]) == ([1, 0], False)
    assert await page(limit=4, order="desc", before=ids[2]) == ([6, 5, 4, 3], True)
    assert await page(limit=4, order="asc", after=ids[9]) == ([], False)
    for wrong in ({"after": "chunk_nope"}, {"limit": 0}):
        with pytest.raises(InvalidRequest):
            await page(**wrong)


# metadata, text, events ------------------------------------------------------------------------------
async def test_metadata_reaches_rows_and_vectors(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "one two three four")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    changed = await world.ingestion.update_document(TENANT, kb.id, document.id, {"a": 1})
    assert changed.metadata == {"a": 1}
    assert all(reference.metadata == {"a": 1} for reference, _ in world.store.points.values())
    with pytest.raises(InvalidRequest):
        await world.ingestion.update_document(TENANT, kb.id, document.id, {"a": float("inf")})


async def test_a_document_without_a_version_has_no_chunks_and_no_text(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    assert (await world.ingestion.document_chunks(TENANT, kb.id, document.id, ALL)).items == ()
    with pytest.raises(NotFound) as caught:
        await world.ingestion.document_text(TENANT, kb.id, document.id)
    assert caught.value.code == "document_not_ready"


async def test_events_tell_each_change_and_the_end(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one", "two")
    seen: list[tuple[str, int]] = []
    watching = asyncio.Event()

    async def watch() -> None:
        async for event in world.ingestion.job_events(TENANT, kb.id, job.id):
            seen.append((event.status, event.documents_processed))
            watching.set()

    watcher = asyncio.create_task(watch())
    await watching.wait()
    await world.drain()
    await watcher
    assert seen[0] == ("queued", 0)
    assert seen[-1] == ("completed", 2)
    assert len(seen) == len(set(seen))
    again = [e.status async for e in world.ingestion.job_events(TENANT, kb.id, job.id)]
    assert again == ["completed"]


async def test_cancelling_what_has_ended_changes_nothing(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "one")
    await world.drain()
    before = await world.ingestion.job(TENANT, kb.id, job.id)
    assert await world.ingestion.cancel_job(TENANT, kb.id, job.id) == before


# tenants ---------------------------------------------------------------------------------------------
async def test_no_method_shows_or_changes_another_tenants_things(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    await world.drain()
    (document,) = (await world.ingestion.documents(TENANT, kb.id, ALL)).items
    values = {
        "kb_id": kb.id,
        "ds_id": job.data_source_id,
        "job_id": job.id,
        "doc_id": document.id,
        "page": ALL,
        "changes": {"name": "stolen"},
        "metadata": {"stolen": True},
        "name": "stolen",
        "uploads": [await world.upload("x", "x")],
    }
    state, counts = await world.end_state(), await world.counts()
    tried = 0
    for name, method in inspect.getmembers(world.ingestion, inspect.ismethod):
        parameters = inspect.signature(method).parameters
        if "kb_id" not in parameters:
            continue
        needed = [p for p in parameters.values() if p.default is p.empty and p.name != "tenant"]
        result = method("rival", *(values[p.name] for p in needed))
        with pytest.raises(NotFound):
            await (anext(result) if name == "job_events" else result)
        tried += 1
    assert tried >= 17
    assert (await world.end_state(), await world.counts()) == (state, counts)
    assert (await world.ingestion.knowledge_bases("rival", ALL)).items == ()
    assert (await world.ingestion.knowledge_base(TENANT, kb.id)).name == "kb"


async def test_a_tenant_may_be_any_text(world: World) -> None:
    for tenant in ("../..", "a/b", "ä ö", "x" * 80, "."):
        kb = await world.ingestion.create_knowledge_base(tenant, "kb")
        await world.add(kb.id, "words", tenant=tenant)
        await world.drain()
        (document,) = (await world.ingestion.documents(tenant, kb.id, ALL)).items
        assert await world.ingestion.document_text(tenant, kb.id, document.id) == "words"
        assert (await world.ingestion.delete_knowledge_base(tenant, kb.id)).blobs == 2
    with pytest.raises(InvalidRequest):
        await world.ingestion.create_knowledge_base("ä" * 100, "kb")


async def test_uploads_are_bounded(world: World) -> None:
    kb = await world.kb()
    upload = await world.upload("x", "x")
    for uploads in ([], [upload] * 10_001):
        with pytest.raises(InvalidRequest):
            await world.ingestion.add_uploads(TENANT, kb.id, "s", uploads)
    with pytest.raises(InvalidRequest):
        await world.ingestion.add_uploads(TENANT, kb.id, "", [upload])


def test_a_facade_without_a_model_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ingestion(world.database, world.blobs, world.store, world.outbox, {})
