"""kill -9 of each process in the middle of ingestion; the store ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.server import Server

DOCUMENTS = {
    f"log-{n:02}.md": (
        f"# Log {n}\n\n"
        + "\n\n".join(
            f"Entry {entry} of log {n}: the Whimbrel carried {n * 37 + entry} crates to berth {entry % 9}."
            for entry in range(40)
        )
    ).encode()
    for n in range(10)
}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", TENSORAS_LEASE_SECONDS="4")
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


def state(api: Api, kb: str) -> dict[str, Any]:
    """What the store holds, without ids and times."""
    found = {}
    for name, document in api.documents(kb).items():
        chunks = api.get(f"/v1/knowledge-bases/{kb}/documents/{document['id']}/chunks", limit=100)["data"]
        spans = [(chunk["text"], chunk["start"], chunk["end"]) for chunk in chunks]
        found[name] = (document["status"], document["chunk_count"], document["sha256"], spans)
    return found


def start_job(api: Api) -> tuple[str, str]:
    kb = api.knowledge_base("Logs")
    return kb, api.ingest(kb, [api.upload(name, data) for name, data in DOCUMENTS.items()])


def wait_until_under_way(api: Api, kb: str, job: str, documents: int) -> None:
    api.until(lambda: api.job(kb, job)["documents_processed"] >= documents, f"{documents} documents")


def health_comes_before_the_models(api: Api) -> None:
    """`/health` says that the process lives, `/ready` names what is still missing."""
    api.until(lambda: api.http.get("/health").status_code == 200, "/health", 30)
    early = api.http.get("/ready")
    assert early.status_code == 503
    assert early.json()["missing"]
    asked = {"model": "extractive", "messages": [{"role": "user", "content": "x"}]}
    refused = api.http.post("/v1/chat/completions", json=asked)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    api.ready()


def restart_after_gateway_death(server: Server) -> Api:
    server.kill("serving.cli")
    assert server.process is not None
    server.process.wait(10)
    return server.start()


def test_the_store_ends_as_if_nothing_had_happened(own_server: Server) -> None:
    api = own_server.start()
    health_comes_before_the_models(api)
    kb, job = start_job(api)
    assert api.wait_for_job(kb, job)["status"] == "completed"
    undisturbed = state(api, kb)
    assert {value[0] for value in undisturbed.values()} == {"completed"}

    for victim in ("ingestion.worker", "rag.vectord"):
        kb, job = start_job(api)
        wait_until_under_way(api, kb, job, 2)
        own_server.kill(victim)
        ended = api.wait_for_job(kb, job)
        assert (ended["status"], ended["documents_failed"]) == ("completed", 0), (victim, own_server.tail())
        assert state(api, kb) == undisturbed, victim
        api.ready()

    kb, job = start_job(api)
    wait_until_under_way(api, kb, job, 2)
    api.close()
    api = restart_after_gateway_death(own_server)
    api.ready()
    ended = api.wait_for_job(kb, job)
    assert (ended["status"], ended["documents_failed"]) == ("completed", 0), own_server.tail()
    assert state(api, kb) == undisturbed
    found = api.post(f"/v1/knowledge-bases/{kb}/retrieve", {"query": "crates to berth", "top_k": 100})["results"]
    assert len({result["chunk_id"] for result in found}) == len(found)
    api.close()
    assert own_server.stop() == 0


def test_two_servers_on_one_folder_are_refused_and_the_first_goes_on(server: Server, api: Api, tmp_path: Path) -> None:
    assert server.process is not None
    second = Server(server.data)
    second.log = tmp_path / "second.log"
    second.start().close()
    assert second.process is not None
    assert second.process.wait(30) != 0
    assert str(server.process.pid) in second.log.read_text()
    assert api.get("/health")["status"] == "ok"
