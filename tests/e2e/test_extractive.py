"""The whole path with the extractive model: real gateway, vectord, Celery worker, sandbox and embedder."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from tests.e2e.api import Api, check_citations, files_below
from tests.e2e.conftest import ROOT
from tests.e2e.server import Server

HANDBOOK = ROOT / "examples" / "handbook"
RATES = "# Rates\n\nA cabin costs 41 euros a night. Dogs are not allowed on deck 3.\n\nTowels cost 6 euros."


@pytest.fixture(scope="module")
def kb(api: Api) -> str:
    """The example handbook, ingested."""
    files = [path for path in sorted(HANDBOOK.iterdir()) if path.name != "questions.jsonl"]
    assert len(files) >= 14
    kb = api.knowledge_base("Handbook")
    job = api.ingest(kb, [api.upload(path.name, path.read_bytes()) for path in files])
    ended = api.wait_for_job(kb, job)
    assert ended["status"] == "completed", ended
    assert (ended["documents_total"], ended["documents_failed"]) == (len(files), 0)
    return kb


def test_every_document_is_accounted_for_and_every_chunk_is_a_span_of_its_text(api: Api, kb: str) -> None:
    total = 0
    for document in api.documents(kb).values():
        assert document["status"] == "completed"
        text = api.text(kb, document["id"])
        chunks = api.get(f"/v1/knowledge-bases/{kb}/documents/{document['id']}/chunks", limit=100)["data"]
        assert len(chunks) == document["chunk_count"] > 0
        for chunk in chunks:
            assert text[chunk["start"] : chunk["end"]] == chunk["text"]
        total += len(chunks)
    seen = api.get(f"/v1/knowledge-bases/{kb}")
    assert seen["chunk_count"] == total
    assert seen["document_count"] == len(api.documents(kb))


def test_an_answer_cites_the_exact_words(api: Api, kb: str) -> None:
    answer = api.ask(kb, "How long may a passenger with a foot ticket stay ashore?")
    text = answer.choices[0].message.content
    check_citations(api, kb, text, answer.citations)
    spans = [span for citation in answer.citations for span in citation["spans"]]
    assert spans
    assert {span["verification"] for span in spans} == {"exact"}
    assert answer.retrieval["rerank"] == "skipped"
    links = [note["url_citation"] for note in answer.choices[0].message.model_dump()["annotations"]]
    assert {link["title"] for link in links} <= {citation["source"] for citation in answer.citations}


def test_the_stream_is_the_plain_answer_with_its_citations(api: Api, kb: str) -> None:
    question = "What does the passenger charter promise about delays?"
    plain = api.ask(kb, question)
    chunks = list(api.ask(kb, question, stream=True, stream_options={"include_usage": True}))
    content = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(content) == plain.choices[0].message.content
    finish = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
    assert finish.citations == plain.citations
    assert chunks[-1].usage.model_dump() == plain.usage.model_dump()
    assert len(content) > 5
    marked = [piece for piece in content if "[" in piece or "]" in piece]
    assert all(piece.count("[") == piece.count("]") for piece in marked)


async def test_the_async_client_and_concurrent_questions(api: Api, kb: str) -> None:
    async with AsyncOpenAI(base_url=f"{api.base_url}/v1", api_key=api.key, max_retries=0) as client:

        async def ask(question: str) -> Any:
            return await client.chat.completions.create(
                model="extractive",
                messages=[{"role": "user", "content": question}],
                extra_body={"knowledge_bases": [kb]},
            )

        answers = await asyncio.gather(*(ask(f"What is said about dogs and bicycles? ({n})") for n in range(12)))
    assert len({answer.choices[0].message.content for answer in answers}) >= 1
    assert all(answer.citations for answer in answers)


def test_models_say_what_they_are(api: Api) -> None:
    models = {model.id: model.model_dump() for model in api.openai.models.list()}
    assert models["extractive"]["kind"] == "chat"
    assert api.openai.models.retrieve("all-MiniLM-L6-v2").id == "all-MiniLM-L6-v2"
    assert any(model["kind"] == "embedding" for model in models.values())


def test_retrieve_by_each_search_type_and_filter(api: Api) -> None:
    kb = api.knowledge_base("Filters")
    source = {"type": "file_upload", "name": "a", "metadata": {"year": 2021, "team": "deck"}}
    api.post(
        f"/v1/knowledge-bases/{kb}/data-sources",
        {**source, "config": {"file_ids": [api.upload("rates.md", RATES.encode())]}},
    )
    newer = {"type": "file_upload", "name": "b", "metadata": {"year": 2024, "team": "galley"}}
    api.post(
        f"/v1/knowledge-bases/{kb}/data-sources",
        {**newer, "config": {"file_ids": [api.upload("menu.txt", b"Soup costs 7 euros in the galley.")]}},
    )
    for job in api.get(f"/v1/knowledge-bases/{kb}/ingestion-jobs")["data"]:
        assert api.wait_for_job(kb, job["id"])["status"] == "completed"

    def sources(**body: Any) -> set[str]:
        found = api.post(f"/v1/knowledge-bases/{kb}/retrieve", {"query": "What does it cost?", **body})
        assert all(0 <= result["score"] <= 1 for result in found["results"])
        return {result["source"] for result in found["results"]}

    both = {"rates.md", "menu.txt"}
    assert sources() == sources(search_type="vector") == sources(search_type="keyword", query="costs euros") == both
    assert sources(filters={"metadata": {"year": {"$gt": 2022}}}) == {"menu.txt"}
    assert sources(filters={"metadata": {"team": {"$ne": "galley"}}}) == {"rates.md"}
    assert sources(filters={"metadata": {"year": {"$in": [2021, 1999]}}}) == {"rates.md"}
    assert sources(filters={"document_name": "menu.txt"}) == {"menu.txt"}
    assert sources(filters={"metadata": {"year": 1999}}) == set()
    refused = api.http.post(
        f"/v1/knowledge-bases/{kb}/retrieve",
        json={"query": "x", "filters": {"metadata": {"a": {"$like": "b"}}}},
    )
    assert refused.status_code == 400
    assert "$like" in refused.json()["error"]["message"]


def traces(server: Server, kb: str) -> list[str]:
    """Where the id of a knowledge base still stands: table names, and `vectors` for points."""
    found = []
    with closing(sqlite3.connect(server.data / "tensoras.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
            found += [table for row in rows if any(kb in str(value) for value in row)]
    port = re.search(r"serves on .*?(\d+)\)", (server.data / "logs" / "vectord.log").read_text())
    assert port is not None
    key = (server.data / "secrets" / "vectord.key").read_text().strip()
    with httpx.Client(base_url=f"http://127.0.0.1:{port.group(1)}", headers={"api-key": key}) as client:
        for collection in client.get("/collections").json()["result"]["collections"]:
            scope = {"must": [{"key": "kb_id", "match": {"value": kb}}]}
            counted = client.post(f"/collections/{collection['name']}/points/count", json={"filter": scope})
            found += ["vectors"] * counted.json()["result"]["count"]
    return found


def test_embeddings_by_the_official_client(api: Api) -> None:
    texts = ["The quick brown fox.", "A fast fox.", "Tax law."]
    data = api.openai.embeddings.create(model="all-MiniLM-L6-v2", input=texts).data
    assert [len(item.embedding) for item in data] == [384] * 3
    near, far = (sum(a * b for a, b in zip(data[0].embedding, data[n].embedding, strict=True)) for n in (1, 2))
    assert near > far


def test_deletion_leaves_nothing(api: Api, server: Server) -> None:
    before = files_below(server.data / "blobs")
    kb = api.knowledge_base("Short-lived")
    files = [api.upload(f"rates-{n}.md", f"{RATES} Copy {n}.".encode()) for n in range(3)]
    assert api.wait_for_job(kb, api.ingest(kb, files))["status"] == "completed"
    first = next(iter(api.documents(kb).values()))
    receipt = api.http.delete(f"/v1/knowledge-bases/{kb}/documents/{first['id']}")
    assert receipt.status_code == 200, receipt.text
    assert api.http.get(f"/v1/knowledge-bases/{kb}/documents/{first['id']}").status_code == 404
    assert receipt.json()["deleted"] is True
    assert "vectors" in traces(server, kb)
    left = api.post(f"/v1/knowledge-bases/{kb}/retrieve", {"query": "cabin", "top_k": 50})["results"]
    assert {result["document_id"] for result in left} == {d["id"] for d in api.documents(kb).values()}
    assert api.http.delete(f"/v1/knowledge-bases/{kb}").status_code == 200
    assert api.http.get(f"/v1/knowledge-bases/{kb}").status_code == 404
    assert [name for name in traces(server, kb) if name not in ("idempotency", "usage")] == []
    for file in files:
        assert api.openai.files.delete(file).deleted
    assert files_below(server.data / "blobs") == before


def test_the_same_bytes_are_not_ingested_twice(api: Api) -> None:
    kb = api.knowledge_base("Twice")
    first = api.wait_for_job(kb, api.ingest(kb, [api.upload("rates.md", RATES.encode())]))
    second = api.wait_for_job(kb, api.ingest(kb, [api.upload("rates.md", RATES.encode())]))
    assert (first["documents_unchanged"], second["documents_unchanged"]) == (0, 1)
    assert len(api.documents(kb)) == 1
