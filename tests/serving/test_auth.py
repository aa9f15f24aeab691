"""Keys: checked before the body, on every route; scopes, expiry, revocation."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from serving.auth import is_loopback
from serving.ledger import SCOPES
from tests.serving.conftest import CHAT, House

WRONG = "tns_" + "0" * 64


async def _call(app: Any, path: str, headers: dict[str, str], method: str = "POST") -> tuple[int, bool]:
    """Status of a request, and whether its body was asked for."""
    read = False
    status = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read = True
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "state": {},
    }
    await app(scope, receive, send)
    return status, read


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files", "/v1/no-such-route"])
async def test_a_bad_key_is_refused_before_the_body(house: House, path: str) -> None:
    headers = {
        "authorization": f"Bearer {WRONG}",
        "content-length": str(10**9),
        "content-type": "application/json",
    }
    assert await _call(house.app, path, headers) == (401, False)


async def test_a_huge_body_is_refused_before_it_is_read(house: House) -> None:
    headers = {"authorization": house.http.headers["authorization"], "content-length": str(10**9)}
    assert await _call(house.app, "/v1/chat/completions", headers) == (413, False)
    assert await _call(house.app, "/v1/files", headers) == (413, False)


def _routes(house: House) -> list[tuple[str, str]]:
    paths = house.app.openapi()["paths"]
    return [(m.upper(), re.sub(r"{\w+}", "x", p)) for p, methods in paths.items() for m in methods]


@pytest.mark.parametrize("authorization", [None, f"Bearer {WRONG}", "Basic abc", "Bearer ", "Bearer " + "x" * 9999])
async def test_every_route_wants_a_key(house: House, authorization: str | None) -> None:
    client = house.client(None)
    headers = {"Authorization": authorization} if authorization else {}
    routes = [
        *_routes(house),
        ("GET", "/v1/nope"),
        ("GET", "/"),
        ("OPTIONS", "/v1/models"),
        ("GET", "/metrics"),
    ]
    for method, path in routes:
        answer = await client.request(method, path, headers=headers)
        open_path = path in ("/health", "/ready", "/metrics")
        assert (answer.status_code != 401) == open_path, (method, path)
        if not open_path:
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert WRONG not in answer.text


async def test_metrics_is_open_on_this_machine_only(house: House) -> None:
    far = house.client(None, client=("10.0.0.9", 5))
    assert (await far.get("/metrics")).status_code == 401
    assert (await far.get("/health")).status_code == 200
    near = house.client(None)
    assert (await near.get("/metrics")).status_code == 404
    passed_on = await near.get("/metrics", headers={"X-Forwarded-For": "10.0.0.9"})
    assert passed_on.status_code == 401


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1), True),
        (("::ffff:127.0.0.1", 1), True),
        (("10.0.0.1", 1), False),
        (None, False),
        (("testclient", 1), False),
        (("", 0), False),
    ],
)
def test_loopback(client: Any, expected: bool) -> None:
    assert is_loopback({"client": client, "headers": [], "type": "http"}) is expected


# Each route's scope. A new route without a line here fails the test below.
SCOPE_OF = {
    "POST /v1/chat/completions": "chat",
    "POST /v1/embeddings": "embeddings",
    "POST /v1/rerank": "rerank",
    "GET /v1/models": None,
    "GET /v1/models/{model_id}": None,
    "GET /v1/usage": "admin",
    **{f"{m} /v1/files": "files" for m in ("GET", "POST")},
    **{f"{m} /v1/files/{{file_id}}": "files" for m in ("GET", "DELETE")},
    "GET /v1/files/{file_id}/content": "files",
    **{f"{m} /v1/api-keys": "admin" for m in ("GET", "POST")},
    **{f"{m} /v1/api-keys/{{key_id}}": "admin" for m in ("GET", "DELETE")},
}


def _scope_of(route: str) -> str | None:
    if "/knowledge-bases" in route:
        reads = route.startswith("GET") or route.endswith("/retrieve")
        return "knowledge_bases:read" if reads else "knowledge_bases:write"
    return SCOPE_OF[route]


async def test_each_route_wants_its_scope(house: House) -> None:
    paths = house.app.openapi()["paths"]
    keys = {scope: await house.key(*(s for s in SCOPES if s != scope)) for scope in SCOPES}
    asked = 0
    for path, methods in paths.items():
        for method in methods:
            if not path.startswith("/v1"):
                continue
            scope = _scope_of(f"{method.upper()} {path}")
            if scope is None:
                continue
            client = house.client(keys[scope])
            answer = await client.request(method, re.sub(r"{\w+}", "x", path), json={})
            assert answer.status_code == 403, (method, path, answer.text)
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("permission_error", "missing_scope")
            assert scope in error["message"]
            asked += 1
    assert asked > 25


async def test_a_key_may_do_what_its_scope_says(house: House) -> None:
    client = house.client(await house.key("chat"))
    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    made = (await house.http.post("/v1/knowledge-bases", json={"name": "x"})).json()["id"]
    asked = await client.post("/v1/chat/completions", json={**CHAT, "knowledge_bases": [made]})
    assert asked.status_code == 403
    assert "knowledge_bases:read" in asked.json()["error"]["message"]


async def test_expiry_and_revocation_count_at_once(house: House) -> None:
    expired = house.client(await house.key("chat", expires_at=int(time.time()) - 1))
    assert (await expired.get("/v1/models")).status_code == 401
    made = (await house.http.post("/v1/api-keys", json={"name": "n", "scopes": ["chat"]})).json()
    client = house.client(made["key"])
    assert (await client.get("/v1/models")).status_code == 200
    gone = await house.http.delete(f"/v1/api-keys/{made['id']}")
    assert gone.json() == {"id": made["id"], "object": "api_key", "deleted": True}
    assert (await client.get("/v1/models")).status_code == 401
    assert (await house.http.get(f"/v1/api-keys/{made['id']}")).status_code == 404
    assert (await house.http.delete(f"/v1/api-keys/{made['id']}")).status_code == 404
