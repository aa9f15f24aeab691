from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI

from ingestion.blobs import FolderBlobs
from ingestion.database import Database, migrate
from rag.testing import HashEmbedder, OverlapReranker
from serving.app import create_app
from serving.ledger import MIGRATIONS, SCOPES, VERSION_TABLE, Ledger
from serving.limits import MemoryLimiter
from serving.services import Provider, Services
from serving.settings import ServingSettings
from tests.serving.doubles import MemoryIngestion, ScriptedPipeline

BOOTSTRAP = "tns_" + "b" * 64


async def _prepare(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    await migrate(database, MIGRATIONS, VERSION_TABLE)
    await Ledger(database).ensure_bootstrap_key(BOOTSTRAP)
    await database.close()


@pytest.fixture(scope="session")
def ledger_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database with the bootstrap key, to be copied: migrating for each test would cost more than
    the test."""
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    asyncio.run(_prepare(path))
    return path


@pytest.fixture(scope="session")
def shared_app() -> FastAPI:
    """One application for all tests with usual settings: building the routes takes longer than most tests. It
    holds nothing but the services, which each house sets anew."""
    return create_app(Provider(ServingSettings()))


@dataclass
class House:
    """A gateway with doubles behind it, and clients of it."""

    app: FastAPI
    services: Services
    pipeline: ScriptedPipeline
    ingestion: MemoryIngestion
    blobs_root: Path
    http: httpx.AsyncClient
    openai: openai.AsyncOpenAI
    _opened: list[Any] = field(default_factory=list)

    def client(self, key: str | None, **options: Any) -> httpx.AsyncClient:
        """A client with another key, closed with the house."""
        made = _http(self.app, key, **options)
        self._opened.append(made)
        return made

    async def key(self, *scopes: str, tenant: str = "default", **more: Any) -> str:
        _, key = await self.services.ledger.keys.create(tenant, "test", scopes or SCOPES, **more)
        return key

    def files_on_disk(self) -> list[Path]:
        return [path for path in self.blobs_root.rglob("*") if path.is_file()]


def _http(app: FastAPI, key: str | None, **options: Any) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


def _openai(app: FastAPI, key: str) -> openai.AsyncOpenAI:
    transport = httpx2.ASGITransport(app)
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://test/v1",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    )


Opener = Callable[..., Any]


@pytest.fixture
async def make_house(tmp_path: Path, ledger_template: Path, shared_app: FastAPI) -> AsyncIterator[Opener]:
    """Opens a house; keyword arguments are settings, `limiter` and `services` are replaced parts."""
    opened: list[House] = []
    shutil.copy(ledger_template, tmp_path / "house.db")
    database = Database(f"sqlite:///{tmp_path / 'house.db'}")

    async def make(limiter: Any = None, parts: dict[str, Any] | None = None, **settings: Any) -> House:
        pipeline, ingestion = ScriptedPipeline(), MemoryIngestion()
        services = Services(
            pipeline=pipeline,
            ingestion=ingestion,
            ledger=Ledger(database),
            blobs=FolderBlobs(tmp_path / "blobs"),
            database=database,
            embedder=HashEmbedder(),
            settings=ServingSettings(**settings),
            reranker=OverlapReranker(),
        )
        services = replace(services, **(parts or {}))
        if limiter or settings:
            app = create_app(services, limiter=limiter or MemoryLimiter())
        else:
            app = shared_app
            app.state.provider.set(services)
        house = House(
            app,
            services,
            pipeline,
            ingestion,
            tmp_path / "blobs",
            _http(app, BOOTSTRAP),
            _openai(app, BOOTSTRAP),
        )
        opened.append(house)
        return house

    yield make
    for house in opened:
        for client in (house.http, *house._opened):
            await client.aclose()
        await house.openai.close()
    await database.close()


@pytest.fixture
async def house(make_house: Opener) -> House:
    made: House = await make_house()
    return made


CHAT = {"model": "small", "messages": [{"role": "user", "content": "Hi"}]}


def sse_data(text: str) -> list[str]:
    """The payloads of an event stream, in order."""
    return [block.removeprefix("data: ") for block in text.split("\n\n") if block]
