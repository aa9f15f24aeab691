"""What surrounds every request: its id, the headers that each answer carries, and the bound on its body.

All of it is plain ASGI, so that a request can be refused before a byte of its body is read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.errors import InvalidRequest, NotFound
from serving.errors import TooLarge
from serving.settings import MEGABYTE, ServingSettings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
FILES_PATH = "/v1/files"
FORM_OVERHEAD = MEGABYTE
"""What a multipart body may hold beside the file: boundaries, headers, small fields."""


def add_headers(scope: Scope, headers: Mapping[str, str]) -> None:
    """Puts headers on whatever answers this request, an error included."""
    scope["state"].setdefault("headers", {}).update(headers)


class RequestContext:
    """Gives the request an id, and the response that id and the headers that were added on the way."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _SANE_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"
        # The state that a lifespan made is shared by all requests: each gets a copy of its own.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
                for name, value in scope["state"].get("headers", {}).items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, dressed)


class BodyLimit:
    """Refuses a body over the limit: by its Content-Length before reading, else while it is read."""

    def __init__(self, app: ASGIApp, settings: ServingSettings) -> None:
        self.app = app
        self.settings = settings

    def limit(self, scope: Scope) -> int:
        """Bytes that a request to this path may bring."""
        if scope["path"] == FILES_PATH:
            return self.settings.max_file_bytes + FORM_OVERHEAD
        return self.settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _CONTROL.search(scope["path"]):
            raise NotFound("Unknown URL: it contains control characters.", code="unknown_url")
        limit, seen = self.limit(scope), 0
        _check_length(Headers(scope=scope).get("content-length"), limit)

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def _check_length(declared: str | None, limit: int) -> None:
    if declared is None:
        return
    if not declared.isascii() or not declared.isdigit():
        raise InvalidRequest("The Content-Length header must be a number of bytes.")
    if len(declared) > 18 or int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    size = f"{limit / MEGABYTE:g} MB" if limit % MEGABYTE == 0 else f"{limit} bytes"
    return TooLarge(
        f"The body is larger than {size}. Send less, or raise TENSORAS_MAX_FILE_MB (files) "
        "or TENSORAS_MAX_BODY_MB (everything else)."
    )
