"""Knowledge bases, sources, jobs, documents, retrieval: our own nouns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestion.records import ChunkingStrategy
from rag.errors import VectorStoreUnavailable
from rag.types import RagOptions, Scope
from tests.serving.conftest import House, sse_data
from tests.serving.doubles import PASSAGE

KB = "/v1/knowledge-bases"
UPLOAD = {"type": "file_upload"}


async def make(house: House, **change: Any) -> dict[str, Any]:
    answer = await house.http.post(KB, json={"name": "Handbook", **change})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def upload(house: House, name: str = "a.txt") -> str:
    form = {"files": {"file": (name, b"text")}, "data": {"purpose": "knowledge_base"}}
    file_id: str = (await house.http.post("/v1/files", **form)).json()["id"]
    return file_id


async def filled(house: House) -> tuple[str, dict[str, Any], str]:
    """A knowledge base, its source, and the id of its document."""
    kb_id = (await make(house))["id"]
    asked = {"type": "file_upload", "config": {"file_ids": [await upload(house)]}, "metadata": {"a": 1}}
    source = (await house.http.post(f"{KB}/{kb_id}/data-sources", json=asked)).json()
    documents = (await house.http.get(f"{KB}/{kb_id}/documents")).json()
    return kb_id, source, documents["data"][0]["id"]


# knowledge bases ---------------------------------------------------------------------------------


async def test_create_get_list_delete(house: House) -> None:
    made = await make(house, description="d", metadata={"team": {"a": [1, None]}})
    assert {k: made[k] for k in ("object", "name", "description", "status", "metadata", "defaults")} == {
        "object": "knowledge_base",
        "name": "Handbook",
        "description": "d",
        "status": "active",
        "metadata": {"team": {"a": [1, None]}},
        "defaults": {},
    }
    assert (await house.http.get(f"{KB}/{made['id']}")).json() == made
    listed = (await house.http.get(KB)).json()
    assert listed == {
        "object": "list",
        "data": [made],
        "first_id": made["id"],
        "last_id": made["id"],
        "has_more": False,
    }
    gone = (await house.http.delete(f"{KB}/{made['id']}")).json()
    receipt = {"documents": 0, "chunks": 0, "vectors": 0, "blobs": 0}
    assert gone == {"id": made["id"], "object": "knowledge_base", "deleted": True, "receipt": receipt}
    assert (await house.http.get(f"{KB}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ChunkingStrategy("recursive", 256, 64)),
        ({"type": "sentence"}, ChunkingStrategy("sentence", 256, 64)),
        ({"chunk_size": 100}, ChunkingStrategy("recursive", 100, 50)),
        ({"chunk_size": 1}, ChunkingStrategy("recursive", 1, 0)),
        ({"chunk_size": 9999, "chunk_overlap": 0}, ChunkingStrategy("recursive", 9999, 0)),
        ({"type": "hierarchical"}, ChunkingStrategy("hierarchical", 256, 64, 2048)),
    ],
)
async def test_sizes_that_were_not_named_fit_the_model(
    house: House, asked: dict[str, Any], expected: ChunkingStrategy
) -> None:
    made = await make(house, chunking_strategy=asked)
    stored = await house.ingestion.knowledge_base("default", made["id"])
    assert stored.chunking_strategy == expected


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": 5}, "name"),
        ({"description": None}, "description"),
        ({"chunking_strategy": {"type": "magic"}}, "chunking_strategy.type"),
        ({"chunking_strategy": {"chunk_size": 0}}, "chunking_strategy.chunk_size"),
        ({"chunking_strategy": {"chunk_size": 10.5}}, "chunking_strategy.chunk_size"),
        ({"chunking_strategy": {"parent_chunk_size": 9}}, "chunking_strategy"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {"a": "x" * 20_000}}, "metadata"),
        ({"metadata": {"a": "b\x00"}}, "metadata"),
        ({"metadata": {"a": [[[[[[[[[1]]]]]]]]]}}, "metadata"),
        ({"embeddings": "x"}, "embeddings"),
    ],
)
async def test_what_a_knowledge_base_cannot_be(house: House, change: dict[str, Any], param: str) -> None:
    answer = await house.http.post(KB, json={"name": "x", **change})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_update(house: House) -> None:
    made = await make(house, description="old")
    path = f"{KB}/{made['id']}"
    changed = (await house.http.patch(path, json={"name": "New", "metadata": {"a": 1}})).json()
    assert (changed["name"], changed["description"], changed["metadata"]) == ("New", "old", {"a": 1})
    defaults = {"top_k": 3, "filters": {"metadata": {"year": {"$gt": 2000}}}}
    assert (await house.http.patch(path, json={"defaults": defaults})).json()["defaults"] == defaults
    assert (await house.http.patch(path, json={})).json()["name"] == "New"
    for wrong in ({"name": None}, {"status": "active"}, {"defaults": {"top_k": 0}}, {"embedding_model": "x"}):
        assert (await house.http.patch(path, json=wrong)).status_code == 400


# data sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True])
async def test_upload_source(house: House, beside: bool) -> None:
    kb_id, first, second = (await make(house))["id"], await upload(house), await upload(house, "ü.pdf")
    ids = {"file_ids": [first, second, first]}
    asked = {
        "type": "file_upload",
        "name": "Files",
        "metadata": {"k": "v"},
        **(ids if beside else {"config": ids}),
    }
    made = (await house.http.post(f"{KB}/{kb_id}/data-sources", json=asked)).json()
    assert (made["object"], made["type"], made["name"]) == ("data_source", "file_upload", "Files")
    assert made["config"] == {"file_ids": [first, second]}
    assert made["job_id"] == made["ingestion_job"]["id"]
    assert made["ingestion_job"]["object"] == "ingestion_job"
    assert made["ingestion_job"]["documents_total"] == 2
    documents = (await house.http.get(f"{KB}/{kb_id}/documents?order=asc")).json()["data"]
    assert [(d["name"], d["file_id"], d["metadata"]) for d in documents] == [
        ("a.txt", first, {"k": "v"}),
        ("ü.pdf", second, {"k": "v"}),
    ]
    read = (await house.http.get(f"{KB}/{kb_id}/data-sources/{made['id']}")).json()
    assert "credentials" not in read["config"]
    assert (await house.http.get(f"{KB}/{kb_id}/data-sources")).json()["data"] == [read]
    again = (await house.http.post(f"{KB}/{kb_id}/data-sources/{made['id']}/sync")).json()
    assert again["data_source_id"] == made["id"]
    gone = (await house.http.delete(f"{KB}/{kb_id}/data-sources/{made['id']}")).json()
    assert (gone["object"], gone["receipt"]["chunks"]) == ("data_source", 2)


@pytest.mark.parametrize(
    ("asked", "status", "param", "code"),
    [
        ({"type": "web_crawl", "config": {"urls": ["http://x"]}}, 400, "type", "invalid_value"),
        ({"type": "carrier_pigeon"}, 400, "type", "invalid_value"),
        ({}, 400, "type", "missing_required_parameter"),
        ({"type": "file_upload"}, 400, "config.file_ids", "missing_required_parameter"),
        ({"type": "file_upload", "file_ids": []}, 400, "file_ids", "invalid_value"),
        ({"type": "file_upload", "file_ids": [1]}, 400, "file_ids[0]", "invalid_value"),
        ({"type": "file_upload", "config": {"file_ids": "x"}}, 400, "config.file_ids", "invalid_value"),
        (
            {"type": "file_upload", "config": {"file_ids": ["x"] * 1001}},
            400,
            "config.file_ids",
            "invalid_value",
        ),
        (
            {"type": "file_upload", "config": {"fileids": ["x"]}},
            400,
            "config.file_ids",
            "missing_required_parameter",
        ),
        (
            {"type": "file_upload", "file_ids": ["x"], "config": {"u": 1}},
            400,
            "config.u",
            "unknown_parameter",
        ),
        (
            {"type": "file_upload", "file_ids": ["x"], "config": {"file_ids": ["x"]}},
            400,
            "file_ids",
            "invalid_value",
        ),
        ({"type": "file_upload", "file_ids": ["file-nope"]}, 404, "file_ids", "file_not_found"),
    ],
)
async def test_bad_sources(house: House, asked: dict[str, Any], status: int, param: str, code: str) -> None:
    kb_id = (await make(house))["id"]
    answer = await house.http.post(f"{KB}/{kb_id}/data-sources", json=asked)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    if asked.get("type") == "web_crawl":
        assert "web_crawl" in error["message"]
        assert "not available yet" in error["message"]


# jobs and documents ------------------------------------------------------------------------------


async def test_jobs(house: House) -> None:
    kb_id, source, _ = await filled(house)
    path = f"{KB}/{kb_id}/ingestion-jobs"
    job = source["ingestion_job"]
    assert set(job) == {
        "id",
        "object",
        "knowledge_base_id",
        "data_source_id",
        "status",
        "documents_total",
        "documents_processed",
        "documents_failed",
        "documents_unchanged",
        "chunks_created",
        "created_at",
        "started_at",
        "completed_at",
        "error",
    }
    assert (await house.http.get(f"{path}/{job['id']}")).json() == job
    assert (await house.http.get(f"{path}?status=completed")).json()["data"] == [job]
    assert (await house.http.get(f"{path}?status=failed")).json()["data"] == []
    assert (await house.http.get(f"{path}?status=odd")).json()["error"]["param"] == "status"
    assert (await house.http.post(f"{path}/{job['id']}/cancel")).json()["status"] == "cancelled"
    told = await house.http.get(f"{path}/{job['id']}/events")
    *events, last = sse_data(told.text)
    assert [json.loads(event)["status"] for event in events] == ["processing", "completed"]
    assert last == "[DONE]"
    missing = await house.http.get(f"{path}/job_nope/events")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "job_not_found"


async def test_documents(house: House) -> None:
    kb_id, source, doc_id = await filled(house)
    path = f"{KB}/{kb_id}/documents"
    document = (await house.http.get(f"{path}/{doc_id}")).json()
    assert (document["object"], document["status"], document["metadata"]) == (
        "document",
        "completed",
        {"a": 1},
    )
    assert document["data_source_id"] == source["id"]
    for query, found in (
        (f"data_source_id={source['id']}", 1),
        ("data_source_id=ds_nope", 0),
        ("name=a.txt", 1),
        ("name=b.txt", 0),
        ("status=completed", 1),
        ("status=queued", 0),
    ):
        assert len((await house.http.get(f"{path}?{query}")).json()["data"]) == found, query
    changed = (await house.http.patch(f"{path}/{doc_id}", json={"metadata": {"b": 2}})).json()
    assert changed["metadata"] == {"b": 2}
    for wrong in ({}, {"metadata": None}, {"metadata": {}, "name": "x"}):
        assert (await house.http.patch(f"{path}/{doc_id}", json=wrong)).status_code == 400
    text = await house.http.get(f"{path}/{doc_id}/content")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text == house.ingestion.text
    chunks = (await house.http.get(f"{path}/{doc_id}/chunks")).json()["data"]
    assert chunks == [
        {
            "id": "chunk_1",
            "object": "chunk",
            "text": PASSAGE.text,
            "start": 100,
            "end": 119,
            "page": 7,
            "headings": ["Limits"],
            "metadata": {"year": 2024},
        }
    ]
    gone = (await house.http.delete(f"{path}/{doc_id}")).json()
    assert gone["receipt"] == {"documents": 1, "chunks": 4, "vectors": 4, "blobs": 2}
    assert (await house.http.get(f"{path}/{doc_id}")).status_code == 404


async def test_a_lone_surrogate_keeps_the_offsets(house: House) -> None:
    kb_id, _, doc_id = await filled(house)
    house.ingestion.text = "ab\ud800cd"
    text = (await house.http.get(f"{KB}/{kb_id}/documents/{doc_id}/content")).text
    assert len(text) == 5
    assert text[3:] == "cd"


# retrieval ---------------------------------------------------------------------------------------


async def test_retrieve(house: House) -> None:
    kb_id = (await make(house))["id"]
    body = (await house.http.post(f"{KB}/{kb_id}/retrieve", json={"query": "limit"})).json()
    assert body == {
        "object": "list",
        "results": [
            {
                "chunk_id": "chunk_1",
                "document_id": "doc_1",
                "knowledge_base_id": "kb_1",
                "source": "größe.pdf",
                "text": "The limit is 40 °C.",
                "score": 0.87,
                "page": 7,
                "start": 100,
                "end": 119,
                "metadata": {"year": 2024},
            }
        ],
        "query": "limit",
        "timings_ms": {"embed": 1.0, "search": 2.0, "rerank": 3.0},
    }
    scope = Scope("default", (kb_id,))
    assert house.pipeline.searches == [("limit", scope, RagOptions(top_k=10, rerank=False, rewrite="off"))]
    asked = {
        "query": "x",
        "top_k": 100,
        "search_type": "vector",
        "rerank": True,
        "min_score": 0.5,
        "include_metadata": False,
        "filters": {"document_id": ["doc_1"], "metadata": {"year": {"$gte": 2020, "$lt": 2025}, "tag": "a"}},
    }
    bare = (await house.http.post(f"{KB}/{kb_id}/retrieve", json=asked)).json()
    assert bare["results"][0]["metadata"] is None
    options = house.pipeline.searches[-1][2]
    assert options.filters == asked["filters"]
    assert (options.top_k, options.candidates, options.search_type) == (100, 100, "vector")
    assert (options.rerank, options.min_score) == (True, 0.5)


@pytest.mark.parametrize(
    ("filters", "param", "named"),
    [
        ({"author": "x"}, "filters.author", "author"),
        ({"document_id": 5}, "filters.document_id", "string"),
        ({"document_id": []}, "filters.document_id", "1 to"),
        ({"metadata": {"a": {"$regex": "x"}}}, "filters.metadata", "$regex"),
        ({"metadata": {"a": {}}}, "filters.metadata", "'a'"),
        ({"metadata": {"a": None}}, "filters.metadata", "'a'"),
        ({"metadata": {"a": {"$in": []}}}, "filters.metadata", "1 to"),
        ({"metadata": {"a": {"$in": ["x"] * 257}}}, "filters.metadata", "1 to"),
        ({"metadata": {"a": {"$gt": "apple"}}}, "filters", "$gt"),
        ({"metadata": {"a": {"$gt": None}}}, "filters.metadata", "$gt"),
        ({"metadata": {"": 1}}, "filters.metadata", "field names"),
        ({"metadata": {f"f{n}": 1 for n in range(33)}}, "filters.metadata", "32"),
        ("all", "filters", "object"),
    ],
)
async def test_bad_filters(house: House, filters: Any, param: str, named: str) -> None:
    kb_id = (await make(house))["id"]
    answer = await house.http.post(f"{KB}/{kb_id}/retrieve", json={"query": "x", "filters": filters})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert named in error["message"]
    assert house.pipeline.searches == []


@pytest.mark.parametrize(
    "change",
    [
        {"query": ""},
        {"query": " \n"},
        {"query": "a\x00"},
        {"top_k": 101},
        {"top_k": 0},
        {"min_score": 1.5},
        {"rerank": "yes"},
        {"k": 1},
    ],
)
async def test_bad_searches(house: House, change: dict[str, Any]) -> None:
    kb_id = (await make(house))["id"]
    answer = await house.http.post(f"{KB}/{kb_id}/retrieve", json={"query": "x", **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(change))


async def test_a_failed_search_is_no_empty_result(house: House) -> None:
    kb_id = (await make(house))["id"]
    house.pipeline.found = VectorStoreUnavailable("the vector store does not answer")
    answer = await house.http.post(f"{KB}/{kb_id}/retrieve", json={"query": "x"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
