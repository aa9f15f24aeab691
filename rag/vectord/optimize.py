"""Builds a collection's vector index beside the live one.

`optimize()` of the engine blocks the whole interpreter for as long as it takes, so it runs in a child
process on a copy of the shard. Meanwhile the old shard answers and takes writes, which are also logged.
When the child is done the log is replayed into the copy, the pointer in the registry moves, and the
copy becomes the collection. A crash at any point leaves the pointer on one whole generation; the rest is
garbage that the next start removes.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.vectord.errors import RestError, Unavailable
from rag.vectord.indexes import read_schema
from rag.vectord.shards import Collection, Delta, EnginePanic, Generation, engine_errors, load_shard
from rag.vectord.updates import Change

log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("rebuild.py")
_FEW = 16
_POLL_SECONDS = 0.1
_MAX_BACKOFF_SECONDS = 3600.0


class BuildFailed(RuntimeError):
    """The index was not built; the old one stays. The message says why."""


@dataclass(slots=True)
class Backoff:
    """When the next build of a collection may begin."""

    base: float
    failures: int = 0
    not_before: float = 0.0

    def failed(self) -> None:
        self.failures += 1
        pause = min(self.base * 2 ** min(self.failures - 1, 20), _MAX_BACKOFF_SECONDS)
        self.not_before = time.monotonic() + pause

    def succeeded(self) -> None:
        self.failures, self.not_before = 0, 0.0


def is_due(collection: Collection, backoff: Backoff, now: float) -> bool:
    """Whether enough was written, quietly enough, and no failure is too fresh."""
    limits = collection.limits
    if collection.closed or collection.building or now < backoff.not_before:
        return False
    if not limits.optimize_threshold or collection.churn < limits.optimize_threshold:
        return False
    quiet = now - collection.last_write >= limits.optimize_quiet_seconds
    return quiet or collection.churn >= 4 * limits.optimize_threshold


class Rebuild:
    """One build of one collection. `run` blocks; call it on a thread that may."""

    def __init__(
        self,
        collection: Collection,
        prepare: Callable[[Path], Path],
        commit: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        """`prepare` gives the finished folder its lasting name and returns it; `commit(points)` moves the
        registry's pointer there."""
        self._collection = collection
        self._prepare = prepare
        self._commit = commit
        self._stop = stop

    def run(self) -> bool:
        """True when the collection has a new index, False when there was nothing to build.

        Raises BuildFailed; the collection then is as it was.
        """
        collection = self._collection
        churn = collection.churn
        try:
            return self._build()
        except (RestError, OSError, BuildFailed) as error:
            collection.churn = max(collection.churn, churn)
            raise BuildFailed(str(error)) from error
        finally:
            collection.end_build()

    def _build(self) -> bool:
        folder, delta = self._collection.submit(self._collection.start_build).result()
        try:
            optimized = self._run_child(folder, delta)
            if optimized:
                folder = self._prepare(folder)
                self._take_over(folder, delta)
        except BaseException:  # whatever it was, a half-built folder goes; the error goes on
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not optimized:
            shutil.rmtree(folder, ignore_errors=True)
        return optimized

    def _run_child(self, folder: Path, delta: Delta) -> bool:
        command = [sys.executable, "-P", str(_CHILD), str(folder)]
        with subprocess.Popen(  # noqa: S603 - our own file on our own folder
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                out, err = self._wait(child, delta)
            finally:
                child.kill()
        if child.returncode != 0:
            raise BuildFailed(f"the child ended with status {child.returncode}: {err.strip()[-300:]}")
        return out == "optimized"

    def _wait(self, child: subprocess.Popen[str], delta: Delta) -> tuple[str, str]:
        while True:
            try:
                return child.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                self._check(delta)

    def _check(self, delta: Delta) -> None:
        if self._stop.is_set() or self._collection.closed:
            raise BuildFailed("stopped")
        if delta.overflowed:
            raise BuildFailed("too much was written meanwhile: it is tried again when it is quieter")

    def _take_over(self, folder: Path, delta: Delta) -> None:
        fresh = load_shard(folder)
        try:
            # Most of the log while writes still run, the rest with writes held back.
            while len(delta) > _FEW:
                self._check(delta)
                replay(fresh, delta.take())
            self._collection.submit(lambda: self._finish(fresh, delta)).result()
        except BaseException:  # whatever it was, the new shard is let go; the error goes on
            fresh.retire(remove=False)
            raise

    def _finish(self, fresh: Generation, delta: Delta) -> None:
        self._check(delta)
        replay(fresh, delta.take())
        with fresh.lease() as shard, engine_errors():
            shard.flush()
            info = shard.info()
        count, indexes = int(info.points_count), read_schema(info)
        expected = self._collection.read(lambda shard: int(shard.info().points_count))
        if count != expected:
            raise BuildFailed(f"the new index has {count} points instead of {expected}")
        self._commit(count)
        self._collection.swap(fresh, indexes)


def replay(generation: Generation, changes: list[Change]) -> None:
    """Applies logged changes. What the live shard refused is refused here in the same way and left out,
    as the engine does with its own log."""
    with generation.lease() as shard:
        for change in changes:
            try:
                with engine_errors():
                    shard.update(change.operation)
            except (EnginePanic, Unavailable):
                raise
            except RestError as error:
                log.debug("left out at replay: %s", error.text)
