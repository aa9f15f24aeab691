"""`python -m ingestion.worker`: the composition root of a worker process.

Celery consumes messages in the main thread and runs tasks in a few threads; these wait for coroutines on one
event loop in a thread of its own, where the database, the vector store, the parsers and the sweeper live.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from pydantic import ValidationError

from ingestion import logs, tasks
from ingestion.blobs import open_blobs
from ingestion.database import Database
from ingestion.dispatch import QUEUE, Dispatcher, make_celery
from ingestion.migrations import migrate_catalog
from ingestion.pipeline import Parts, Pipeline
from ingestion.removal import Removal
from ingestion.settings import IngestionSettings, Policy
from ingestion.sweep import Sweeper
from rag.errors import TensorasError, Unavailable
from rag.settings import RagSettings

if TYPE_CHECKING:
    from rag.embedders import SentenceTransformerEmbedder

log = logging.getLogger("ingestion.worker")
_RETRY_SECONDS = 2.0
_LAST_SECONDS = 3.0


class Runtime:
    """The event loop and what lives on it. Its methods are called from other threads."""

    def __init__(self, settings: IngestionSettings, rag_settings: RagSettings, celery: Celery) -> None:
        self._settings = settings
        self._rag = rag_settings
        self._celery = celery
        self._policy = Policy.of(settings)
        self._ready: Future[Pipeline] = Future()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._live, name="ingestion", daemon=True)

    def start(self) -> None:
        """Returns when jobs can be run. Loading the weights takes seconds. Raises TensorasError."""
        self._thread.start()
        self._ready.result()

    def run(self, job_id: str) -> None:
        """Runs the job on the loop and waits for it. Raises CancelledError where the stop cut it off."""
        if not self._stopping.is_set():
            asyncio.run_coroutine_threadsafe(self._run(job_id), self._loop).result()

    def stop(self) -> None:
        """Returns at once (for signal handlers): nothing new is begun, what is in work gets a few seconds."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    def close(self) -> None:
        """As `stop`, and waits until everything has ended. Safe to call twice."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=self._policy.stop_seconds + 3 * _LAST_SECONDS)

    # on the loop ---------------------------------------------------------------------------------
    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except Exception as error:  # the end of a thread: nobody above would see it
            if self._ready.done():
                # A worker without its loop would take messages and do nothing: better to end and be restarted.
                log.exception("the worker's event loop ended; the process ends too")
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self._ready.set_exception(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _main(self) -> None:
        async with AsyncExitStack() as stack:
            pipeline, sweeper = await self._open(stack)
            sweeping = asyncio.create_task(sweeper.run(self._policy.sweep_seconds, self._stopping))
            self._ready.set_result(pipeline)
            stopping = asyncio.create_task(self._stopping.wait())
            # The sweeper ends before the stop only by an error; jobs would stick without it.
            await asyncio.wait({stopping, sweeping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            pipeline.stop()
            await self._finish_jobs()
            self._stopping.set()
            await asyncio.wait({sweeping}, timeout=_LAST_SECONDS)
            if sweeping.done():
                sweeping.result()
            sweeping.cancel()

    async def _open(self, stack: AsyncExitStack) -> tuple[Pipeline, Sweeper]:
        from ingestion.chunk import chunk
        from ingestion.parse.sandbox import ParserPool
        from rag.build import build_store

        database = Database(self._settings.database_url)
        stack.push_async_callback(database.close)
        await _until_there(database)
        embedder = await asyncio.to_thread(_load_embedder, self._rag)
        stack.callback(embedder.close)
        store = build_store(self._rag, embedder)
        stack.push_async_callback(store.close)
        parser = ParserPool(
            size=self._settings.worker_concurrency,
            timeout=self._settings.parse_timeout,
            cpu_seconds=int(self._settings.parse_timeout) + 1,
            memory_bytes=self._settings.parse_memory_mb * 1_000_000,
        )
        stack.push_async_callback(parser.close)
        dispatcher = Dispatcher(self._celery)
        stack.callback(dispatcher.close)
        blobs = open_blobs(self._settings.blob_url)
        parts = Parts(database, blobs, store, embedder, parser, chunk, dispatcher)
        sweeper = Sweeper(
            database,
            blobs,
            dispatcher,
            Removal(database, blobs, store),
            idle=self._idle,
            policy=self._policy,
        )
        name = f"{socket.gethostname()}:{os.getpid()}"
        return Pipeline(parts, self._policy, worker=name), sweeper

    async def _run(self, job_id: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._jobs.add(task)
        try:
            await self._ready.result().run_job(job_id)
        finally:
            self._jobs.discard(task)

    def _idle(self) -> int:
        return self._settings.worker_concurrency - len(self._jobs)

    async def _finish_jobs(self) -> None:
        """What is not done in time is released, for the next worker to take at once."""
        if self._jobs:
            await asyncio.wait(set(self._jobs), timeout=self._policy.stop_seconds)
        for job in self._jobs:
            job.cancel()
        if self._jobs:
            await asyncio.wait(set(self._jobs), timeout=_LAST_SECONDS)


def _load_embedder(settings: RagSettings) -> SentenceTransformerEmbedder:
    from rag.build import build_embedder

    return build_embedder(settings)


async def _until_there(database: Database) -> None:
    """The tables, as soon as there is a database."""
    said = False
    while True:
        try:
            return await migrate_catalog(database)
        except Unavailable as error:
            if not said:
                log.warning("waiting for the database: %s", error.message)
            said = True
            await asyncio.sleep(_RETRY_SECONDS)


# the process ---------------------------------------------------------------------------------------
def _without_traceback(record: logging.LogRecord) -> bool:
    """A broker that is away is said in a sentence; its traceback names only the client's own code."""
    record.exc_info = None
    record.exc_text = None
    return True


def _consume(celery: Celery, runtime: Runtime, concurrency: int) -> int:
    """Takes messages until a signal says stop. Returns the exit code."""

    def shutting_down(**_: Any) -> None:
        runtime.stop()

    # Celery warns root about pickled messages; only JSON is accepted here.
    warnings.filterwarnings("ignore", module=r"celery\.platforms")
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    worker = celery.Worker(
        pool="threads",
        concurrency=concurrency,
        queues=[QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        task_events=False,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def main() -> int:
    """Runs until SIGTERM or SIGINT. 0: stopped as asked; 2: the configuration must be changed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signals.setup_logging.connect(lambda **_: None, weak=False)
    logs.set_up("info")
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_without_traceback)
    try:
        settings, rag_settings = IngestionSettings(), RagSettings()
        os.environ.setdefault("OMP_NUM_THREADS", str(rag_settings.torch_threads))
        celery = make_celery(settings)
        runtime = Runtime(settings, rag_settings, celery)
        tasks.register(celery, runtime.run)
        runtime.start()
    except ValidationError as error:
        missing = ", ".join(str(part["loc"][0]) for part in error.errors())
        log.error("the worker cannot start; set or correct these variables: %s", missing)  # noqa: TRY400
        return 2
    except TensorasError as error:
        log.error("the worker cannot start: %s", error.message)  # noqa: TRY400
        return 2
    log.info("the worker is ready", extra={"concurrency": settings.worker_concurrency})
    try:
        return _consume(celery, runtime, settings.worker_concurrency)
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(main())
