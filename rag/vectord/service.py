"""The process's collections: opening, creating, dropping, describing, and looking after them."""

from __future__ import annotations

import datetime as dt
import logging
import re
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from qdrant_client.http import models as rest

from rag.vectord import registry as disk
from rag.vectord.convert import Context
from rag.vectord.errors import BadRequest, OutOfRange, RestError, Unavailable, no_collection, unsupported
from rag.vectord.filters import FilterRules
from rag.vectord.indexes import read_schema
from rag.vectord.limits import Limits
from rag.vectord.lock import FolderLock
from rag.vectord.optimize import Backoff, BuildFailed, Rebuild, is_due
from rag.vectord.schema import Schema, check_strict_mode, describe_indexes
from rag.vectord.shards import Collection, create_shard, load_shard

log = logging.getLogger(__name__)

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_SETTABLE = {"strict_mode_config", "metadata"}


def check_name(name: str) -> None:
    """Qdrant's rules for the names of collections and aliases. Raises OutOfRange."""
    if not 1 <= len(name) <= 255:
        raise OutOfRange("[collection_name: must have from 1 to 255 characters]")
    if found := _FORBIDDEN.search(name):
        raise OutOfRange(f"[collection_name: cannot contain {found.group()!r}]")


class Service:
    """Owns the data folder from construction to `close`. Methods block and may be called from any thread."""

    def __init__(self, data: Path, limits: Limits | None = None) -> None:
        """Raises FolderInUse, BrokenRegistry. A collection that cannot be opened does not stop the others:
        it answers 503 with the reason."""
        self.limits = limits or Limits()
        self._lock = FolderLock(data)
        self._meta = threading.RLock()
        self._stop = threading.Event()
        try:
            self._registry = disk.Registry(data)
            for path in self._registry.sweep():
                log.info("removed what a crash left behind: %s", path)
        except BaseException:  # whatever it was, the folder is free again; the error goes on
            self._lock.release()
            raise
        self._collections: dict[str, Collection] = {}
        self._broken: dict[str, str] = {}
        self._backoff: dict[str, Backoff] = {}
        for name, entry in self._registry.state.collections.items():
            self._open(name, entry)
        self.readers = ThreadPoolExecutor(self.limits.readers, thread_name_prefix="read")
        self.admin = ThreadPoolExecutor(1, thread_name_prefix="admin")
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="build")
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def _open(self, name: str, entry: disk.Entry) -> None:
        try:
            schema = Schema.of(rest.CreateCollection.model_validate(entry.create))
            generation = load_shard(self._registry.shard_path(entry))
            collection = Collection(name, schema, generation, self.limits)
        except (RestError, ValueError) as error:
            log.critical("collection %s cannot be opened: %s", name, error)
            self._broken[name] = str(error)
            return
        points = collection.read(lambda shard: int(shard.info().points_count))
        collection.churn = max(0, points - entry.indexed_points)
        self._collections[name] = collection

    # finding

    def get(self, name: str) -> Collection:
        """The collection called `name`, or the one behind the alias. Raises NotFound, Unavailable."""
        target = self._registry.state.resolve(name)
        if (collection := self._collections.get(target)) is not None:
            return collection
        if target in self._broken:
            raise Unavailable(
                f"Collection `{target}` cannot be opened: {self._broken[target]}. "
                "Restore it from a backup, or delete it and index its documents again"
            )
        raise no_collection(name)

    def names(self) -> list[str]:
        return sorted(self._registry.state.collections)

    def aliases(self) -> Mapping[str, str]:
        return self._registry.state.aliases

    def resolve(self, name: str) -> str:
        """The collection's own name. Raises NotFound."""
        return self._registry.state.resolve(name)

    def exists(self, name: str) -> bool:
        state = self._registry.state
        return state.aliases.get(name, name) in state.collections

    def context(self, collection: Collection, *, update: bool) -> Context:
        """What one request to `collection` is checked against."""
        strict = collection.schema.strict
        refused = strict.unindexed_filtering_update if update else strict.unindexed_filtering_retrieve
        rules = FilterRules(collection.indexes, refused is False, self.limits.conditions)
        return Context(collection.schema, rules, self.limits.points_per_request)

    def describe(self, name: str) -> dict[str, Any]:
        """The body of `GET /collections/{name}`."""
        collection = self.get(name)
        info = collection.read(lambda shard: shard.info())
        error = collection.panic or collection.build_error
        return {
            "status": "red" if collection.panic else "yellow" if collection.building else "green",
            "optimizer_status": {"error": error} if error else "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": collection.schema.describe(),
            "payload_schema": describe_indexes(read_schema(info)),
        }

    # changing

    def create(self, name: str, request: rest.CreateCollection) -> None:
        check_name(name)
        schema = Schema.of(request)
        with self._meta:
            self._registry.check_free(name)
            if len(self._registry.state.collections) >= self.limits.collections:
                raise BadRequest(
                    f"there are {self.limits.collections} collections already: keep tenants apart by a "
                    "payload key, or raise VECTORD_COLLECTIONS"
                )
            entry = disk.Entry(
                disk.new_folder(),
                request.model_dump(mode="json", exclude_none=True),
                dt.datetime.now(dt.UTC).isoformat(),
            )
            self._create(name, entry, schema)

    def _create(self, name: str, entry: disk.Entry, schema: Schema) -> None:
        path = self._registry.shard_path(entry)
        try:
            generation = create_shard(path, schema)
            self._registry.add(name, entry)
        except (RestError, OSError):
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        self._collections[name] = Collection(name, schema, generation, self.limits)

    def update(self, name: str, request: rest.UpdateCollection) -> None:
        """Changes metadata (merged) and strict mode (merged); nothing else can be changed."""
        given = request.model_dump(mode="json", exclude_none=True)
        for field in given:
            if field not in _SETTABLE:
                raise unsupported(field)
        check_strict_mode(request.strict_mode_config)
        with self._meta:
            collection = self.get(name)
            entry = self._registry.state.collections[collection.name]
            merged = {f: {**(entry.create.get(f) or {}), **value} for f, value in given.items()}
            create = {**entry.create, **merged}
            schema = Schema.of(rest.CreateCollection.model_validate(create))
            self._registry.update(collection.name, replace(entry, create=create))
            collection.schema = schema

    def drop(self, name: str) -> bool:
        """Removes a collection, its files and its aliases. False when there is none; an alias is not
        followed, as in Qdrant."""
        with self._meta:
            entry = self._registry.state.collections.get(name)
            if entry is None:
                return False
            self._registry.remove(name)
            self._broken.pop(name, None)
            self._backoff.pop(name, None)
            collection = self._collections.pop(name, None)
        if collection is not None:
            collection.close(remove=True)
        shutil.rmtree(self._registry.root / entry.folder, ignore_errors=True)
        return True

    def change_aliases(self, request: rest.ChangeAliasesOperation) -> None:
        for action in request.actions:
            if isinstance(action, rest.CreateAliasOperation):
                check_name(action.create_alias.alias_name)
            elif isinstance(action, rest.RenameAliasOperation):
                check_name(action.rename_alias.new_alias_name)
        with self._meta:
            self._registry.change_aliases(request.actions)

    # looking after

    def _keep(self) -> None:
        """Flushes what was written and starts builds that are due, until `close`."""
        flushed = time.monotonic()
        while not self._stop.wait(self.limits.tick_seconds):
            now = time.monotonic()
            if due := now - flushed >= self.limits.flush_seconds:
                flushed = now
            for collection in list(self._collections.values()):
                if due and collection.dirty:
                    self._flush(collection)
                self._start_build(collection, now)

    def _flush(self, collection: Collection) -> None:
        try:
            collection.submit(collection.flush).add_done_callback(_log_failure)
        except RestError:
            log.debug("collection %s went away before its flush", collection.name)

    def _start_build(self, collection: Collection, now: float) -> None:
        backoff = self._backoff.setdefault(collection.name, Backoff(self.limits.optimize_backoff_seconds))
        if is_due(collection, backoff, now):
            collection.building = True
            self._builder.submit(self._build, collection, backoff).add_done_callback(_log_failure)

    def _build(self, collection: Collection, backoff: Backoff) -> None:
        started = time.monotonic()
        rebuild = Rebuild(
            collection,
            lambda folder: self._name_build(collection, folder),
            lambda points: self._commit_build(collection, points),
            self._stop,
        )
        try:
            built = rebuild.run()
        except BuildFailed as error:
            backoff.failed()
            collection.build_error = str(error)
            if not self._stop.is_set() and not collection.closed:
                log.warning("the index of %s was not rebuilt: %s", collection.name, error)
        else:
            backoff.succeeded()
            collection.build_error = None
            seconds = time.monotonic() - started
            log.info("index of %s: %s after %.1f s", collection.name, "rebuilt" if built else "kept", seconds)
        finally:
            collection.building = False

    def _name_build(self, collection: Collection, folder: Path) -> Path:
        entry = self._entry(collection)
        path = self._registry.shard_path(replace(entry, generation=entry.generation + 1))
        shutil.rmtree(path, ignore_errors=True)
        return folder.rename(path)

    def _commit_build(self, collection: Collection, points: int) -> None:
        with self._meta:
            entry = self._entry(collection)
            self._registry.update(
                collection.name, replace(entry, generation=entry.generation + 1, indexed_points=points)
            )

    def _entry(self, collection: Collection) -> disk.Entry:
        entry = self._registry.state.collections.get(collection.name)
        if entry is None or self._collections.get(collection.name) is not collection:
            raise no_collection(collection.name)
        return entry

    def close(self) -> None:
        """Stops builds, lets running work end, flushes, closes, gives the folder back. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._keeper.join()
        for pool in (self._builder, self.admin, self.readers):
            pool.shutdown(wait=True, cancel_futures=True)
        for name, collection in self._collections.items():
            try:
                collection.close()
            except RestError as error:
                log.error("collection %s did not close: %s", name, error.text)  # noqa: TRY400
        self._lock.release()


def _log_failure(future: Future[Any]) -> None:
    """Background work has no caller: what it raises must be seen somewhere."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("background work failed", exc_info=error)
