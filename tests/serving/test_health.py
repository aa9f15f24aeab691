from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from rag.errors import VectorStoreUnavailable
from serving import health
from serving.app import create_app
from serving.services import Provider
from serving.settings import ServingSettings
from tests.serving.conftest import BOOTSTRAP, CHAT, House


async def fine() -> None:
    return None


async def down() -> None:
    raise VectorStoreUnavailable("Qdrant does not answer; check QDRANT_URL")


async def refused() -> None:
    raise ConnectionRefusedError(111, "Connection refused")


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_ready(make_house: Any) -> None:
    states = {"embedding_model": "ok", "model:small": "starting: loading weights"}
    parts = {"probes": {"vector_store": fine, "broker": fine}, "readiness": lambda: states}
    house: House = await make_house(parts=parts)
    answer = await house.client(None).get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "missing": [],
        "checks": {"embedding_model": "ok", "database": "ok", "vector_store": "ok", "broker": "ok"},
        "models": {"small": "starting: loading weights"},
    }


async def test_a_part_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    assert "no answer" in await health._state(hangs())


async def test_not_ready_names_what_is_missing(make_house: Any) -> None:
    parts = {"probes": {"vector_store": down, "broker": refused}}
    house: House = await make_house(parts=parts)
    answer = await house.http.get("/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    body = answer.json()
    assert body["status"] == "not_ready"
    assert body["missing"] == ["vector_store", "broker"]
    assert "QDRANT_URL" in body["checks"]["vector_store"]
    assert "Connection refused" in body["checks"]["broker"]
    assert body["checks"]["database"] == "ok"
    assert (await house.http.get("/health")).json() == {"status": "ok"}


async def test_before_the_services_exist(house: House) -> None:
    provider = Provider(ServingSettings())
    provider.phase = "loading the embedding model"
    app = create_app(provider)
    headers = {"Authorization": f"Bearer {BOOTSTRAP}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers) as http:
        assert (await http.get("/health")).status_code == 200
        ready = await http.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"] == {"services": "loading the embedding model"}
        for stream in (False, True):
            answer = await http.post("/v1/chat/completions", json={**CHAT, "stream": stream})
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "model_loading"
            assert "loading the embedding model" in answer.json()["error"]["message"]
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/openapi.json")).status_code == 200
        provider.set(house.services)
        assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert (await http.get("/ready")).status_code == 200
        provider.unset("stopping")
        assert (await http.get("/v1/models")).status_code == 503
