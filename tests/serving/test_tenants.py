"""One tenant never sees another's things: every route that takes an id, every list, from /openapi.json."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ingestion.records import Page
from tests.serving.conftest import CHAT, House

BODIES: dict[str, Any] = {
    "PATCH /v1/knowledge-bases/{kb_id}": {"name": "mine now"},
    "POST /v1/knowledge-bases/{kb_id}/data-sources": {"type": "file_upload", "file_ids": ["FILE"]},
    "PATCH /v1/knowledge-bases/{kb_id}/documents/{doc_id}": {"metadata": {"a": 1}},
    "POST /v1/knowledge-bases/{kb_id}/retrieve": {"query": "x"},
}
# Global by design: the models are the server's, not a tenant's.
SHARED = {"GET /v1/models/{model_id}", "GET /v1/models"}


async def furnish(house: House, tenant: str) -> dict[str, str]:
    """One of everything that has an id, made by the tenant itself over HTTP."""
    client = house.client(await house.key(tenant=tenant))
    form = {"files": {"file": ("a.txt", b"secret")}, "data": {"purpose": "assistants"}}
    file_id = (await client.post("/v1/files", **form)).json()["id"]
    kb_id = (await client.post("/v1/knowledge-bases", json={"name": "kb"})).json()["id"]
    asked = {"type": "file_upload", "file_ids": [file_id]}
    source = (await client.post(f"/v1/knowledge-bases/{kb_id}/data-sources", json=asked)).json()
    documents = await house.ingestion.documents(tenant, kb_id, Page())
    key = (await client.post("/v1/api-keys", json={"name": "k"})).json()
    return {
        "file_id": file_id,
        "kb_id": kb_id,
        "ds_id": source["id"],
        "job_id": source["job_id"],
        "doc_id": documents.items[0].id,
        "key_id": key["id"],
    }


def routes(house: House) -> list[tuple[str, str]]:
    return [(m.upper(), p) for p, ms in house.app.openapi()["paths"].items() for m in ms if p.startswith("/v1")]


def filled(path: str, ids: dict[str, str]) -> str:
    names = re.findall(r"{(\w+)}", path)
    unknown = [name for name in names if name not in ids]
    assert not unknown, f"{path}: furnish() makes nothing for {unknown}; a new route needs a case here"
    return path.format(**ids)


async def call(house: House, client: Any, method: str, path: str, ids: dict[str, str]) -> Any:
    body = BODIES.get(f"{method} {path}")
    if body and "file_ids" in body:
        body = {**body, "file_ids": [ids["file_id"]]}
    return await client.request(method, filled(path, ids), json=body)


async def test_every_route_with_an_id(house: House) -> None:
    theirs = await furnish(house, "alpha")
    mine = await furnish(house, "beta")
    intruder = house.client(await house.key(tenant="beta"))
    asked = 0
    for method, path in routes(house):
        if "{" not in path or f"{method} {path}" in SHARED:
            continue
        names = re.findall(r"{(\w+)}", path)
        # The foreign id in each place: alone, and under a parent that is the intruder's own.
        for foreign in names:
            mixed = {**mine, foreign: theirs[foreign]}
            answer = await call(house, intruder, method, path, mixed)
            assert answer.status_code == 404, (method, path, foreign, answer.status_code, answer.text)
            assert answer.json()["error"]["type"] == "not_found_error"
            asked += 1
    assert asked > 25
    owner = house.client(await house.key(tenant="alpha"))
    for method, path in routes(house):
        if method == "GET" and "{" in path and f"{method} {path}" not in SHARED:
            assert (await call(house, owner, method, path, theirs)).status_code == 200, path


async def test_every_list(house: House) -> None:
    theirs = await furnish(house, "alpha")
    mine = await furnish(house, "beta")
    intruder = house.client(await house.key(tenant="beta"))
    lists = [p for m, p in routes(house) if m == "GET" and not p.endswith("}") and f"GET {p}" not in SHARED]
    for path in lists:
        seen = (await call(house, intruder, "GET", path, mine)).text
        # Passages are the double's, the same for everyone.
        assert not [value for value in theirs.values() if value in seen], path
    assert len(lists) >= 8


async def test_ids_in_bodies(house: House) -> None:
    theirs = await furnish(house, "alpha")
    mine = await furnish(house, "beta")
    intruder = house.client(await house.key(tenant="beta"))
    path = f"/v1/knowledge-bases/{mine['kb_id']}/data-sources"
    for body in (
        {"file_ids": [theirs["file_id"]]},
        {"config": {"file_ids": [mine["file_id"], theirs["file_id"]]}},
    ):
        answer = await intruder.post(path, json={"type": "file_upload", **body})
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("file_not_found", "file_ids")
    for stream in (False, True):
        asked = {**CHAT, "knowledge_bases": [theirs["kb_id"]], "stream": stream}
        assert (await intruder.post("/v1/chat/completions", json=asked)).status_code == 404


@pytest.mark.parametrize("cursor", ["after", "before"])
async def test_cursors_of_others_show_nothing_of_them(house: House, cursor: str) -> None:
    theirs = await furnish(house, "alpha")
    mine = await furnish(house, "beta")
    intruder = house.client(await house.key(tenant="beta"))
    for path, name in (("/v1/files", "file_id"), ("/v1/api-keys", "key_id")):
        for order in ("asc", "desc"):
            seen = (await intruder.get(f"{path}?{cursor}={theirs[name]}&order={order}")).json()
            assert {one["id"] for one in seen["data"]} & set(theirs.values()) == set()
    assert mine
