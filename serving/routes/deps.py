"""What the routes share: a strict body, the services, the principal with its scope, the page asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from ingestion.records import Page
from serving.auth import Principal, Requires
from serving.metering import Till
from serving.services import Provider, Services
from serving.wire.common import ErrorBody

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in (
        (400, "The request must be changed"),
        (401, "No valid API key"),
        (403, "The key lacks a scope"),
        (404, "No such thing in the key's tenant"),
        (409, "It exists already, or it is busy"),
        (413, "The body is too large"),
        (429, "Too many requests or tokens, or the engine is full"),
        (500, "A bug"),
        (502, "The engine broke its contract"),
        (503, "A part of the server is away"),
        (504, "A part of the server took too long"),
    )
}


class StrictRequest(Request):
    """Parses JSON by the letter: no NaN, no lone surrogates, bounded nesting; all would break later."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            mine = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                # Read here: FastAPI answers 400 to whatever reading raises, and loses a 413.
                await mine.body()
            return await handle(mine)

        return strict


def new_router(tag: str, prefix: str = "") -> APIRouter:
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], route_class=StrictRoute, responses=ERRORS)


class Json(Response):
    """JSON that is ready to be sent as it is."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


def _services(request: Request) -> Services:
    provider: Provider = request.app.state.provider
    return provider.services


def till_of(request: Request, principal: Principal) -> Till:
    """Where this request's usage is written."""
    return Till(_services(request).ledger, request.app.state.limiter, principal)


Running = Annotated[Services, Depends(_services)]
Anyone = Annotated[Principal, Depends(Requires(None))]
Chatter = Annotated[Principal, Depends(Requires("chat"))]
Encoder = Annotated[Principal, Depends(Requires("embeddings"))]
Ranker = Annotated[Principal, Depends(Requires("rerank"))]
Filer = Annotated[Principal, Depends(Requires("files"))]
Reader = Annotated[Principal, Depends(Requires("knowledge_bases:read"))]
Editor = Annotated[Principal, Depends(Requires("knowledge_bases:write"))]
Admin = Annotated[Principal, Depends(Requires("admin"))]

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
Order = Annotated[Literal["asc", "desc"], Query()]
Words = Annotated[str | None, Query(max_length=1024, pattern=r"^[^\x00]*$")]


def _page(limit: Limit = 20, after: Cursor = None, before: Cursor = None, order: Order = "desc") -> Page:
    return Page(limit, after, before, order)


def _reading(limit: Limit = 20, after: Cursor = None, before: Cursor = None, order: Order = "asc") -> Page:
    return Page(limit, after, before, order)


Paged = Annotated[Page, Depends(_page)]
"""Newest first, unless the client says otherwise."""
Read = Annotated[Page, Depends(_reading)]
"""In reading order, unless the client says otherwise: a document is read from its beginning."""
