from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.settings import RagSettings
from serving import children
from serving.children import Part, Place
from serving.engine import vllm

INHERITED = {
    "PATH": "/usr/bin",
    "HOME": "/home/u",
    "AWS_SECRET_ACCESS_KEY": "bucket-secret",
    "TENSORAS_BOOTSTRAP_KEY": "operator-secret",
    "ENGINES": '{"m": {"urls": ["http://e"], "api_key": "engine-secret"}}',
    "VLLM_API_KEY": "stale-secret",
    "PYTHONPATH": "/src",
    "TENSORAS_MAX_ATTEMPTS": "2",
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, INHERITED)


def command_line(part: Part) -> str:
    return " ".join(part.child.argv)


def test_vectord_gets_socket_and_key(place: Place) -> None:
    with closing(part := children.vectord(place)):
        key = part.settings["QDRANT_API_KEY"]
        (listener,) = part.sockets
        assert part.child.env["VECTORD_API_KEY"] == key
        assert part.child.pass_fds == (listener.fileno(),)
        assert part.settings["QDRANT_URL"] == f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert listener.getsockname()[0] == "127.0.0.1"
        assert key not in command_line(part)
        assert part.child.argv[-4:] == ("--data", str(place.data / "vectors"), "--fd", str(listener.fileno()))


def test_connections_wait_while_vectord_is_away(place: Place) -> None:
    with closing(part := children.vectord(place)):
        socket.create_connection(part.sockets[0].getsockname(), timeout=10).close()


def test_vectord_stops_after_the_worker_that_needs_it(place: Place) -> None:
    with closing(store := children.vectord(place)):
        assert store.child.wave > children.worker(place, {}).child.wave


def test_vectord_and_engine_inherit_nothing_that_is_secret(place: Place, tmp_path: Path) -> None:
    parts = [children.vectord(place), children.engine(place, vllm.Engine(tmp_path), 1)]
    try:
        for part in parts:
            assert not [value for value in part.child.env.values() if "-secret" in value]
            assert "TENSORAS_MAX_ATTEMPTS" not in part.child.env
    finally:
        for part in parts:
            part.close()


def test_worker_gets_what_it_needs_and_no_key_of_the_gateway(place: Place) -> None:
    given = {"QDRANT_URL": "http://q", "QDRANT_API_KEY": "k", "ENGINES": "{}", "TENSORAS_DATA_DIR": "/d"}
    env = children.worker(place, given).child.env
    assert (env["QDRANT_URL"], env["QDRANT_API_KEY"], env["TENSORAS_DATA_DIR"]) == ("http://q", "k", "/d")
    # A bucket's credentials and the settings of ingestion are its business.
    assert (env["AWS_SECRET_ACCESS_KEY"], env["TENSORAS_MAX_ATTEMPTS"]) == ("bucket-secret", "2")
    assert not {"TENSORAS_BOOTSTRAP_KEY", "ENGINES", "VLLM_API_KEY"} & set(env)


def test_no_secret_in_any_command_line(place: Place, tmp_path: Path) -> None:
    parts = [children.vectord(place), children.engine(place, vllm.Engine(tmp_path), 1)]
    settings = {name: value for part in parts for name, value in part.settings.items()}
    parts.append(children.worker(place, settings))
    try:
        secrets = [parts[0].child.env["VECTORD_API_KEY"], parts[1].child.env["VLLM_API_KEY"]]
        lines = " ".join(map(command_line, parts)) + repr(parts) + repr(place)
        assert not [secret for secret in [*secrets, "bucket-secret"] if secret in lines]
    finally:
        for part in parts:
            part.close()


def test_engine_settings_are_what_the_library_reads(place: Place, tmp_path: Path) -> None:
    with closing(part := children.engine(place, vllm.Engine(tmp_path), 3)):
        engine = RagSettings(ENGINES=json.loads(part.settings["ENGINES"])).engines[vllm.MODEL]  # type: ignore[call-arg]
        port = part.child.argv[part.child.argv.index("--port") + 1]
        assert engine.urls == [f"http://127.0.0.1:{port}/v1"]
        assert engine.api_key is not None
        assert engine.api_key.get_secret_value() == part.child.env["VLLM_API_KEY"]
        assert engine.context_length == 8192
        assert engine.cite_markers is False
        assert (engine.prompt_style, engine.default_top_k) == ("plain", 1)
        assert part.child.env["OMP_NUM_THREADS"] == "3"


def test_each_engine_run_has_its_own_key_and_port(place: Place, tmp_path: Path) -> None:
    with (
        closing(one := children.engine(place, vllm.Engine(tmp_path), 1)),
        closing(two := children.engine(place, vllm.Engine(tmp_path), 1)),
    ):
        assert one.child.env["VLLM_API_KEY"] != two.child.env["VLLM_API_KEY"]
        assert one.child.argv != two.child.argv


def test_a_reserved_port_can_be_listened_on_by_the_child() -> None:
    """vLLM sets SO_REUSEADDR and nothing else; the port must be free for it and for no ordinary program."""
    with children.reserve() as reserved, socket.socket() as engine, socket.socket() as stranger:
        with pytest.raises(OSError, match="in use"):
            stranger.bind(reserved.getsockname())
        engine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        engine.bind(reserved.getsockname())
        engine.listen()
        with socket.create_connection(reserved.getsockname(), timeout=10):
            engine.accept()[0].close()


def test_storage_lies_in_the_data_folder(place: Place) -> None:
    found = children.storage(place)
    assert found["DATABASE_URL"] == f"sqlite:///{place.data}/tensoras.db"
    assert found["BLOB_URL"] == str(place.data / "blobs")
    assert children.broker(place) == {"BROKER_URL": f"filesystem://{place.data}/broker"}


def test_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "x.key"
    first = children.stored_secret(path)
    assert len(first) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    assert children.stored_secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_secret_file_is_replaced(tmp_path: Path) -> None:
    """A crash between making and writing must not leave an empty key in use."""
    path = tmp_path / "x.key"
    path.write_text("\n")
    assert children.stored_secret(path)
    (tmp_path / "y.key.partial").write_text("half")
    assert children.stored_secret(tmp_path / "y.key") != "half"


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_an_unusable_secret_file_is_explained(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.key"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="check the data folder"):
        children.stored_secret(path)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"hello\r\n", False),
        (b"", False),
        (b"HTTP/1.1 " + b"9" * 100_000, False),
    ],
    ids=["ok", "unavailable", "no-http", "nothing", "endless"],
)
async def test_probe_reads_the_status(reply: bytes, expected: bool) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await children.answers(port, "/healthz")() is expected
    assert asked == [b"GET /healthz HTTP/1.1\r\n"]


async def test_probe_of_nobody_is_an_os_error() -> None:
    with children.reserve() as reserved, pytest.raises(OSError, match=r"refused|failed"):
        await children.answers(children.port_of(reserved), "/")()


async def test_probe_of_the_silent_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PROBE_SECONDS", 0.05)
    with children.listen() as silent:
        assert await children.answers(children.port_of(silent), "/")() is False
