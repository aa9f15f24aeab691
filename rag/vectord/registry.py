"""What must survive a restart besides the shards: which collections exist, where they lie, the aliases.

    DIR/lock
    DIR/registry.json
    DIR/collections/<folder>/gen-<n>/…      the shard
    DIR/collections/<folder>/build-…        a rebuild in progress, worthless after a crash

One JSON file, replaced atomically, is the only truth. Folder names are random and never derived from a
collection's name, so a crash between making a folder and recording it leaves garbage that no name can
run into; `sweep` removes it at the next start.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from qdrant_client.http import models as rest

from rag.vectord.errors import AlreadyExists, BadInput, NotFound, no_collection
from rag.vectord.files import write_json

VERSION = 1
_OURS = re.compile(r"(c-[0-9a-f]{32}|gen-\d+|build-[0-9a-f]{32})\Z")


class BrokenRegistry(RuntimeError):
    """registry.json cannot be read, or is gone while collections are there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One collection. `create` is the JSON of the request that made it; `indexed_points` how many points
    the current generation held when its index was built."""

    folder: str
    create: dict[str, Any]
    created_at: str
    generation: int = 0
    indexed_points: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot, replaced as a whole: a reader never sees half of an alias change."""

    collections: dict[str, Entry] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The collection behind `name`, which may be an alias. Raises NotFound."""
        target = self.aliases.get(name, name)
        if target not in self.collections:
            raise no_collection(name)
        return target


def new_folder() -> str:
    return f"c-{uuid.uuid4().hex}"


class Registry:
    """Reads and replaces registry.json. Not thread-safe: the service calls it under one lock."""

    def __init__(self, data: Path) -> None:
        self._path = data / "registry.json"
        self.root = data / "collections"
        self.root.mkdir(exist_ok=True, mode=0o700)
        if not self._path.exists():
            self._refuse_orphans()
            self._store(State())
        self.state = self._load()

    def _refuse_orphans(self) -> None:
        if any(self.root.iterdir()):
            raise BrokenRegistry(
                f"{self._path} is missing although {self.root} has collections: restore it from the backup "
                "that the folder came from, or move the folder away to start empty"
            )

    def _load(self) -> State:
        try:
            raw = orjson.loads(self._path.read_bytes())
            if raw["version"] != VERSION:
                raise BrokenRegistry(f"{self._path} is of version {raw['version']}, this program reads {VERSION}")
            return State({n: Entry(**e) for n, e in raw["collections"].items()}, dict(raw["aliases"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenRegistry(
                f"{self._path} is damaged ({error}): restore it from a backup; the shards are untouched"
            ) from error

    def _store(self, state: State) -> None:
        collections = {
            name: {slot: getattr(entry, slot) for slot in Entry.__slots__} for name, entry in state.collections.items()
        }
        write_json(self._path, {"version": VERSION, "collections": collections, "aliases": state.aliases})

    def _replace(self, state: State) -> None:
        self._store(state)
        self.state = state

    def shard_path(self, entry: Entry) -> Path:
        return self.root / entry.folder / f"gen-{entry.generation}"

    def check_free(self, name: str) -> None:
        """Raises when a collection may not be called `name`."""
        if name in self.state.collections:
            raise AlreadyExists(f"Collection `{name}` already exists!")
        if name in self.state.aliases:
            raise BadInput(f"Can't create collection with name {name}. Alias with the same name already exists")

    def add(self, name: str, entry: Entry) -> None:
        self.check_free(name)
        self._replace(replace(self.state, collections={**self.state.collections, name: entry}))

    def update(self, name: str, entry: Entry) -> None:
        if name not in self.state.collections:
            raise no_collection(name)
        self._replace(replace(self.state, collections={**self.state.collections, name: entry}))

    def remove(self, name: str) -> None:
        """Forgets a collection and every alias of it."""
        collections = {n: e for n, e in self.state.collections.items() if n != name}
        aliases = {a: n for a, n in self.state.aliases.items() if n != name}
        self._replace(State(collections, aliases))

    def change_aliases(self, actions: Iterable[rest.AliasOperations]) -> None:
        """All of `actions`, in order, or none of them."""
        aliases = dict(self.state.aliases)
        for action in actions:
            self._change(aliases, action)
        self._replace(replace(self.state, aliases=aliases))

    def _change(self, aliases: dict[str, str], action: rest.AliasOperations) -> None:
        if isinstance(action, rest.CreateAliasOperation):
            created = action.create_alias
            self._check_target(created.collection_name, created.alias_name)
            aliases[created.alias_name] = created.collection_name
        elif isinstance(action, rest.DeleteAliasOperation):
            aliases.pop(action.delete_alias.alias_name, None)
        else:
            renamed = action.rename_alias
            if renamed.old_alias_name not in aliases:
                raise NotFound(f"Alias {renamed.old_alias_name} does not exists!")
            self._check_target(aliases[renamed.old_alias_name], renamed.new_alias_name)
            aliases[renamed.new_alias_name] = aliases.pop(renamed.old_alias_name)

    def _check_target(self, collection: str, alias: str) -> None:
        if collection not in self.state.collections:
            raise no_collection(collection)
        if alias in self.state.collections:
            raise AlreadyExists(f"Collection `{alias}` already exists!")

    def sweep(self) -> list[Path]:
        """Removes folders that a crash left behind and nothing refers to; returns them.
        Only names of our own making are touched."""
        kept = {self.shard_path(entry) for entry in self.state.collections.values()}
        parents = {path.parent for path in kept}
        found = [p for p in self.root.iterdir() if p not in parents]
        for parent in parents:
            if parent.exists():
                found += [p for p in parent.iterdir() if p not in kept]
        garbage = [p for p in found if _OURS.match(p.name)]
        for path in garbage:
            shutil.rmtree(path)
        return garbage
