"""Parsing in processes of their own, with limits on time, memory and everything else (jail.py says which).

A document can hang, exhaust or crash its process; it costs that document and nothing else. Processes are
started ahead, replaced in the background, and never forked from this one, which may hold models and threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from ingestion.parse import wire
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.jail import Limits
from rag.errors import DocumentError, Unavailable

DOCUMENTS_PER_PROCESS = 200
_START_SECONDS = 60.0
_TAIL_BYTES = 8192
_ATTEMPTS = 3
_LARGE = 1 << 20
_MODULE = "ingestion.parse.child"
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"out of memory", b"Out of memory", b"Cannot allocate memory")
_TIMEOUT = "Reading the document took more than {}. Split it into smaller files, or save it in another format."
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX", "TZ")
_SET_VARIABLES = {
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_MAX_NAME = 1024
_MAX_REPORT = 4096
_log = logging.getLogger(__name__)


class _NotAsked(Exception):
    """The process died before it had taken the document: nobody's fault, another one can take it."""


class _Died(Exception):
    """The process died while it held the document, or broke the protocol."""


@dataclass(eq=False)
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    listener: asyncio.Task[None] | None = None
    documents: int = 0
    tail: bytearray = field(default_factory=bytearray)

    @property
    def fresh(self) -> bool:
        """Alive, and not yet due to be replaced."""
        return self.process.returncode is None and self.documents < DOCUMENTS_PER_PROCESS

    async def ready(self) -> bytes:
        """Waits for the first frame: which layers of the jail hold, as JSON."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await self._frame(_MAX_REPORT)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise _Died from error

    async def ask(self, request: bytes) -> bytes:
        """One document; returns the undecoded result."""
        try:
            self.writer.write(request)
            await self.writer.drain()
            await self.reader.readexactly(1)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _NotAsked from error
        self.documents += 1
        try:
            return await self._frame(wire.MAX_FRAME)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _Died from error

    async def _frame(self, most: int) -> bytes:
        size = int.from_bytes(await self.reader.readexactly(wire.LENGTH_BYTES), "big")
        if size > most:
            raise _Died
        return await self.reader.readexactly(size)

    async def listen(self, errors: asyncio.StreamReader) -> None:
        """Empties standard error, keeping its end for the log and for telling what killed the process."""
        while piece := await errors.read(_TAIL_BYTES):
            self.tail += piece
            del self.tail[:-_TAIL_BYTES]

    def kill(self) -> None:
        """The process and what it started: it leads a group of its own."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> int:
        """Kills and reaps the process; returns its exit status. Safe to call twice."""
        self.kill()
        self.writer.close()
        status = await self.process.wait()
        if self.listener is not None:
            await self.listener
        return status


_Slot = asyncio.Future[_Child] | None


