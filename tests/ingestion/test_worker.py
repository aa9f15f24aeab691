"""The worker as a process: starts, works, stops as asked, and is survived."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from ingestion.catalog.tables import items
from ingestion.dispatch import Dispatcher, make_celery
from ingestion.service import Ingestion
from ingestion.settings import IngestionSettings, Policy
from tests.ingestion.world import TENANT, World

pytestmark = pytest.mark.e2e


class Workers:
    """Starts worker processes over the world's database, blobs and a folder broker; kills what is left."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.url = f"filesystem://{world.root}/broker"
        self.started: list[asyncio.subprocess.Process] = []

    async def start(self, **more: str) -> asyncio.subprocess.Process:
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{self.world.root}/catalog.db",
            "BROKER_URL": self.url,
            "BLOB_URL": str(self.world.blobs.root),
            "TENSORAS_LEASE_SECONDS": "2",
            "TENSORAS_HEARTBEAT_SECONDS": "0.3",
            "TENSORAS_SWEEP_SECONDS": "0.2",
            "TENSORAS_STOP_SECONDS": "0.3",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **more,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.ingestion.worker_process", str(self.world.root)),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.started.append(process)
        await self.until(process, "the worker is ready")
        return process

    async def until(self, process: asyncio.subprocess.Process, words: str) -> None:
        assert process.stdout is not None
        seen = []
        while line := (await asyncio.wait_for(process.stdout.readline(), 60)).decode():
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"the worker ended without saying {words!r}: {''.join(seen)}")

    async def end(self) -> None:
        for process in self.started:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def workers(world: World) -> AsyncIterator[Workers]:
    workers = Workers(world)
    celery = make_celery(IngestionSettings(database_url="sqlite:///x", broker_url=workers.url, blob_url="x"))
    dispatcher = Dispatcher(celery)
    world.ingestion = Ingestion(world.database, world.blobs, world.store, dispatcher, {"hash-embedder": 256})
    yield workers
    await workers.end()
    dispatcher.close()


async def ended(world: World, kb_id: str, job_id: str) -> str:
    async with asyncio.timeout(60):
        async for job in world.ingestion.job_events(TENANT, kb_id, job_id):
            status = job.status
    return status


async def test_it_works_and_stops_as_asked(world: World, workers: Workers) -> None:
    process = await workers.start()
    kb = await world.kb()
    job = await world.add(kb.id, "some words", "more words", "and more")
    assert await ended(world, kb.id, job.id) == "completed"
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    for part in ("store", "embedder", "parser"):
        assert f"{part} closed".encode() in output
    assert b"Traceback" not in output
    assert b"Warning" not in output


async def test_stopped_over_a_document_it_leaves_it_to_the_next(world: World, workers: Workers) -> None:
    (world.root / "hold").touch()
    process = await workers.start()
    kb = await world.kb()
    job = await world.add(kb.id, "slow words")
    await workers.until(process, "parsing slowly")
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert b"parser closed" in output
    (row,) = await world.rows(select(items))
    assert (row.status, row.lease_owner, row.attempts, row.crashes) == ("queued", None, 0, 0)
    (world.root / "hold").unlink()
    await workers.start()
    assert await ended(world, kb.id, job.id) == "completed"


async def test_a_broken_sweeper_ends_the_process_so_that_it_is_started_again(world: World, workers: Workers) -> None:
    process = await workers.start()
    (world.root / "break").touch()
    await workers.until(process, "the worker's event loop ended")
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_killed_over_a_document_the_next_one_takes_it(world: World, workers: Workers) -> None:
    (world.root / "hold").touch()
    process = await workers.start()
    kb = await world.kb()
    job = await world.add(kb.id, "slow words")
    await workers.until(process, "parsing slowly")
    process.kill()
    (world.root / "hold").unlink()
    await workers.start()
    assert await ended(world, kb.id, job.id) == "completed"
    (row,) = await world.rows(select(items))
    assert (row.crashes, row.attempts) == (1, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"BROKER_URL": ""}, "BROKER_URL"),
        ({"BLOB_URL": "s3://bucket"}, "BLOB_URL"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "supported are sqlite"),
    ],
)
def test_a_wrong_configuration_is_a_sentence(tmp_path: Path, change: dict[str, str], said: str) -> None:
    good = {"BROKER_URL": f"filesystem://{tmp_path}/b", "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}
    environment = os.environ | good | {"BLOB_URL": str(tmp_path / "blobs")} | change
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "tests.ingestion.worker_process", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_the_policy_comes_from_the_settings() -> None:
    settings = IngestionSettings(
        database_url="sqlite:///x", broker_url="amqp://", blob_url="b", lease_seconds=7, max_attempts=2
    )
    policy = Policy.of(settings)
    assert (policy.lease_seconds, policy.max_attempts, policy.retry_seconds) == (7, 2, 2)
