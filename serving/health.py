"""/health and /ready.

Ready means: the database, the vector store, the broker and the embedding model answer. A chat engine may take
minutes to load and come and go afterwards; files, ingestion and retrieval work without it, so its state is
listed under `models` and does not make the server unready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from rag.errors import TensorasError
from serving.services import Provider, Services
from serving.wire.common import Object

router = APIRouter(tags=["Operations"])
CHECK_SECONDS = 3.0
MODEL = "model:"
"""Prefix of the names under which `Services.readiness` and `Services.probes` report chat models."""
OK = "ok"


class Health(Object):
    status: Literal["ok"] = "ok"


class Readiness(Object):
    """`checks`: each part that must answer; `models`: each chat model. "ok", or what is wrong in words."""

    status: Literal["ready", "not_ready"]
    missing: list[str]
    checks: dict[str, str]
    models: dict[str, str]


@router.get("/health")
async def health() -> Health:
    """The process is alive."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness, "description": "A part is missing"}})
async def ready(request: Request, response: Response) -> Readiness:
    """Whether requests can be served; names what is missing."""
    provider: Provider = request.app.state.provider
    states = await check(provider.services) if provider.started else {"services": provider.phase}
    found = report(states)
    if found.status != "ready":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found


def report(states: Mapping[str, str]) -> Readiness:
    checks = {name: state for name, state in states.items() if not name.startswith(MODEL)}
    models = {name.removeprefix(MODEL): s for name, s in states.items() if name.startswith(MODEL)}
    missing = [name for name, state in checks.items() if state != OK]
    return Readiness(status="not_ready" if missing else "ready", missing=missing, checks=checks, models=models)


async def check(services: Services) -> dict[str, str]:
    """Every part at once, each within CHECK_SECONDS."""
    probes = {"database": lambda: _database(services), **services.probes}
    states = await asyncio.gather(*(_state(probe()) for probe in probes.values()))
    return {**services.readiness(), **dict(zip(probes, states, strict=True))}


async def _database(services: Services) -> None:
    async with services.database.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def _state(probing: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await probing
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except TensorasError as error:
        return error.message
    except OSError as error:
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    return OK
