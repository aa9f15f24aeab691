"""Idempotency-Key: a POST that creates something runs once, however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

import orjson
from fastapi import Request
from pydantic import BaseModel

from rag.errors import Conflict, InvalidRequest
from serving.auth import Principal
from serving.ledger.idempotency import Entry, Idempotency, Slot
from serving.routes.deps import Json
from serving.services import Services

HEADER = "Idempotency-Key"
WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.05
_TOKEN = re.compile(r"[\x21-\x7e]{1,255}")
Create = Callable[[], Awaitable[BaseModel]]


def fingerprint(request: Request, content: object) -> str:
    """Hash of what is asked: method, path and the body's content, however it was spelled."""
    asked = [request.method, request.url.path, content]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def once(
    request: Request,
    services: Services,
    principal: Principal,
    content: object,
    create: Create,
    *,
    kept: Callable[[BaseModel], BaseModel] = lambda made: made,
) -> Json:
    """The answer of `create`, as JSON; from the ledger where the same request was answered before.

    `content` is the request's body as JSON values. `kept` makes the version that is stored, for answers that
    hold a secret. Raises Conflict when the key was used for another request, or its request still runs.
    """
    token = request.headers.get(HEADER)
    if token is None:
        return Json((await create()).model_dump_json().encode())
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest(f"{HEADER} takes 1 to 255 visible ASCII characters.", param=HEADER)
    book = services.ledger.idempotency
    slot = Slot(principal.tenant_id, principal.key_id, token)
    entry = await _claim(book, slot, fingerprint(request, content))
    if entry.owner is None:
        return Json(entry.body, entry.status or 200, headers={"Idempotent-Replayed": "true"})
    return await _run(book, slot, entry.owner, create, kept)


async def _claim(book: Idempotency, slot: Slot, wanted: str) -> Entry:
    """The entry once it is ours or answered."""
    ends = asyncio.get_running_loop().time() + WAIT_SECONDS
    while True:
        entry = await book.claim(slot, wanted)
        if entry.fingerprint != wanted:
            raise Conflict(
                f"This {HEADER} was used for a different request. Use a new one for each request.",
                code="idempotency_conflict",
                param=HEADER,
            )
        if entry.owner is not None or entry.status is not None:
            return entry
        if asyncio.get_running_loop().time() > ends:
            raise Conflict(
                f"The first request with this {HEADER} is still running. Try again shortly.",
                code="idempotency_in_progress",
                param=HEADER,
            )
        await asyncio.sleep(_POLL_SECONDS)


async def _run(
    book: Idempotency, slot: Slot, owner: str, create: Create, kept: Callable[[BaseModel], BaseModel]
) -> Json:
    try:
        made = await create()
    except BaseException:
        await asyncio.shield(book.release(slot, owner))
        raise
    await book.complete(slot, owner, 200, kept(made).model_dump_json().encode())
    return Json(made.model_dump_json().encode())
