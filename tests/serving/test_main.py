from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from rag.errors import ConfigurationError, Unavailable
from serving import assemble, main
from serving.assemble import Configuration, Report
from serving.children import Part, Place
from serving.doorway import Doorway
from serving.main import Run
from serving.settings import ServingSettings
from serving.supervisor import Child

LOCAL = {
    "DATABASE_URL": "sqlite:///x.db",
    "BROKER_URL": "filesystem:///x",
    "BLOB_URL": "/x",
    "QDRANT_URL": "http://q",
}


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return main.configured(ServingSettings(data_dir=tmp_path), LOCAL)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with main.bound("127.0.0.1", 0) as found:
        yield found


def sleeper(folder: Path) -> Part:
    code = "import time; print('up', flush=True); time.sleep(120)"
    return Part(Child("worker", (sys.executable, "-c", code), folder / "w.log", env={"PATH": os.environ["PATH"]}))


@pytest.fixture
def client(listener: socket.socket) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=main.base_url(listener).removesuffix("/v1"), trust_env=False, timeout=60)


class Stage:
    """An assembly that does nothing but say what happens."""

    def __init__(self, *, error: Exception | None = None, hold: asyncio.Event | None = None) -> None:
        self.error, self.hold = error, hold
        self.began, self.ready, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.report: Report | None = None

    @asynccontextmanager
    async def __call__(self, configuration: Configuration, report: Report) -> AsyncIterator[Any]:
        self.report = report
        self.began.set()
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        asyncio.get_running_loop().call_soon(self.ready.set)
        yield SimpleNamespace()
        self.closed.set()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


