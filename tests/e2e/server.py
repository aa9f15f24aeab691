"""Starts and stops the real product as a user does: `tensoras serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.e2e.api import Api

KEY = "tns_" + "e2e0" * 16


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(home: Path) -> dict[str, str]:
    """What a fresh login would have: no setting of ours, an empty home."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TENSORAS_", "QDRANT_", "OPENAI_"))}
    for name in ("ENGINES", "BROKER_URL", "DATABASE_URL", "BLOB_URL", "EMBEDDING_MODEL", "RERANK_MODEL"):
        kept.pop(name, None)
    return {**kept, "HOME": str(home), "HF_HUB_OFFLINE": "1"}


class Server:
    """One data folder and the server on it; `start` may be called again after a stop or a kill."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.port = free_port()
        home = data.parent / f"{data.name}-home"
        home.mkdir(parents=True, exist_ok=True)
        # No engine unless a test asks for one: these servers answer with the extractive model.
        self.environment = {
            **clean_environment(home),
            "TENSORAS_BOOTSTRAP_KEY": KEY,
            "TENSORAS_ENGINE_DIR": str(data.parent / "no-engine"),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data.parent / f"{data.name}.log"

    def start(self) -> Api:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "serving.cli",
                    "serve",
                    "--port",
                    str(self.port),
                    "--data-dir",
                    str(self.data),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Api(f"http://127.0.0.1:{self.port}", KEY)

    def family(self) -> list[psutil.Process]:
        """The server and everything below it."""
        assert self.process is not None
        try:
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def child(self, word: str) -> psutil.Process:
        """The youngest process of the family whose command line names `word`."""
        found = [process for process in self.family() if word in " ".join(process.cmdline())]
        assert found, f"no process of the server names {word!r}"
        return max(found, key=lambda process: process.create_time())

    def kill(self, word: str) -> None:
        """kill -9, as the out-of-memory killer would; what the process had started must end with it."""
        victim = self.child(word)
        below = victim.children(recursive=True)
        victim.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs([victim, *below], timeout=30)
        assert not left, f"orphans after the kill of {word}: {left}"

    def stop(self, seconds: float = 40) -> int:
        assert self.process is not None
        family = self.family()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left, f"orphans: {left}"
        return code

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]
