"""Messages: bounded, disposable, and never in the way of a request."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from ingestion import tasks
from ingestion.dispatch import INGEST_TASK, QUEUE, Dispatcher, make_celery
from ingestion.settings import IngestionSettings
from rag.errors import ConfigurationError, EngineOverloaded, MissingExtra, Unavailable

JOB = "job_0123456789abcdef01234567"


def settings(broker: str) -> IngestionSettings:
    return IngestionSettings(database_url="sqlite:///x.db", broker_url=broker, blob_url="blobs")


@pytest.fixture
def broker(tmp_path: Path) -> str:
    return f"filesystem://{tmp_path}/broker"


def connection(broker: str) -> Connection:
    return make_celery(settings(broker)).connection_for_read()


def drain(broker: str) -> list[Any]:
    with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
        found = []
        while queue.qsize():
            message = queue.get(timeout=1)
            message.ack()
            found.append(message.payload)
        return found


def files(broker: str) -> list[str]:
    return [path.name for path in Path(broker.removeprefix("filesystem://")).iterdir()]


async def test_a_message_holds_a_job_id_and_nothing_else(broker: str) -> None:
    celery = make_celery(settings(broker))
    dispatcher = Dispatcher(celery)
    await dispatcher.enqueue(JOB, 2)
    assert len(files(broker)) == 2
    raw = json.loads(next(Path(broker.removeprefix("filesystem://")).glob("*.msg")).read_text())
    assert raw["headers"]["task"] == INGEST_TASK
    assert raw["content-type"] == "application/json"
    (args, kwargs, _), _ = drain(broker)
    assert (args, kwargs) == ([JOB], {})
    assert files(broker) == [], "read messages must not pile up"
    dispatcher.close()


def test_brokers_by_scheme(tmp_path: Path) -> None:
    assert make_celery(settings("amqp://u:p@h/")).conf.broker_url == "amqp://u:p@h/"
    for url in ("filesystem://", "http://h", "nothing", "sqs://"):
        with pytest.raises(ConfigurationError):
            make_celery(settings(url))
    if find_spec("redis"):
        assert make_celery(settings("redis://h:6379/0")).conf.broker_url == "redis://h:6379/0"
    else:
        with pytest.raises(MissingExtra, match="redis"):
            make_celery(settings("redis://h:6379/0"))


def test_only_json_is_read(broker: str) -> None:
    assert make_celery(settings(broker)).conf.accept_content == ["json"]


class StuckCelery:
    """A broker that does not answer until it is told to, or that refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = threading.Event()
        self.error = error

    def send_task(self, *_: Any, **__: Any) -> None:
        if self.error:
            raise self.error
        assert self.go.wait(20)

    def close(self) -> None:
        self.go.set()


async def test_a_broker_that_hangs_costs_a_bounded_time() -> None:
    stuck = StuckCelery()
    dispatcher = Dispatcher(stuck, timeout=0.005)
    for _ in range(64):
        with pytest.raises(Unavailable, match="no answer") as caught:
            await dispatcher.enqueue(JOB, 1)
        assert caught.value.code == "broker_unavailable"
    with pytest.raises(Unavailable, match="too many"):
        await dispatcher.enqueue(JOB, 1)
    stuck.go.set()
    while dispatcher._waiting:
        await asyncio.sleep(0.01)
    await dispatcher.enqueue(JOB, 1)
    dispatcher.close()


@pytest.mark.parametrize("error", [OperationalError("refused"), ConnectionRefusedError("refused")])
async def test_a_broker_that_refuses_is_unavailable(error: Exception) -> None:
    dispatcher = Dispatcher(StuckCelery(error))
    with pytest.raises(Unavailable, match="check BROKER_URL"):
        await dispatcher.enqueue(JOB, 1)
    dispatcher.close()


# the folder broker -----------------------------------------------------------------------------------
def test_what_cannot_be_read_is_dropped(broker: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(broker.removeprefix("filesystem://"))
    with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
        for n, content in enumerate((b"", b"{", b"\xff\xfe", b"null", b"[1]", b"{}")):
            (folder / f"0000{n}_x.{QUEUE}.msg").write_bytes(content)
        (folder / "stranger.txt").write_text("not ours")
        queue.put(["good"])
        message = queue.get(timeout=1)
        message.ack()
    assert message.payload == ["good"]
    assert "dropped" in caplog.text
    assert files(broker) == ["stranger.txt"]


def test_messages_come_in_the_order_of_their_sending(broker: str) -> None:
    with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
        for n in range(20):
            queue.put([n])
        assert [queue.get(timeout=1).payload[0] for _ in range(20)] == list(range(20))


def test_several_readers_share_the_messages_and_double_none(broker: str) -> None:
    with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
        for n in range(60):
            queue.put([n])
    found: list[int] = []
    lock = threading.Lock()

    def read() -> None:
        with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return
                with lock:
                    found.append(message.payload[0])
                message.ack()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(found) == list(range(60))


def test_the_folder_may_be_emptied_or_deleted_at_any_time(broker: str) -> None:
    folder = Path(broker.removeprefix("filesystem://"))
    with connection(broker) as link, link.SimpleQueue(QUEUE) as queue:
        queue.put(["lost"])
        shutil.rmtree(folder)
        with pytest.raises(queue.Empty):
            queue.get(block=False)
        queue.put(["kept"])
        assert queue.get(timeout=1).payload == ["kept"]


# the task --------------------------------------------------------------------------------------------
def task(broker: str, run: Any) -> Any:
    return tasks.register(make_celery(settings(broker)), run)


def test_the_task_runs_the_job(broker: str) -> None:
    ran: list[str] = []
    task(broker, ran.append)(JOB)
    assert ran == [JOB]


@pytest.mark.parametrize("message", ["", "job_x", JOB + "\n", "../../etc", None, 7, ["a"], {"a": 1}])
def test_the_task_drops_what_is_no_job_id(broker: str, message: Any) -> None:
    ran: list[str] = []
    task(broker, ran.append)(message)
    assert ran == []


@pytest.mark.parametrize("error", [EngineOverloaded("busy"), RuntimeError("bug"), Unavailable("x"), TimeoutError()])
def test_nothing_that_a_job_raises_reaches_the_worker(
    broker: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def run(_: str) -> None:
        raise error

    task(broker, run)(JOB)
    assert caplog.records, "it must be said in the log"
