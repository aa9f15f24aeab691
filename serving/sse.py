"""Server-sent events: nothing is sent before the first one exists; a client that leaves stops the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.errors import request_id_of, told_failures

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
STALL_SECONDS = 120
"""A client that takes nothing for this long has gone away without saying so."""


def event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _left(receive: Receive) -> None:
    """Returns when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_left(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`; cancels it and raises ClientDisconnect when the client leaves first.

    The request's body must have been read.
    """
    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        # Both are awaited, so that the work has let go of the engine when this returns.
        await asyncio.gather(doing, watching, return_exceptions=True)


async def begun(receive: Receive, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items once the first one is there. What goes wrong before it is raised here: an HTTP error."""
    try:
        first = await unless_left(receive, _first(items))
    except BaseException:
        await items.aclose()
        raise
    return _again(first, items)


async def _first(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


async def _again(first: T | None, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(items):
        if first is not None:
            yield first
        async for item in items:
            yield item


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Closes the iterator at the end, if it is one that can be closed."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


class EventStream(Response):
    """Sends what `events` yields, as it comes. An error ends the stream with one error event.

    `events` is closed in every case: at the end, after an error, and when the client goes away, which is
    noticed while waiting for the next event too.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self.events = events
        self.status_code = 200
        self.background = None
        # Proxies buffer event streams unless they are told not to.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = told_failures(self.events, request_id_of(scope), event)
        async with aclosing(self.events), aclosing(told):
            await unless_left(receive, self._send_all(told, send))

    async def _send_all(self, told: AsyncGenerator[bytes, None], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for chunk in told:
            await _within(STALL_SECONDS, send({"type": "http.response.body", "body": chunk, "more_body": True}))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _within(seconds: float, sending: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await sending
    except TimeoutError:
        raise ClientDisconnect from None