class ParserPool:
    """`size` parser processes. Belongs to the event loop that first uses it; `close` it before that loop
    ends.

    `timeout` is wall-clock seconds per document; `cpu_seconds` (per document) and `memory_bytes` (address
    space of a process) are enforced by the kernel. `ocr` lets processes start tesseract, where it is
    installed.
    """

    def __init__(
        self,
        *,
        size: int = 1,
        timeout: float = 120,
        memory_bytes: int = 1_500_000_000,
        cpu_seconds: int = 120,
        ocr: bool = True,
    ) -> None:
        if size < 1:
            raise ValueError("a parser pool needs at least one process")
        self._size = size
        self._timeout = timeout
        programs = ocr and shutil.which("tesseract") is not None
        self._limits = Limits(memory_bytes, cpu_seconds, DOCUMENTS_PER_PROCESS, programs)
        # One slot per process: a process that is ready or on its way, or None where the next document starts
        # one.
        self._slots: asyncio.Queue[_Slot] = asyncio.Queue()
        for _ in range(size):
            self._slots.put_nowait(None)
        self._children: set[_Child] = set()
        self._closed = False

    async def start(self) -> None:
        """Starts the processes now rather than with the first document. Raises Unavailable."""
        for _ in range(self._slots.qsize()):
            child = await self._take()
            self._release(child, usable=True)

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """Reads the file at `path`, called `name` by its owner.

        Raises DocumentError for anything wrong with the document, OSError where there is no such file,
        Unavailable where no parser process can be started or the pool was closed.
        """
        path = await asyncio.to_thread(path.resolve, strict=True)
        request = wire.frame(orjson.dumps({"path": str(path), "name": name[-_MAX_NAME:]}))
        for _ in range(_ATTEMPTS):
            try:
                payload = await self._once(request)
            except _NotAsked:
                continue
            if len(payload) < _LARGE:
                return wire.decode_result(payload)
            return await asyncio.to_thread(wire.decode_result, payload)
        raise Unavailable("Parser processes end before they take a document. See the log of this server.")

    async def close(self) -> None:
        """Ends all processes. Documents in work raise Unavailable. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for child in self._children:
            child.kill()
        for _ in range(self._size):
            slot = await self._slots.get()
            if slot is not None:
                await asyncio.wait([slot])
                if slot.exception() is None:
                    await self._end(slot.result())

    async def _once(self, request: bytes) -> bytes:
        child = await self._take()
        usable = False
        try:
            async with asyncio.timeout(self._timeout):
                payload = await child.ask(request)
            usable = True
        except TimeoutError as error:
            raise DocumentError("parse_timeout", _TIMEOUT.format(f"{self._timeout:g} seconds")) from error
        except _Died as error:
            status = await child.end()
            self._refuse_closed()
            raise self._death(status, bytes(child.tail)) from error
        finally:
            self._release(child, usable=usable)
        return payload

    async def _take(self) -> _Child:
        self._refuse_closed()
        slot = await self._slots.get()
        try:
            self._refuse_closed()
        except Unavailable:
            self._slots.put_nowait(slot)
            raise
        slot = slot or asyncio.ensure_future(self._spawn())
        try:
            child = await asyncio.shield(slot)
        except asyncio.CancelledError:
            self._slots.put_nowait(slot)
            raise
        except (OSError, _Died) as error:
            self._slots.put_nowait(None)
            raise Unavailable("A parser process cannot be started. See the log of this server.") from error
        if child.fresh:
            return child
        self._release(child, usable=False)  # it died while it waited
        return await self._take()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down. Try again.")

    def _release(self, child: _Child, *, usable: bool) -> None:
        """Hands the slot on: with the same process, or with a new one that starts in the background."""
        slot: asyncio.Future[_Child]
        if self._closed or (usable and child.fresh):
            slot = asyncio.get_running_loop().create_future()
            slot.set_result(child)
        else:
            slot = asyncio.ensure_future(self._replace(child))
        self._slots.put_nowait(slot)

    async def _replace(self, child: _Child) -> _Child:
        await self._end(child)
        return await self._spawn()

    async def _end(self, child: _Child) -> None:
        await child.end()
        self._children.discard(child)

    async def _spawn(self) -> _Child:
        """Raises _Died or OSError. The child starts from a new interpreter: a fork would copy models and
        locks."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-B", "-X", "faulthandler", "-m", _MODULE),
            orjson.dumps(asdict(self._limits)).decode(),
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            cwd="/",
            start_new_session=True,
            limit=_LARGE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        child = _Child(process, process.stdout, process.stdin)
        child.listener = asyncio.create_task(child.listen(process.stderr))
        self._children.add(child)
        try:
            held = await child.ready()
        except _Died:
            await self._end(child)
            _log.error("a parser process did not start: %s", child.tail.decode("utf-8", "replace"))
            raise
        _log.info("a parser process is ready, its protections: %s", held.decode("utf-8", "replace"))
        return child

    def _death(self, status: int, tail: bytes) -> DocumentError:
        _log.warning("a parser process ended with status %d: %s", status, tail.decode("utf-8", "replace"))
        if status == -signal.SIGXCPU:
            return DocumentError(
                "parse_timeout", _TIMEOUT.format(f"{self._limits.cpu_seconds} seconds of processor time")
            )
        if any(mark in tail for mark in _OUT_OF_MEMORY):
            megabytes = self._limits.memory_bytes // 1_000_000
            return DocumentError(
                "parse_out_of_memory",
                f"The document needs more than {megabytes} MB of memory to read. Split it into smaller files.",
            )
        return DocumentError(
            "parse_crashed",
            "The parser crashed on this document. Open it in the program that made it, save it again, or "
            "save it as "
            "PDF, and upload that.",
        )


def _environment() -> dict[str, str]:
    """What a parser needs to start. No keys, no addresses, nothing else of the server's environment."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, **_SET_VARIABLES, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
