"""The local processes that stand in for what no URL names, one function each.

Every function returns a `Part`: how the child is run, and the settings that lead to it. Whoever uses it, the
gateway as well as the other children, only ever sees those settings. Which parts are wanted is decided in
`serving/main.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rag.errors import ConfigurationError
from serving.engine import vllm
from serving.supervisor import Child, Probe

LOOPBACK = "127.0.0.1"
BACKLOG = 256
PROBE_SECONDS = 2.0

# Read by the gateway alone. Documents from strangers are parsed in the worker: it does not get these.
GATEWAY_ONLY = ("TENSORAS_BOOTSTRAP_KEY", "ENGINES", "VLLM_API_KEY", "VECTORD_API_KEY")
# What a child that needs nothing of the server's configuration inherits.
PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Place:
    """Where children live: the data folder, and the environment that the server was started with."""

    data: Path
    inherited: Mapping[str, str] = field(repr=False)

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def plain(self) -> dict[str, str]:
        return {name: self.inherited[name] for name in PLAIN if name in self.inherited}


@dataclass(frozen=True)
class Part:
    """A child and the settings that lead to it. `sockets` stay open as long as the supervisor runs."""

    child: Child
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    sockets: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        for item in self.sockets:
            item.close()


def storage(place: Place) -> dict[str, str]:
    """Settings of what needs no process: a database file and a folder."""
    return {
        "TENSORAS_DATA_DIR": str(place.data),
        "DATABASE_URL": f"sqlite:///{place.data}/tensoras.db",
        "BLOB_URL": str(place.data / "blobs"),
    }


def vectord(place: Place) -> Part:
    """The embedded vector store. Its port outlives it: while it restarts, connections wait in the backlog."""
    listener = listen()
    key = stored_secret(place.data / "secrets" / "vectord.key")
    descriptor = listener.fileno()
    argv = (
        sys.executable,
        "-m",
        "rag.vectord",
        "--data",
        str(place.data / "vectors"),
        "--fd",
        str(descriptor),
    )
    child = Child(
        "vectord",
        argv,
        place.log("vectord"),
        env={**place.plain(), "VECTORD_API_KEY": key, "OMP_NUM_THREADS": "1"},
        ready=answers(port_of(listener), "/healthz"),
        pass_fds=(descriptor,),
        wave=1,
    )
    settings = {"QDRANT_URL": f"http://{LOOPBACK}:{port_of(listener)}", "QDRANT_API_KEY": key}
    return Part(child, settings, (listener,))


def broker(place: Place) -> dict[str, str]:
    """Settings of a queue in a folder."""
    return {"BROKER_URL": f"filesystem://{place.data}/broker"}


def worker(place: Place, settings: Mapping[str, str]) -> Part:
    """The ingestion worker. `settings` name every part it works with."""
    kept = {name: value for name, value in place.inherited.items() if name not in GATEWAY_ONLY}
    needed = {name: value for name, value in settings.items() if name not in GATEWAY_ONLY}
    # torch takes its number of threads from the settings; other libraries in the worker compute with one.
    threads = {"OMP_NUM_THREADS": kept.get("OMP_NUM_THREADS", "1"), "TOKENIZERS_PARALLELISM": "false"}
    child = Child(
        "worker",
        (sys.executable, "-m", "ingestion.worker"),
        place.log("worker"),
        env={**kept, **threads, **needed},
        stop_timeout=12.0,
    )
    return Part(child)


def engine(place: Place, installed: vllm.Engine, threads: int) -> Part:
    """The chat model on CPU, with a key of this run. A bound socket that never listens keeps the port."""
    reserved = reserve()
    port, key = port_of(reserved), secrets.token_urlsafe(32)
    cache = place.data / "cache" / "engine"
    child = Child(
        "engine",
        vllm.command(installed, port),
        place.log("engine"),
        env=vllm.environment(place.inherited, api_key=key, threads=threads, cache=cache),
        ready=answers(port, "/health"),
        stop_timeout=10.0,
    )
    entry = {
        "urls": [f"http://{LOOPBACK}:{port}/v1"],
        "model": vllm.MODEL,
        "api_key": key,
        "context_length": vllm.CONTEXT_LENGTH,
        # What so small a model does best with, measured in benchmarks/quality/smollm2_prompt.md.
        "cite_markers": False,
        "prompt_style": "plain",
        "default_top_k": 1,
        "max_concurrency": 4 * vllm.MAX_SEQUENCES,
    }
    return Part(child, {"ENGINES": json.dumps({vllm.MODEL: entry})}, (reserved,))


# sockets -----------------------------------------------------------------------------------------
def listen() -> socket.socket:
    """A listening socket on a free port of the loopback interface."""
    listener = reserve()
    listener.listen(BACKLOG)
    return listener


def reserve() -> socket.socket:
    """Bound to a free port, not listening: only who sets SO_REUSEADDR too may listen there, as vLLM does."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, 0))
    return bound


def port_of(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


def answers(port: int, path: str) -> Probe:
    """Whether an HTTP server says 200 to GET `path`. Raises OSError while nobody listens."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await _status(port, path) == 200
        except TimeoutError:
            return False

    return probe


async def _status(port: int, path: str) -> int | None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
        words = (await reader.readline()).split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
    except ValueError:  # a first line beyond the reader's limit: not HTTP
        return None
    finally:
        writer.close()


# secrets -----------------------------------------------------------------------------------------
def stored_secret(path: Path) -> str:
    """The secret in `path`, made on the first call; the file is for its owner only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        existing = path.read_text(encoding="ascii").strip() if path.exists() else ""
        if existing:
            path.chmod(0o600)
            return existing
        secret = secrets.token_urlsafe(32)
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
        partial.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read or made ({error}); check the data folder") from error
    return secret
