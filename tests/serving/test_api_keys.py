from __future__ import annotations

import re
import time
from typing import Any

import pytest
from sqlalchemy import select, text

from serving.ledger.tables import api_keys
from tests.serving.conftest import BOOTSTRAP, CHAT, House


async def test_a_key_is_shown_once_and_stored_as_a_hash(house: House) -> None:
    asked = {"name": "app", "scopes": ["chat", "files", "chat"], "limits": {"rpm": 5, "tpm": 500}}
    made = (await house.http.post("/v1/api-keys", json=asked)).json()
    key = made.pop("key")
    assert re.fullmatch(r"tns_[0-9a-f]{64}", key)
    assert made["scopes"] == ["chat", "files"]
    assert made["limits"] == {"rpm": 5, "tpm": 500}
    assert made["tenant"] == "default"
    assert made["hint"] == f"tns_…{key[-4:]}"
    read = await house.http.get(f"/v1/api-keys/{made['id']}")
    assert read.json() == made
    listed = (await house.http.get("/v1/api-keys")).json()
    assert made in listed["data"]
    assert key not in read.text + str(listed)
    async with house.services.database.connect() as connection:
        rows = (await connection.execute(select(api_keys))).all()
        dump = (await connection.execute(text("select * from api_keys"))).all()
    assert len(rows) == 2
    assert key not in str(dump)
    assert BOOTSTRAP not in str(dump)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "   "}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"limits": {"rpm": 0}}, "limits.rpm"),
        ({"limits": {"rps": 1}}, "limits.rps"),
        ({"expires_at": 5}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"tenant": "a/b"}, "tenant"),
    ],
)
async def test_what_a_key_cannot_be(house: House, change: dict[str, Any], param: str) -> None:
    answer = await house.http.post("/v1/api-keys", json={"name": "n", **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_only_the_operator_acts_for_other_tenants(house: House) -> None:
    admin = house.client(await house.key())
    refused = await admin.post("/v1/api-keys", json={"name": "n", "tenant": "other"})
    assert refused.status_code == 403
    assert (await admin.get("/v1/api-keys?tenant=other")).status_code == 403
    own = await admin.post("/v1/api-keys", json={"name": "n", "tenant": "default"})
    assert own.status_code == 200
    made = (await house.http.post("/v1/api-keys", json={"name": "n", "tenant": "other"})).json()
    assert made["tenant"] == "other"
    assert (await house.client(made["key"]).get("/v1/files")).status_code == 200
    mine = (await house.http.get("/v1/api-keys")).json()["data"]
    theirs = (await house.http.get("/v1/api-keys?tenant=other")).json()["data"]
    assert made["id"] in {key["id"] for key in theirs}
    assert made["id"] not in {key["id"] for key in mine}
    assert (await house.http.delete(f"/v1/api-keys/{made['id']}")).status_code == 404
    assert (await house.http.delete(f"/v1/api-keys/{made['id']}?tenant=other")).status_code == 200


async def test_an_admin_does_not_lock_the_operator_out(house: House) -> None:
    admin = house.client(await house.key())
    refused = await admin.delete("/v1/api-keys/key_bootstrap")
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
    foreign = house.client(await house.key(tenant="other"))
    assert (await foreign.delete("/v1/api-keys/key_bootstrap")).status_code == 404
    assert (await house.http.delete("/v1/api-keys/key_bootstrap")).status_code == 200
    assert (await house.http.get("/v1/api-keys")).status_code == 401


async def test_default_scopes_are_all_but_admin(house: House) -> None:
    expires = int(time.time()) + 3600
    made = (await house.http.post("/v1/api-keys", json={"name": "n", "expires_at": expires})).json()
    assert "admin" not in made["scopes"]
    assert "chat" in made["scopes"]
    assert made["expires_at"] == expires


async def test_usage_per_key_model_and_day(house: House) -> None:
    key = (await house.http.post("/v1/api-keys", json={"name": "n"})).json()
    client = house.client(key["key"])
    for stream in (False, True, True):
        answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        assert answer.status_code == 200
    await client.post("/v1/embeddings", json={"model": "hash-embedder", "input": "two words"})
    rows = (await house.http.get(f"/v1/usage?key_id={key['id']}")).json()["data"]
    told = {row["model"]: row for row in rows}
    assert told["small"]["requests"] == 3
    assert (told["small"]["prompt_tokens"], told["small"]["completion_tokens"]) == (33, 9)
    assert told["small"]["total_tokens"] == 42
    assert told["small"]["aborted"] == 0
    assert told["hash-embedder"]["prompt_tokens"] == 2
    day = told["small"]["day"]
    assert (await house.http.get(f"/v1/usage?start={day}&end={day}&model=small")).json()["data"] == [told["small"]]
    assert (await house.http.get("/v1/usage?end=2000-01-01")).json()["data"] == []
    assert (await house.http.get("/v1/usage?start=yesterday")).status_code == 400


async def test_refused_requests_are_not_counted(house: House) -> None:
    await house.http.post("/v1/chat/completions", json={**CHAT, "model": "nope"})
    await house.http.post("/v1/chat/completions", json={**CHAT, "temperature": 9})
    assert (await house.http.get("/v1/usage")).json()["data"] == []
