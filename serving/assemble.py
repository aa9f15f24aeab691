"""Settings to services: everything the routes work with, built beside a gateway that already answers.

The imports stand inside the functions: they take seconds, and the socket answers before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ingestion.settings import IngestionSettings
from rag.errors import EngineUnavailable, Unavailable, VectorStoreUnavailable
from rag.settings import RagSettings
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from celery import Celery

    from ingestion.database import Database
    from rag.embedders import SentenceTransformerEmbedder
    from rag.generators import OpenAIGenerator
    from rag.pipeline import Pipeline
    from rag.qdrant import QdrantStore
    from serving.ledger import Ledger
    from serving.services import Probe, Services

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0
BROKER_SECONDS = 2.0


@dataclass(frozen=True)
class Configuration:
    """All settings of a server; every URL is set."""

    serving: ServingSettings
    rag: RagSettings
    ingestion: IngestionSettings


@dataclass(frozen=True)
class Report:
    """How the build talks to its caller: `phase` hears what is waited for, `key` a key that was just made,
    `readiness` tells the states that the caller watches."""

    phase: Callable[[str], None]
    key: Callable[[str], None]
    readiness: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class _Loaded:
    """What takes seconds."""

    embedder: SentenceTransformerEmbedder
    store: QdrantStore
    pipeline: Pipeline
    celery: Celery


@asynccontextmanager
async def assembled(configuration: Configuration, report: Report) -> AsyncIterator[Services]:
    """The services, closed in reverse order afterwards. Waits for a database that is away.

    Raises ConfigurationError for what only the operator can change.
    """
    async with AsyncExitStack() as stack:
        database = await _database(configuration, report, stack)
        ledger = await _ledger(database, configuration.serving, report)
        report.phase("loading the models")
        loaded = await asyncio.to_thread(_load, configuration)
        stack.callback(loaded.embedder.close)
        stack.push_async_callback(loaded.store.close)
        yield _services(configuration, report, stack, (database, ledger, loaded))


async def _database(configuration: Configuration, report: Report, stack: AsyncExitStack) -> Database:
    from ingestion.database import Database, migrate
    from ingestion.migrations import migrate_catalog
    from serving.ledger import MIGRATIONS, VERSION_TABLE

    report.phase("opening the database")
    database = Database(configuration.ingestion.database_url)
    stack.push_async_callback(database.close)

    async def prepare() -> None:
        await migrate_catalog(database)
        await migrate(database, MIGRATIONS, VERSION_TABLE)

    await patiently(prepare, report.phase)
    return database


async def patiently(action: Callable[[], Awaitable[None]], phase: Callable[[str], None]) -> None:
    """Repeats until a dependency that is away is back; says once what is missing."""
    told = False
    while True:
        try:
            return await action()
        except Unavailable as error:
            phase(error.message)
            if not told:
                log.warning("waiting: %s", error.message)
            told = True
            await asyncio.sleep(RETRY_SECONDS)


async def _ledger(database: Database, settings: ServingSettings, report: Report) -> Ledger:
    from serving.ledger import Ledger

    ledger = Ledger(database)
    given = settings.bootstrap_key
    made = await ledger.ensure_bootstrap_key(given.get_secret_value() if given else None)
    if made:
        report.key(made)
    return ledger


def _load(configuration: Configuration) -> _Loaded:
    """Imports and weights: in a thread, so that the gateway goes on answering."""
    from ingestion.dispatch import make_celery
    from rag.build import build_embedder, build_pipeline, build_store

    celery = make_celery(configuration.ingestion)
    embedder = build_embedder(configuration.rag)
    store = build_store(configuration.rag, embedder)
    pipeline = build_pipeline(configuration.rag, embedder=embedder, store=store)
    return _Loaded(embedder, store, pipeline, celery)


def _services(
    configuration: Configuration,
    report: Report,
    stack: AsyncExitStack,
    opened: tuple[Database, Ledger, _Loaded],
) -> Services:
    from ingestion.blobs import open_blobs
    from ingestion.dispatch import Dispatcher
    from ingestion.service import Ingestion
    from serving.services import Services

    database, ledger, loaded = opened
    dispatcher = Dispatcher(loaded.celery)
    stack.callback(dispatcher.close)
    blobs = open_blobs(configuration.ingestion.blob_url)
    reads = {loaded.embedder.model: loaded.embedder.max_tokens}
    return Services(
        pipeline=loaded.pipeline,
        ingestion=Ingestion(database, blobs, loaded.store, dispatcher, reads),
        ledger=ledger,
        blobs=blobs,
        database=database,
        embedder=loaded.embedder,
        settings=configuration.serving,
        readiness=report.readiness,
        probes=_probes(loaded, configuration.rag, report.readiness()),
        reranker=loaded.pipeline.reranker,
    )


# readiness ---------------------------------------------------------------------------------------
def _probes(loaded: _Loaded, settings: RagSettings, watched: Mapping[str, str]) -> dict[str, Probe]:
    """One for each part that is not `watched` already."""
    from serving.health import MODEL

    probes: dict[str, Probe] = {
        "vector_store": lambda: _vector_store(loaded.store),
        "broker": lambda: _broker(loaded.celery),
    }
    for name in settings.engines:
        generator = cast("OpenAIGenerator", loaded.pipeline.chat_model(name).generator)
        probes[MODEL + name] = _engine_probe(name, generator)
    return {name: probe for name, probe in probes.items() if name not in watched}


async def _vector_store(store: QdrantStore) -> None:
    if not await store.healthy():
        raise VectorStoreUnavailable("the vector store does not answer; check QDRANT_URL")


async def _broker(celery: Celery) -> None:
    """Opens and closes a connection of its own, in a thread: kombu blocks."""
    from kombu.exceptions import KombuError

    def connect() -> None:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)

    try:
        await asyncio.to_thread(connect)
    except (KombuError, OSError) as error:
        raise Unavailable(f"the message broker does not answer ({error}); check BROKER_URL") from error


def _engine_probe(name: str, generator: OpenAIGenerator) -> Probe:
    async def probe() -> None:
        if not await generator.ready():
            raise EngineUnavailable(f"the engine of {name!r} is not up; its log or ENGINES says why")

    return probe
