"""The store on the embedded engine, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from qdrant_client import models

from rag.errors import IndexMismatch, InvalidRequest, VectorStoreUnavailable
from rag.filters import PAYLOAD_INDEXES
from rag.qdrant import QdrantStore, connect, point_id
from rag.testing import HashEmbedder
from rag.types import Chunk, DocumentRef, Passage, Scope, SearchType

KEY = "test-key"
EMBEDDER = HashEmbedder()
DOCUMENT = DocumentRef(
    "t1",
    "kb_1",
    "doc_1",
    1,
    "rates.md",
    file_id="file-1",
    data_source_id="ds_1",
    metadata={"year": 2021, "tags": ["a", "b"]},
)
SCOPE = Scope("t1", ("kb_1",))
TEXTS = [
    "A cabin costs 41 euros a night.",
    "Dogs are not allowed on deck 3.",
    "Towels cost 6 euros.",
    "東京から京都まで電車で行く",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        data = tmp_path_factory.mktemp("vectors")
        process = subprocess.Popen(
            [sys.executable, "-m", "rag.vectord", "--data", str(data), "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env={**os.environ, "VECTORD_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        process.terminate()
        assert process.wait(20) == 0


def made(url: str, name: str, key: str = KEY) -> QdrantStore:
    return QdrantStore(connect(url, key), model=name, dimension=EMBEDDER.dimension)


@pytest.fixture
async def store(url: str, request: pytest.FixtureRequest) -> AsyncIterator[QdrantStore]:
    store = made(url, request.node.name)
    yield store
    await store.close()


async def put(store: QdrantStore, document: DocumentRef = DOCUMENT, texts: list[str] = TEXTS) -> int:
    chunks, at = [], 0
    for n, text in enumerate(texts):
        chunks.append(Chunk(n, text, at, at + len(text), ((at, n + 1),), ("Rates",)))
        at += len(text) + 1
    return await store.replace(document, chunks, await EMBEDDER.embed_documents(texts))


async def find(
    store: QdrantStore, query: str, scope: Scope = SCOPE, search: SearchType = "hybrid", **filters: object
) -> list[Passage]:
    vector = (await EMBEDDER.embed_queries([query]))[0]
    return await store.search(scope, query, vector, search_type=search, limit=10, filters=filters)


async def test_what_is_stored_is_found_with_everything_a_citation_needs(store: QdrantStore) -> None:
    assert await put(store) == len(TEXTS)
    found = await find(store, "What does a cabin cost a night?")
    best = found[0]
    assert (best.text, best.start, best.end, best.n) == (TEXTS[0], 0, len(TEXTS[0]), 0)
    assert (best.document_id, best.knowledge_base_id, best.source, best.file_id) == (
        "doc_1",
        "kb_1",
        "rates.md",
        "file-1",
    )
    assert (best.page, best.headings, best.metadata) == (1, ("Rates",), DOCUMENT.metadata)
    assert best.chunk_id == "chunk_" + point_id(DOCUMENT, 0).replace("-", "")
    scores = [passage.score for passage in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)


@pytest.mark.parametrize("search", ["hybrid", "vector", "keyword"])
async def test_every_search_type_finds_it(store: QdrantStore, search: SearchType) -> None:
    await put(store)
    assert (await find(store, "towels cost", search=search))[0].text == TEXTS[2]


async def test_words_of_scripts_without_spaces_are_found(store: QdrantStore) -> None:
    await put(store)
    assert [p.text for p in await find(store, "京都 電車", search="keyword")] == [TEXTS[3]]
    assert (await find(store, "京都"))[0].text == TEXTS[3]


async def test_a_query_of_stop_words_is_no_error(store: QdrantStore) -> None:
    await put(store)
    assert await find(store, "the of and", search="keyword") == []
    assert len(await find(store, "the of and")) == len(TEXTS)


async def test_scopes_are_walls(store: QdrantStore) -> None:
    await put(store)
    others = [replace(DOCUMENT, tenant_id="t2"), replace(DOCUMENT, knowledge_base_id="kb_2")]
    for other in others:
        await put(store, replace(other, document_id="doc_x"), ["A cabin costs 99 euros a night."])
    for search in ("hybrid", "vector", "keyword"):
        found = await find(store, "cabin euros night", search=search)  # type: ignore[arg-type]
        assert {passage.document_id for passage in found} == {"doc_1"}
    assert await find(store, "cabin", Scope("t3", ("kb_1", "kb_2"))) == []
    both = await find(store, "cabin", Scope("t1", ("kb_1", "kb_2")))
    assert {passage.document_id for passage in both} == {"doc_1", "doc_x"}
    assert await store.count(Scope("t2", ("kb_1",))) == 1
    assert await store.delete(Scope("t2", ("kb_2",))) == 0
    assert await store.delete(Scope("t2", ("kb_1",)), "doc_1") == 0


async def test_another_tenants_texts_do_not_move_the_scores(store: QdrantStore) -> None:
    await put(store)
    before = [(p.chunk_id, p.score) for p in await find(store, "cabin towels deck", search="keyword")]
    await put(store, replace(DOCUMENT, tenant_id="t2"), ["cabin"] * 30)
    assert [(p.chunk_id, p.score) for p in await find(store, "cabin towels deck", search="keyword")] == before


async def test_replacing_is_idempotent_and_drops_the_stale_version(store: QdrantStore) -> None:
    for _ in range(2):
        assert await put(store) == len(TEXTS)
    assert await put(store, texts=TEXTS[:2]) == 2
    newer = replace(DOCUMENT, version=2)
    assert await put(store, newer, ["A cabin costs 45 euros."]) == 1
    assert [p.text for p in await find(store, "cabin costs")] == ["A cabin costs 45 euros."]
    assert await store.delete(SCOPE, "doc_1") == 1
    assert await store.count(SCOPE) == 0


async def test_chunks_come_in_reading_order_by_pages(store: QdrantStore) -> None:
    texts = [f"Paragraph {n}." for n in range(300)]
    await put(store, texts=texts)
    seen: list[Passage] = []
    while part := await store.chunks(SCOPE, "doc_1", limit=70, after=seen[-1].n if seen else None):
        seen += part
    assert [passage.text for passage in seen] == texts


async def test_filters_act_inside_the_search(store: QdrantStore) -> None:
    await put(store)
    newer = replace(
        DOCUMENT,
        document_id="doc_2",
        source="b.md",
        metadata={"year": 2024, "made": "2024-05-01", "by": {"team": "deck"}},
    )
    await put(store, newer, ["A cabin costs 45 euros."])

    async def ids(**filters: object) -> set[str]:
        return {passage.document_id for passage in await find(store, "cabin", **filters)}

    assert await ids() == {"doc_1", "doc_2"}
    assert await ids(document_name="b.md") == {"doc_2"}
    assert await ids(document_id=["doc_1", "doc_9"]) == {"doc_1"}
    assert await ids(source_type="web_crawl") == set()
    for metadata, expected in (
        ({"year": 2021}, {"doc_1"}),
        ({"year": 2021.0}, {"doc_1"}),
        ({"year": "2021"}, set()),
        ({"tags": "b"}, {"doc_1"}),
        ({"tags": {"$in": ["b", "z"]}}, {"doc_1"}),
        ({"tags": {"$ne": "b"}}, {"doc_2"}),
        ({"year": {"$gt": 2021}}, {"doc_2"}),
        ({"year": {"$gte": 2021, "$lt": 2024}}, {"doc_1"}),
        ({"made": {"$gte": "2024-04-30", "$lt": "2024-05-02T00:00:00Z"}}, {"doc_2"}),
        ({"by.team": "deck"}, {"doc_2"}),
        ({"year": {"$gt": 2000}, "by.team": "deck"}, {"doc_2"}),
    ):
        assert await ids(metadata=metadata) == expected, metadata
    with pytest.raises(InvalidRequest):
        await ids(metadata={"year": {"$near": 1}})


async def test_metadata_can_be_changed_and_can_shadow_nothing(store: QdrantStore) -> None:
    await put(store)
    await store.set_metadata(SCOPE, "doc_1", {"tenant_id": "t2", "year": 1999})
    (hit, *_) = await find(store, "cabin", metadata={"year": 1999})
    assert hit.metadata == {"tenant_id": "t2", "year": 1999}
    assert await find(store, "cabin", metadata={"tags": "b"}) == []
    assert await store.count(Scope("t2", ("kb_1",))) == 0


async def test_first_use_from_many_sides_makes_one_collection(url: str) -> None:
    stores = [made(url, "race") for _ in range(4)]
    assert await asyncio.gather(*(store.count(SCOPE) for store in stores)) == [0, 0, 0, 0]
    await asyncio.gather(*(store.close() for store in stores))


async def test_every_filterable_field_has_its_index_and_no_other_is_accepted(url: str, store: QdrantStore) -> None:
    await put(store)
    name = await store._collection()
    client = connect(url, KEY)
    assert set((await client.get_collection(name)).payload_schema) == set(PAYLOAD_INDEXES)
    free = models.Filter(must=[models.FieldCondition(key="meta.year", match=models.MatchValue(value=2021))])
    with pytest.raises(Exception, match=r"meta\.year"):
        await client.count(name, count_filter=free)
    await client.close()


async def test_a_collection_of_another_model_is_named_with_the_fix(url: str, store: QdrantStore) -> None:
    await put(store)
    client = connect(url, KEY)
    other = QdrantStore(client, model=str(store._made_with["embedding_model"]).upper(), dimension=EMBEDDER.dimension)
    with pytest.raises(IndexMismatch, match="EMBEDDING_MODEL"):
        await other.count(SCOPE)
    await other.close()


async def test_a_store_that_is_away_is_never_an_empty_result(url: str) -> None:
    away = made("http://127.0.0.1:9", "away")
    with pytest.raises(VectorStoreUnavailable):
        await away.search(SCOPE, "x", np.ones(64, dtype=np.float32), search_type="hybrid", limit=1, filters={})
    assert not await away.healthy()
    wrong = made(url, "wrong", key="no")
    with pytest.raises(VectorStoreUnavailable, match="QDRANT_API_KEY"):
        await wrong.count(SCOPE)
    await away.close()
    await wrong.close()


async def test_the_api_needs_the_key(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/collections")).status_code in (401, 403)


async def test_equal_scores_come_in_the_same_order_every_time(store: QdrantStore) -> None:
    for n in range(8):
        await put(store, replace(DOCUMENT, document_id=f"doc_{n}"), ["The same words."])
    orders = {tuple(p.chunk_id for p in await find(store, "same words")) for _ in range(8)}
    assert len(orders) == 1
