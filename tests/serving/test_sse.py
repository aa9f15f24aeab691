"""Clients that leave, stall or come back: the work always stops, and what was used is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from rag.types import Delta
from serving import sse
from serving.sse import EventStream, begun, unless_left
from tests.serving.conftest import CHAT, House


class Visitor:
    """One raw ASGI request whose client leaves when `leave` is set."""

    def __init__(self, house: House, body: dict[str, Any]) -> None:
        self.app = house.app
        self.body = json.dumps(body).encode()
        self.key = house.http.headers["authorization"]
        self.leave = asyncio.Event()
        self.got = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._asked = False

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.got.set()

    async def visit(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"",
            "root_path": "",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
            "state": {},
            "headers": [(b"content-type", b"application/json"), (b"authorization", self.key.encode())],
        }
        await self.app(scope, self._receive, self._send)


async def usage(house: House) -> dict[str, Any]:
    rows = (await house.http.get("/v1/usage")).json()["data"]
    return rows[0] if rows else {}


async def test_a_client_that_leaves_in_mid_stream(house: House) -> None:
    never = asyncio.Event()
    house.pipeline.script = [Delta(text="a"), Delta(text="b"), never]
    visitor = Visitor(house, {**CHAT, "stream": True})
    visiting = asyncio.create_task(visitor.visit())
    await visitor.got.wait()
    assert not house.pipeline.closed.is_set()
    visitor.leave.set()
    await visiting
    assert house.pipeline.closed.is_set()
    assert visitor.sent[-1]["more_body"] is True
    counted = await usage(house)
    assert (counted["requests"], counted["aborted"]) == (1, 1)
    assert counted["completion_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_word(house: House, stream: bool) -> None:
    house.pipeline.script = [asyncio.Event()]
    visitor = Visitor(house, {**CHAT, "stream": stream})
    visiting = asyncio.create_task(visitor.visit())
    await house.pipeline.started.wait()
    visitor.leave.set()
    await visiting
    assert house.pipeline.closed.is_set()
    assert visitor.sent == []
    assert (await usage(house))["aborted"] == 1


async def test_a_client_that_stays_gets_everything(house: House) -> None:
    visitor = Visitor(house, {**CHAT, "stream": True})
    await visitor.visit()
    assert visitor.sent[0]["status"] == 200
    assert visitor.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert visitor.sent[-2]["body"] == b"data: [DONE]\n\n"
    assert (await usage(house))["aborted"] == 0


async def test_a_server_that_stops_closes_the_stream(house: House) -> None:
    house.pipeline.script = [Delta(text="a"), asyncio.Event()]
    visitor = Visitor(house, {**CHAT, "stream": True})
    visiting = asyncio.create_task(visitor.visit())
    await visitor.got.wait()
    visiting.cancel()
    with suppress(asyncio.CancelledError):
        await visiting
    assert house.pipeline.closed.is_set()
    assert (await usage(house))["aborted"] == 1


async def test_an_early_error_stream_counts_no_usage(house: House) -> None:
    house.pipeline.script = [ValueError("boom")]
    await house.http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert await usage(house) == {}
    house.pipeline.script = [Delta(text="a"), ValueError("boom")]
    await house.http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert (await usage(house))["aborted"] == 1


# the parts ---------------------------------------------------------------------------------------


async def _stays() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _leaves() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def test_unless_left_gives_the_result_and_the_error() -> None:
    async def value() -> int:
        return 5

    async def error() -> int:
        raise KeyError("x")

    assert await unless_left(_stays, value()) == 5
    with pytest.raises(KeyError):
        await unless_left(_stays, error())


async def test_unless_left_waits_until_the_work_has_let_go() -> None:
    let_go = False

    async def work() -> None:
        nonlocal let_go
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go = True

    with pytest.raises(ClientDisconnect):
        await unless_left(_leaves, work())
    assert let_go


async def _items(closed: list[bool]) -> AsyncGenerator[bytes, None]:
    try:
        for n in range(3):
            yield b"%d" % n
    finally:
        closed.append(True)


async def test_begun_gives_every_item_and_closes() -> None:
    closed: list[bool] = []
    again = await begun(_stays, _items(closed))
    assert [item async for item in again] == [b"0", b"1", b"2"]
    assert closed == [True]


async def test_begun_closes_when_it_is_left_at_once() -> None:
    closed: list[bool] = []
    again = await begun(_stays, _items(closed))
    assert await anext(again) == b"0"
    await again.aclose()
    assert closed == [True]


async def test_a_client_that_stops_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STALL_SECONDS", 0.01)
    closed: list[bool] = []

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    response = EventStream(_items(closed))
    with pytest.raises(ClientDisconnect):
        await response({"type": "http", "state": {}}, _stays, send)
    assert closed == [True]


async def test_a_broken_connection_closes_the_stream() -> None:
    closed: list[bool] = []

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await EventStream(_items(closed))({"type": "http", "state": {}}, _stays, send)
    assert closed == [True]