async def test_from_start_to_stop(
    configuration: Configuration,
    listener: socket.socket,
    client: httpx.AsyncClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage, address = Stage(), main.base_url(listener)
    run = asyncio.create_task(Run(configuration, [sleeper(tmp_path)], listener, assemble=stage).until_stopped())
    async with client:
        await stage.ready.wait()
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/v1/nothing")).status_code == 401
    stop()
    assert await run == 0
    assert stage.closed.is_set()
    assert f"serves on {address}" in capsys.readouterr().out


async def test_health_answers_before_the_application_is_there(
    configuration: Configuration,
    listener: socket.socket,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported = threading.Event()
    real = main._import_app

    def slow() -> Any:
        imported.wait(60)
        return real()

    monkeypatch.setattr(main, "_import_app", slow)
    stage = Stage()
    run = asyncio.create_task(Run(configuration, [], listener, assemble=stage).until_stopped())
    async with client:
        assert (await client.get("/health")).status_code == 200
        waiting = asyncio.create_task(client.get("/v1/models"))
        assert (await client.get("/health")).status_code == 200
        assert not waiting.done()
        imported.set()
        assert (await waiting).status_code == 401
        await stage.ready.wait()
    stop()
    assert await run == 0


async def test_a_configuration_error_ends_the_server_in_a_sentence(
    configuration: Configuration,
    listener: socket.socket,
    exits: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = Stage(error=ConfigurationError("the model folder is empty; fix EMBEDDING_MODEL"))
    code = await Run(configuration, [sleeper(tmp_path)], listener, assemble=stage).until_stopped()
    assert code == 1
    errors = capsys.readouterr().err
    assert "the model folder is empty; fix EMBEDDING_MODEL\n" in errors
    assert "Traceback" not in errors


async def test_a_bug_in_the_assembly_is_logged_with_its_traceback(
    configuration: Configuration, listener: socket.socket, exits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(error=ZeroDivisionError("oops"))
    assert await Run(configuration, [], listener, assemble=stage).until_stopped() == 1
    assert "ZeroDivisionError: oops" in caplog.text


async def test_stopped_while_loading_does_not_wait_for_the_weights(
    configuration: Configuration, listener: socket.socket, exits: list[int]
) -> None:
    stage = Stage(hold=asyncio.Event())
    run = asyncio.create_task(Run(configuration, [], listener, assemble=stage).until_stopped())
    await stage.began.wait()
    stop()
    await run
    assert exits == [0]


async def test_a_second_signal_ends_everything(
    configuration: Configuration,
    listener: socket.socket,
    exits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    running = Run(configuration, [], listener, assemble=stage)
    run = asyncio.create_task(running.until_stopped())
    await stage.ready.wait()
    killed: list[bool] = []
    monkeypatch.setattr(running._supervisor, "kill", lambda: killed.append(True))
    running._on_signal()
    running._on_signal()
    assert (killed, exits) == ([True], [1])
    await run


async def test_readiness_speaks_the_words_of_ready(
    configuration: Configuration, listener: socket.socket, tmp_path: Path
) -> None:
    stage = Stage()
    run = Run(configuration, [sleeper(tmp_path)], listener, assemble=stage)
    task = asyncio.create_task(run.until_stopped())
    await run._supervisor.wait_up()
    await stage.ready.wait()
    assert stage.report is not None
    assert stage.report.readiness() == {"embedding_model": "ok", "worker": "ok"}
    stop()
    await task


# which parts are local ---------------------------------------------------------------------------
def engine_folder(tmp_path: Path) -> str:
    for name in ("bin/python", "engine.stamp", "models/smollm2-135m-instruct/conversion.json"):
        path = tmp_path / "engine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(tmp_path / "engine")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["vectord", "engine", "worker"]),
        ({"QDRANT_URL": "http://q"}, ["engine", "worker"]),
        ({"QDRANT_URL": "", "ENGINES": ""}, ["vectord", "engine", "worker"]),
        ({"ENGINES": "{}"}, ["vectord", "worker"]),
        ({"BROKER_URL": "redis://r"}, ["vectord", "engine"]),
        ({"QDRANT_URL": "http://q", "BROKER_URL": "redis://r", "ENGINES": "{}"}, []),
    ],
    ids=str,
)
def test_a_local_part_for_each_url_that_is_unset(tmp_path: Path, given: dict[str, str], expected: list[str]) -> None:
    environment = {"PATH": "/bin", main.ENGINE_DIR: engine_folder(tmp_path), **given}
    with main.local(Place(tmp_path, environment)) as found:
        assert [part.child.name for part in found.parts] == expected
        configuration = main.configured(ServingSettings(data_dir=tmp_path), found.settings)
    assert configuration.rag.qdrant_url
    assert configuration.ingestion.data_dir == tmp_path
    for name, value in given.items():
        assert not value or found.settings[name] == value
    assert all(item.fileno() == -1 for part in found.parts for item in part.sockets)


def test_a_remote_store_gets_no_key_of_ours(tmp_path: Path) -> None:
    with main.local(Place(tmp_path, {"QDRANT_URL": "http://q", "ENGINES": "{}"})) as found:
        assert "QDRANT_API_KEY" not in found.settings


def test_the_worker_is_told_every_address(tmp_path: Path) -> None:
    with main.local(Place(tmp_path, {"ENGINES": "{}", "DATABASE_URL": "postgresql://d"})) as found:
        worker = found.parts[-1].child
    assert worker.env["DATABASE_URL"] == "postgresql://d"
    assert worker.env["QDRANT_URL"] == found.settings["QDRANT_URL"]
    assert worker.env["BROKER_URL"].startswith("filesystem:///")


def test_without_an_engine_there_is_no_chat_child(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), main.local(Place(tmp_path, {main.ENGINE_DIR: str(tmp_path)})) as found:
        assert "engine" not in [part.child.name for part in found.parts]
        assert "ENGINES" not in found.settings
    assert "make engine" in caplog.text


def test_composition_alone_asks_what_is_local() -> None:
    source = Path(main.__file__).with_name("children.py").read_text(encoding="utf-8")
    assert "if embedded" not in source
    assert '_URL" in' not in source


# the socket --------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_base_url_can_be_called(host: str) -> None:
    with main.bound(host, 0) as found:
        assert main.base_url(found).startswith("http://127.0.0.1:")
        socket.create_connection(("127.0.0.1", found.getsockname()[1]), timeout=10).close()


def test_a_port_is_free_again_after_the_server(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with main.bound("127.0.0.1", port):
        pass


# the doorway -------------------------------------------------------------------------------------
async def answer(app: Doorway, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
        return await http.request(method, path)


async def teapot(scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_doorway_hands_everything_on_once_open() -> None:
    door = Doorway()
    assert (await answer(door, "/health")).json() == {"status": "ok"}
    waiting = [asyncio.create_task(answer(door, "/health", "POST")), asyncio.create_task(answer(door, "/x"))]
    await asyncio.sleep(0)
    door.open(teapot)
    assert [(await task).status_code for task in waiting] == [418, 418]
    assert (await answer(door, "/health")).status_code == 418


async def test_a_client_that_leaves_the_doorway_harms_nobody() -> None:
    door = Doorway()
    gone, staying = asyncio.create_task(answer(door, "/x")), asyncio.create_task(answer(door, "/y"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    door.open(teapot)
    assert (await staying).status_code == 418


# waiting -----------------------------------------------------------------------------------------
async def test_patience_ends_when_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assemble, "RETRY_SECONDS", 0)
    left = [1, 2, 3]
    phases: list[str] = []

    async def action() -> None:
        if left:
            left.pop()
            raise Unavailable("the database does not answer")

    await assemble.patiently(action, phases.append)
    assert phases == ["the database does not answer"] * 3
    assert caplog.text.count("the database does not answer") == 1


async def test_patience_is_not_for_configuration_errors() -> None:
    async def action() -> None:
        raise ConfigurationError("fix it")

    with pytest.raises(ConfigurationError):
        await assemble.patiently(action, lambda _: None)
