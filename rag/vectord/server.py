"""Runs the application on a socket until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from rag.vectord.app import create_app
from rag.vectord.limits import Limits
from rag.vectord.lock import FolderInUse
from rag.vectord.registry import BrokenRegistry
from rag.vectord.service import Service

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which raises the signal again at the end: a stop that was
    asked for is not a failure."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


def serve(data: Path, sock: socket.socket, key: str | None, limits: Limits) -> int:
    """Blocks until SIGTERM or SIGINT. Returns the exit status: 0, or 2 when it could not start."""
    try:
        service = Service(data, limits)
    except (FolderInUse, BrokenRegistry, OSError) as error:
        sys.stderr.write(f"vectord: {error}\n")
        return 2
    if key is None:
        log.warning("no VECTORD_API_KEY: every program on this machine can read and change the vectors")
    try:
        asyncio.run(_run(service, sock, key))
    finally:
        service.close()
    return 0


async def _run(service: Service, sock: socket.socket, key: str | None) -> None:
    config = uvicorn.Config(
        create_app(service, key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=round(service.limits.shutdown_seconds),
        limit_concurrency=1024,
        server_header=False,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    log.info("vectord serves on %s", sock.getsockname())
    await server.serve(sockets=[sock])
