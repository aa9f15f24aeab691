"""The real process: its socket, its lock, its end, and what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]
KEY = "test-key"
POINTS = {"vectors": {"size": 4, "distance": "Dot"}}


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


class Server:
    """`python -m rag.vectord` on a socket that this test holds, as the supervisor does."""

    def __init__(self, data: Path, sock: socket.socket, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rag.vectord", "--data", str(data), "--fd", str(sock.fileno())],
            cwd=ROOT,
            pass_fds=[sock.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT), "VECTORD_API_KEY": KEY, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        host, port = sock.getsockname()
        self.http = httpx.Client(
            base_url=f"http://{host}:{port}", headers={"api-key": KEY}, timeout=60, trust_env=False
        )

    def put(self, path: str, body: object) -> None:
        answer = self.http.put(path, json=body)
        assert answer.status_code == 200, answer.text

    def upsert(self, first: int, count: int) -> None:
        points = [{"id": i, "vector": [1.0, 2.0, 3.0, i], "payload": {"n": i}} for i in range(first, first + count)]
        self.put("/collections/c/points", {"points": points})

    def count(self) -> int:
        answer = self.http.post("/collections/c/points/count", json={})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["result"]["count"])

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Sends the signal; returns the exit status and what stood on stderr."""
        self.http.close()
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


StartServer = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    started: list[Server] = []

    def call(sock: socket.socket, **environ: str) -> Server:
        started.append(Server(tmp_path / "data", sock, **environ))
        return started[-1]

    yield call
    for server in started:
        server.http.close()
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def test_a_kill_loses_no_acknowledged_point_and_the_port_stays(start: StartServer) -> None:
    with listener() as sock:
        server = start(sock)
        server.put("/collections/c", POINTS)
        for first in range(0, 600, 100):
            server.upsert(first, 100)
        assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
        # The listening socket lives on here: requests wait for the next process instead of failing.
        again = start(sock)
        assert again.count() == 600
        again.upsert(600, 1)
        status, err = again.end(signal.SIGTERM)
        assert status == 0, err
        assert KEY not in err
        third = start(sock)
        assert third.count() == 601
        assert third.end(signal.SIGINT)[0] == 0


def test_the_key_is_asked_for_and_a_second_process_refused(start: StartServer) -> None:
    with listener() as sock, listener() as other:
        server = start(sock)
        assert server.http.get("/readyz", headers={"api-key": ""}).status_code == 200
        assert server.http.get("/collections", headers={"api-key": "x"}).status_code == 401
        second = start(other)
        _, err = second.process.communicate(timeout=60)
        assert second.process.returncode == 2
        assert f"in use by process {server.process.pid}" in err
        assert "Traceback" not in err
        assert server.http.get("/collections").status_code == 200


def test_a_kill_during_a_build_leaves_the_old_index_whole(start: StartServer, tmp_path: Path) -> None:
    environ = {
        "VECTORD_OPTIMIZE_THRESHOLD": "500",
        "VECTORD_OPTIMIZE_QUIET_SECONDS": "0",
        "VECTORD_TICK_SECONDS": "0.01",
    }
    with listener() as sock:
        server = start(sock, **environ)
        server.put("/collections/c", {**POINTS, "optimizers_config": {"indexing_threshold": 1}})
        server.upsert(0, 600)
        while not list(tmp_path.glob("data/collections/*/build-*")):
            assert not list(tmp_path.glob("data/collections/*/gen-1")), "the build was over too soon to see"
            time.sleep(0.001)
        server.end(signal.SIGKILL)
        again = start(sock)
        assert again.count() == 600
        assert not list(tmp_path.glob("data/collections/*/build-*"))


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("VECTORD_")}
    return subprocess.run(
        [sys.executable, "-m", "rag.vectord", *arguments],
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_loads_nothing_heavy() -> None:
    asked = "import sys, rag.vectord.__main__ as m; m._parser(); print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert not {"qdrant_client", "qdrant_edge", "numpy", "pydantic", "uvicorn"} & set(out.split())
    helped = run("--help")
    assert helped.returncode == 0
    assert "--fd" in helped.stdout


def test_an_open_door_is_refused(tmp_path: Path) -> None:
    refused = run("--data", str(tmp_path), "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "VECTORD_API_KEY" in refused.stderr


def test_a_taken_port_and_a_bad_setting_are_one_sentence(tmp_path: Path) -> None:
    with listener() as sock:
        taken = run("--data", str(tmp_path), "--port", str(sock.getsockname()[1]))
    assert taken.returncode == 2
    bad = run("--data", str(tmp_path), "--port", "0", VECTORD_OPTIMIZE_THRESHOLD="many")
    assert bad.returncode == 2
    assert "VECTORD_OPTIMIZE_THRESHOLD='many'" in bad.stderr
    for result in (taken, bad):
        assert "Traceback" not in result.stderr
