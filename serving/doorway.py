"""Answers while the application is still being imported, which takes seconds.

`/health` is answered at once; every other request waits for the application and is then handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODY = b'{"status":"ok"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


class Doorway:
    """An ASGI application in front of one that comes later."""

    def __init__(self) -> None:
        self._app: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()

    def open(self, app: ASGIApp) -> None:
        """From now on `app` gets everything, /health too."""
        self._app.set_result(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._app.done() and _is_health(scope):
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})
            return
        app = await asyncio.shield(self._app)
        await app(scope, receive, send)


def _is_health(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["path"] == "/health" and scope["method"] == "GET")
