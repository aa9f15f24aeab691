"""The HTTP side of every route: the key, the body and its bounds, the answer, the errors."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.vectord.errors import (
    BadJson,
    EngineFault,
    OutOfRange,
    Overloaded,
    RestError,
    TimedOut,
    TooLarge,
    Unauthorized,
    WrongMedia,
)

T = TypeVar("T")
log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_MAX_ERRORS = 3


class Gate:
    """How many requests of one kind, and how many bytes of their bodies, may be in the process at once.
    Lives on the event loop; refuses at once rather than queue without end."""

    def __init__(self, name: str, requests: int, bytes_: int) -> None:
        self._name = name
        self._max_requests, self._max_bytes = requests, bytes_
        self.requests = self.bytes = 0

    def enter(self) -> None:
        if self.requests >= self._max_requests:
            raise Overloaded(f"{self.requests} {self._name} are waiting already: try again in a second")
        self.requests += 1

    def grow(self, size: int) -> None:
        if self.bytes + size > self._max_bytes:
            raise Overloaded(f"the bodies of waiting {self._name} fill {self.bytes} bytes: try again in a second")
        self.bytes += size

    def leave(self, size: int) -> None:
        self.requests -= 1
        self.bytes -= size


async def read_body(request: Request, gate: Gate, limit: int) -> bytes:
    """The body, counted against `gate` as it arrives. Raises TooLarge, Overloaded, WrongMedia.

    On an error what was counted is given back; otherwise the caller owes `gate.leave(len(body))`.
    """
    _check_headers(request, limit)
    gate.enter()
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            if size + len(chunk) > limit:
                raise _too_large(limit)
            gate.grow(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
    except (RestError, ClientDisconnect, asyncio.CancelledError):
        gate.leave(size)
        raise
    return b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes: send fewer points at once")


def _check_headers(request: Request, limit: int) -> None:
    # A web page can make a browser post plain text to a local port, but not JSON.
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise WrongMedia(f"the body must be application/json, not {media or 'untyped'!r}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMedia("a compressed body is not read: send it plain")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


def parse(adapter: TypeAdapter[T], body: bytes) -> T:
    """The request model. Raises BadJson with the places that do not fit."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        shown = [f"{'.'.join(str(p) for p in e['loc']) or 'body'}: {e['msg']}" for e in found[:_MAX_ERRORS]]
        raise BadJson("; ".join(shown)) from None


def query_timeout(request: Request) -> float | None:
    """`?timeout=` in seconds. Raises OutOfRange."""
    raw = request.query_params.get("timeout")
    if raw is None:
        return None
    if not raw.isdecimal() or not 1 <= int(raw) <= 86_400:
        raise OutOfRange("[timeout: must be a number of seconds, 1 or larger]")
    return float(raw)


async def within(seconds: float | None, work: asyncio.Future[T]) -> T:
    """Waits for work on a thread. Past the time the caller gets an error and the work goes on: a thread
    cannot be stopped, and a write that is half done must not be."""
    try:
        return await asyncio.wait_for(asyncio.shield(work), seconds)
    except TimeoutError:
        work.add_done_callback(_swallow_late)
        raise TimedOut(
            f"Operation timed out after {seconds}s. A write may still be applied; sending it again is safe"
        ) from None


def _swallow_late(work: asyncio.Future[Any]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        log.warning("an operation failed after its caller had stopped waiting: %s", error)


def answer(result: bytes, started: float) -> Response:
    """Qdrant's envelope around an already serialised result."""
    spent = f"{time.perf_counter() - started:.6f}".encode()
    return Response(b'{"result":' + result + b',"status":"ok","time":' + spent + b"}", media_type="application/json")


def dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def error_answer(error: RestError, started: float) -> Response:
    body = {"status": {"error": error.text}, "time": round(time.perf_counter() - started, 6)}
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return Response(orjson.dumps(body), error.status, headers, media_type="application/json")


@contextmanager
def _as_rest_errors() -> Iterator[None]:
    try:
        yield
    except RestError:
        raise
    except Exception as error:  # the renderer of errors of this server
        log.exception("a request failed")
        raise EngineFault(f"{type(error).__name__}: see the log of the vector store") from error


Endpoint = Callable[[Request], Awaitable[Response]]


def rendered(endpoint: Endpoint) -> Endpoint:
    """The one place where errors become answers."""

    async def render(request: Request) -> Response:
        started = time.perf_counter()
        try:
            with _as_rest_errors():
                return await endpoint(request)
        except RestError as error:
            return error_answer(error, started)

    return render


class RequireKey:
    """Lets a request through with the right `api-key` or bearer token, before anything of it is read."""

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._key = key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._key is not None and scope["path"] not in OPEN_PATHS:
            headers = dict(scope["headers"])
            given = headers.get(b"api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not hmac.compare_digest(given, self._key):
                missing = "Must provide an API key or an Authorization bearer token"
                error = Unauthorized("Invalid API key or JWT" if given else missing)
                await error_answer(error, time.perf_counter())(scope, receive, send)
                return
        await self._app(scope, receive, send)
