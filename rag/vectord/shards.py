"""One collection: its shard, the thread that writes to it, and the log kept while an index is rebuilt.

The engine holds the interpreter lock through every call, so reads and writes never truly overlap; what
must be kept apart is the *order* of writes and the life of a shard object. Writes of a collection run one
after the other on its own thread. Reads run anywhere, each under a lease on the generation that was
current when it began; a generation that was replaced is closed when its last lease ends.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from rag.vectord.errors import (
    BadInput,
    BadRequest,
    DiskFull,
    EngineFault,
    NotFound,
    RestError,
    Unavailable,
    no_collection,
)
from rag.vectord.files import copy_tree
from rag.vectord.indexes import Index, read_schema
from rag.vectord.limits import Limits
from rag.vectord.schema import Schema
from rag.vectord.updates import Change

T = TypeVar("T")
log = logging.getLogger(__name__)

_WRONG_INPUT = ("Vector dimension error", "Not existing vector name", "Wrong usage of", "Validation failed")
_WRONG_REQUEST = ("No range index", "No appropriate index")


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns what the engine raises into RestError. It raises bare `Exception` for everything that it
    checks, ValueError and TypeError for arguments, and a BaseException of its own when Rust panics."""
    try:
        yield
    except RestError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise EngineFault(str(error)) from error
    except Exception as error:  # the engine has no exception type of its own
        raise _classify(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        log.critical("the engine panicked: %s", error)
        raise EnginePanic(f"the engine panicked ({error}): report it with the request that caused it") from None


class EnginePanic(EngineFault):
    """A bug in the engine. After one in a write the operation stands in its log for the next start."""


def _classify(message: str) -> RestError:
    if message.startswith(_WRONG_INPUT):
        return BadInput(message)
    if message.startswith(_WRONG_REQUEST):
        return BadRequest(message)
    if message.startswith("No point with id"):
        return NotFound(f"{message} found")
    return EngineFault(message)


class Generation:
    """One shard on disk, open. Closed (and, when it was replaced, removed) after its last lease."""

    def __init__(self, path: Path, shard: Any) -> None:
        self.path = path
        self.shard = shard
        self._lock = threading.Lock()
        self._leases = 0
        self._retired = False
        self._remove = False

    @contextmanager
    def lease(self) -> Iterator[Any]:
        """The shard, for the time of the block. Raises Unavailable once the generation was retired."""
        with self._lock:
            if self._retired:
                raise Unavailable("the collection is being replaced: try again", retry_after=1)
            self._leases += 1
        try:
            yield self.shard
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._lock:
            self._leases -= 1
            last = self._retired and not self._leases
        if last:
            self._close()

    def retire(self, *, remove: bool) -> None:
        """No further lease; closes now, or with the last lease that is out. Idempotent."""
        with self._lock:
            if self._retired:
                return
            self._retired, self._remove = True, remove
            idle = not self._leases
        if idle:
            self._close()

    def _close(self) -> None:
        with engine_errors():
            self.shard.close()
        self.shard = None
        if self._remove:
            shutil.rmtree(self.path, ignore_errors=True)


class Delta:
    """The writes since a copy was taken: the writer's thread adds, the build's thread takes.
    Bounded: past its size it only says that it overflowed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        self._changes: list[Change] = []
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, change: Change, size: int) -> None:
        with self._lock:
            self._bytes += size
            self.overflowed = self.overflowed or self._bytes > self._max_bytes
            if self.overflowed:
                self._changes.clear()
            else:
                self._changes.append(change)

    def take(self) -> list[Change]:
        """What came since the last `take`, in order. What was taken still counts: it bounds the whole."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes


class Collection:
    """A collection that is open. Everything that touches the shard goes through `read` and `submit`."""

    def __init__(self, name: str, schema: Schema, generation: Generation, limits: Limits) -> None:
        self.name = name
        self.schema = schema
        self.limits = limits
        self.churn = 0
        """Points written or removed since the index was last built."""
        self.last_write = time.monotonic()
        self.dirty = False
        self.building = False
        self.build_error: str | None = None
        self.closed = False
        self.panic: str | None = None
        """Why no write is taken any more: the engine panicked in one, and would again at the next start."""
        self._generation = generation
        self._delta: Delta | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name[:20]}")
        with engine_errors():
            self.indexes: Mapping[str, Index] = read_schema(generation.shard.info())

    # reads

    def read(self, work: Callable[[Any], T]) -> T:
        """Runs `work(shard)` on the calling thread."""
        while True:
            if self.closed:
                raise no_collection(self.name)
            generation = self._generation
            try:
                with generation.lease() as shard, engine_errors():
                    return work(shard)
            except Unavailable:
                # Replaced between the two lines above: the new generation stands already.
                if generation is self._generation and not self.closed:
                    raise

    # writes

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queues `work` behind the collection's other writes, on their thread."""
        try:
            return self._writer.submit(self._guarded, work)
        except RuntimeError:  # the thread was shut down: the collection is gone, or the process is going
            raise no_collection(self.name) from None

    def _guarded(self, work: Callable[[], T]) -> T:
        if self.closed:
            raise no_collection(self.name)
        return work()

    def apply(self, changes: Sequence[Change], size: int) -> None:
        """Applies changes in order; on the writer's thread only. `size` is about their bytes in memory.

        Returns when the engine has them in its log: a kill of the process loses none of them.
        """
        if self.panic is not None:
            raise Unavailable(
                f"Collection `{self.name}` takes no more writes: {self.panic}. Reads still work: "
                "copy its points to a new collection"
            )
        self._check_disk(changes)
        for change in changes:
            try:
                self._apply_one(change, size // len(changes))
            except EnginePanic as error:
                self.panic = error.text
                raise

    def _check_disk(self, changes: Sequence[Change]) -> None:
        free = shutil.disk_usage(self._generation.path).free
        if free < self.limits.free_disk_bytes and any(change.grows for change in changes):
            raise DiskFull(
                f"only {free // 2**20} MiB are left on the disk of {self._generation.path.parent}: "
                "free some space, deletes are still accepted"
            )

    def _apply_one(self, change: Change, size: int) -> None:
        with self._generation.lease() as shard:
            before = shard.info().points_count
            if (delta := self._delta) is not None:
                # Before the engine sees it: an operation that fails half-way has changed something.
                delta.add(change, size)
            self.dirty, self.last_write = True, time.monotonic()
            try:
                with engine_errors():
                    shard.update(change.operation)
            finally:
                info = shard.info()
                self.churn += change.points or abs(before - info.points_count)
                if change.reindexes:
                    self.indexes = read_schema(info)

    def flush(self) -> None:
        """Writes out what lies in memory and lets the log shrink; on the writer's thread only."""
        self.dirty = False
        with self._generation.lease() as shard, engine_errors():
            shard.flush()

    # rebuild: called by `optimize.Rebuild`

    def start_build(self) -> tuple[Path, Delta]:
        """Copies the shard and starts to log what comes after; on the writer's thread only."""
        self.flush()
        folder = self._generation.path.parent / f"build-{uuid.uuid4().hex}"
        try:
            copy_tree(self._generation.path, folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._delta = Delta(self.limits.optimize_delta_bytes)
        self.churn = 0
        return folder, self._delta

    def end_build(self) -> None:
        self._delta = None

    def swap(self, generation: Generation, indexes: Mapping[str, Index]) -> None:
        """Puts a rebuilt generation in the place of the current one; on the writer's thread only.

        The registry points to it already, so nothing here may fail half-way.
        """
        old, self._generation = self._generation, generation
        self.indexes, self._delta = indexes, None
        try:
            old.retire(remove=True)
        except RestError as error:
            log.warning("the replaced shard %s did not close: %s", old.path, error.text)

    # end

    def close(self, *, remove: bool = False) -> None:
        """Waits for the writes that run, flushes unless the files go, closes. Idempotent."""
        if self.closed:
            return
        if not remove and self.dirty:
            self.submit(self.flush).result()
        self.closed = True
        self._writer.shutdown(wait=True)
        self._generation.retire(remove=remove)


def create_shard(path: Path, schema: Schema) -> Generation:
    """A new, empty shard. Raises RestError for a configuration that the engine refuses."""
    config = None
    with engine_errors():
        config = schema.edge_config()
        path.parent.mkdir(mode=0o700)
        return Generation(path, edge.EdgeShard.create(str(path), config))


def load_shard(path: Path) -> Generation:
    """Opens a shard, replaying its log. Raises RestError."""
    with engine_errors():
        return Generation(path, edge.EdgeShard.load(str(path)))
