"""Idempotency-Key: once, whatever happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import select, update

from rag.errors import Unavailable
from serving.ledger import Ledger
from serving.ledger.idempotency import KEEP_SECONDS, LEASE_SECONDS, Slot
from serving.ledger.tables import idempotency
from serving.routes import idempotent
from tests.serving.conftest import House

KB = "/v1/knowledge-bases"
KEY = {"Idempotency-Key": "abc-123"}


async def count(house: House) -> int:
    return len((await house.http.get(KB)).json()["data"])


async def test_the_second_is_the_first(house: House) -> None:
    first = await house.http.post(KB, json={"name": "x", "description": ""}, headers=KEY)
    second = await house.http.post(KB, json={"description": "", "name": "x"}, headers=KEY)
    assert second.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert await count(house) == 1
    other = await house.http.post(KB, json={"name": "x"}, headers={"Idempotency-Key": "other"})
    assert other.json()["id"] != first.json()["id"]


async def test_another_body_is_a_conflict(house: House) -> None:
    await house.http.post(KB, json={"name": "x"}, headers=KEY)
    for path, body in ((KB, {"name": "y"}), ("/v1/api-keys", {"name": "x"})):
        answer = await house.http.post(path, json=body, headers=KEY)
        assert answer.status_code == 409
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("conflict_error", "idempotency_conflict")
    assert await count(house) == 1


async def test_concurrent_duplicates_run_once(house: House) -> None:
    answers = await asyncio.gather(*(house.http.post(KB, json={"name": "x"}, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(house) == 1


async def test_each_api_key_has_its_own(house: House) -> None:
    mine = await house.http.post(KB, json={"name": "x"}, headers=KEY)
    theirs = await house.client(await house.key(tenant="other")).post(KB, json={"name": "y"}, headers=KEY)
    assert theirs.status_code == 200
    assert theirs.json()["id"] != mine.json()["id"]


async def test_a_failure_is_not_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise Unavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr(house.ingestion, "create_knowledge_base", fails)
        assert (await house.http.post(KB, json={"name": "x"}, headers=KEY)).status_code == 503
    assert (await house.http.post(KB, json={"name": "x"}, headers=KEY)).status_code == 200


async def test_a_runner_that_takes_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent, "WAIT_SECONDS", 0.0)
    go, create = asyncio.Event(), house.ingestion.create_knowledge_base
    begun = asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        await go.wait()
        return await create(*args, **kwargs)

    monkeypatch.setattr(house.ingestion, "create_knowledge_base", slow)
    first = asyncio.create_task(house.http.post(KB, json={"name": "x"}, headers=KEY))
    await begun.wait()
    second = await house.http.post(KB, json={"name": "x"}, headers=KEY)
    assert second.status_code == 409
    assert second.json()["error"]["code"] == "idempotency_in_progress"
    go.set()
    assert (await first).status_code == 200


async def test_a_dead_runner_is_taken_over(house: House) -> None:
    book, slot = house.services.ledger.idempotency, Slot("t", "k", "token")
    dead = await book.claim(slot, "f")
    assert dead.owner
    assert (await book.claim(slot, "f")).owner is None
    async with house.services.database.begin() as connection:
        past = int(time.time()) - LEASE_SECONDS
        await connection.execute(update(idempotency).values(leased_until=past))
    heir = await book.claim(slot, "f")
    assert heir.owner
    assert heir.owner != dead.owner
    await book.complete(slot, dead.owner, 200, b"late")
    assert (await book.claim(slot, "f")).status is None
    await book.complete(slot, heir.owner, 200, b"done")
    assert (await book.claim(slot, "f")).body == b"done"
    await book.release(slot, heir.owner)
    assert (await book.claim(slot, "f")).body == b"done"


async def test_answers_are_kept_for_a_day(house: House) -> None:
    book, slot = house.services.ledger.idempotency, Slot("t", "k", "token")
    entry = await book.claim(slot, "f")
    await book.complete(slot, entry.owner or "", 200, b"done")
    assert await book.purge() == 0
    async with house.services.database.begin() as connection:
        await connection.execute(update(idempotency).values(created_at=int(time.time()) - KEEP_SECONDS))
    assert (await book.claim(slot, "another")).owner
    async with house.services.database.begin() as connection:
        await connection.execute(update(idempotency).values(created_at=int(time.time()) - KEEP_SECONDS))
    assert await book.purge() == 1
    assert (await book.claim(slot, "again")).owner
    async with house.services.database.begin() as connection:
        await connection.execute(update(idempotency).values(created_at=int(time.time()) - KEEP_SECONDS))
    # A new process tidies up with its first claim.
    await Ledger(house.services.database).idempotency.claim(Slot("t", "k", "fresh"), "f")
    async with house.services.database.connect() as connection:
        assert (await connection.scalars(select(idempotency.c.token))).all() == ["fresh"]


async def test_files(house: House) -> None:
    async def put(data: bytes, name: str = "a.txt") -> Any:
        form = {"files": {"file": (name, data)}, "data": {"purpose": "batch"}}
        return await house.http.post("/v1/files", **form, headers=KEY)

    first, second = await put(b"x"), await put(b"x")
    assert first.json() == second.json()
    assert (await put(b"y")).status_code == 409
    assert [path.name for path in house.files_on_disk()] == [first.json()["id"]]
    assert len((await house.http.get("/v1/files")).json()["data"]) == 1


async def test_a_replayed_key_is_not_shown_again(house: House) -> None:
    first = (await house.http.post("/v1/api-keys", json={"name": "n"}, headers=KEY)).json()
    second = (await house.http.post("/v1/api-keys", json={"name": "n"}, headers=KEY)).json()
    assert second == {**first, "key": None}
    async with house.services.database.connect() as connection:
        rows = (await connection.execute(select(idempotency))).all()
    assert rows
    assert first["key"] not in str(rows)


@pytest.mark.parametrize("token", ["", "a b", "é", "x" * 256])
async def test_odd_keys(house: House, token: str) -> None:
    answer = await house.http.post(KB, json={"name": "x"}, headers={"Idempotency-Key": token.encode()})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
