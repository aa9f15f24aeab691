"""What survives: the registry, the lock, the sweep, sparse copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.http import models as rest

from rag.vectord import registry as disk
from rag.vectord import service as module
from rag.vectord.errors import AlreadyExists, BadInput, EngineFault, NotFound, Unavailable
from rag.vectord.files import copy_sparse, copy_tree, write_json
from rag.vectord.limits import Limits
from rag.vectord.lock import FolderInUse, FolderLock
from rag.vectord.service import Service

from .conftest import OpenService

CREATE = rest.CreateCollection(vectors=rest.VectorParams(size=2, distance=rest.Distance.DOT))


def alias(collection: str, name: str) -> rest.ChangeAliasesOperation:
    created = rest.CreateAlias(collection_name=collection, alias_name=name)
    return rest.ChangeAliasesOperation(actions=[rest.CreateAliasOperation(create_alias=created)])


def test_collections_and_aliases_survive_a_restart(open_service: OpenService) -> None:
    service = open_service()
    service.create("ä b", CREATE)
    service.change_aliases(alias("ä b", "live"))
    service.close()
    again = open_service()
    assert again.names() == ["ä b"]
    assert again.get("live").name == "ä b"
    assert again.drop("ä b")
    again.close()
    assert open_service().aliases() == {}


def test_aliases_and_collections_share_one_space_of_names(service: Service) -> None:
    service.create("a", CREATE)
    service.change_aliases(alias("a", "x"))
    with pytest.raises(BadInput, match="Alias with the same name"):
        service.create("x", CREATE)
    with pytest.raises(AlreadyExists):
        service.change_aliases(alias("a", "a"))
    with pytest.raises(NotFound):
        service.change_aliases(alias("x", "y"))
    renamed = rest.RenameAlias(old_alias_name="none", new_alias_name="y")
    with pytest.raises(NotFound, match="none"):
        service.change_aliases(rest.ChangeAliasesOperation(actions=[rest.RenameAliasOperation(rename_alias=renamed)]))
    assert not service.drop("x"), "an alias is not followed by a delete"
    assert service.aliases() == {"x": "a"}


def test_a_crash_between_folder_and_registry_leaves_the_name_free(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = open_service()
    service.create("kept", CREATE)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            service.create("lost", CREATE)
    service.close()
    folders = tmp_path / "data" / "collections"
    assert len(list(folders.iterdir())) == 2
    (folders / "someone's notes").mkdir()
    again = open_service()
    assert again.names() == ["kept"]
    assert len(list(folders.iterdir())) == 2, "only folders of our own making are swept"
    again.create("lost", CREATE)
    assert again.names() == ["kept", "lost"]


def test_a_create_that_the_disk_refuses_leaves_nothing(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = open_service()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            service.create("c", CREATE)
    assert list((tmp_path / "data" / "collections").iterdir()) == []
    service.create("c", CREATE)


def test_garbage_of_a_build_is_swept(open_service: OpenService, tmp_path: Path) -> None:
    service = open_service()
    service.create("c", CREATE)
    service.close()
    folder = next((tmp_path / "data" / "collections").iterdir())
    (folder / ("build-" + "0" * 32) / "deep").mkdir(parents=True)
    (folder / "gen-1").mkdir()
    assert open_service().describe("c")["points_count"] == 0
    assert [path.name for path in folder.iterdir()] == ["gen-0"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"version":1}', b'{"version":1,"collections":{"a":{}},"aliases":{}}']
)
def test_a_damaged_registry_stops_the_start_and_touches_nothing(
    open_service: OpenService, tmp_path: Path, text: bytes
) -> None:
    service = open_service()
    service.create("c", CREATE)
    service.close()
    (tmp_path / "data" / "registry.json").write_bytes(text)
    for _ in range(2):  # the lock was given back, too
        with pytest.raises(disk.BrokenRegistry, match="damaged"):
            open_service()
    assert len(list((tmp_path / "data" / "collections").glob("*/gen-0"))) == 1


def test_a_lost_registry_is_not_taken_for_an_empty_store(open_service: OpenService, tmp_path: Path) -> None:
    service = open_service()
    service.create("c", CREATE)
    service.close()
    (tmp_path / "data" / "registry.json").unlink()
    with pytest.raises(disk.BrokenRegistry, match="missing"):
        open_service()


def test_a_registry_of_the_future_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "registry.json", {"version": 2, "collections": {}, "aliases": {}})
    with pytest.raises(disk.BrokenRegistry, match="version 2"):
        disk.Registry(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "emptied", "config"])
def test_one_broken_shard_does_not_take_the_others_down(open_service: OpenService, tmp_path: Path, damage: str) -> None:
    service = open_service()
    service.create("good", CREATE)
    service.create("bad", CREATE)
    entry = service._registry.state.collections["bad"]
    path = service._registry.shard_path(entry)
    service.close()
    if damage == "config":
        (path / "edge_config.json").write_bytes(b"{broken")
    else:
        shutil.rmtree(path)
        if damage == "emptied":
            path.mkdir()
    again = open_service()
    assert again.describe("good")["points_count"] == 0
    assert again.names() == ["bad", "good"]
    with pytest.raises(Unavailable, match="Restore it from a backup"):
        again.get("bad")
    assert again.drop("bad")
    again.create("bad", CREATE)
    assert again.describe("bad")["points_count"] == 0


def test_a_refused_configuration_leaves_the_name_free(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineFault("no")

    with monkeypatch.context() as patch:
        patch.setattr(module, "create_shard", refuse)
        with pytest.raises(EngineFault):
            service.create("c", CREATE)
    service.create("c", CREATE)


def test_the_lock_names_its_owner_and_is_given_back(tmp_path: Path) -> None:
    held = FolderLock(tmp_path / "new")
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
        FolderLock(tmp_path / "new")
    held.release()
    held.release()
    FolderLock(tmp_path / "new").release()


def test_the_lock_falls_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from rag.vectord.lock import FolderLock; "
        "FolderLock(pathlib.Path(sys.argv[1])); print('held', end='', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).resolve().parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.read(4) == b"held"
        with pytest.raises(FolderInUse, match=str(child.pid)):
            FolderLock(tmp_path)
        child.kill()
    FolderLock(tmp_path).release()


def test_the_data_folder_is_private(open_service: OpenService, tmp_path: Path) -> None:
    service = open_service()
    service.create("c", CREATE)
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data" / "registry.json").stat().st_mode & 0o077 == 0


def test_json_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def crash(_: int) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="gone"):
            write_json(path, {"a": 2})
    assert orjson.loads(path.read_bytes()) == {"a": 1}


@given(parts=st.lists(st.tuples(st.binary(max_size=50), st.integers(0, 3_000_000)), max_size=4))
def test_a_sparse_copy_is_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, int]]
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    with (folder / "a").open("wb") as out:
        for data, hole in parts:
            out.write(data)
            out.truncate(out.seek(hole, os.SEEK_CUR))
    copy_sparse(folder / "a", folder / "b")
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()
    shutil.rmtree(folder)


def test_a_sparse_copy_keeps_its_holes(tmp_path: Path) -> None:
    source = tmp_path / "tree" / "deep"
    source.mkdir(parents=True)
    with (source / "a").open("wb") as out:
        out.truncate(64 * 1024 * 1024)
        out.seek(32 * 1024 * 1024)
        out.write(b"x" * 5_000_000)
    copy_tree(tmp_path / "tree", tmp_path / "copy")
    copied = (tmp_path / "copy" / "deep" / "a").stat()
    assert copied.st_size == 64 * 1024 * 1024
    assert copied.st_blocks * 512 < 8 * 1024 * 1024


def test_limits_are_read_from_the_environment() -> None:
    read = Limits.from_environment({"VECTORD_OPTIMIZE_THRESHOLD": "5", "VECTORD_FLUSH_SECONDS": "0.5"})
    assert (read.optimize_threshold, read.flush_seconds) == (5, 0.5)
    assert Limits.from_environment({}) == Limits()


@pytest.mark.parametrize("raw", ["-1", "x", "1.5", "inf", "nan", "1e400"])
def test_a_bad_limit_is_named(raw: str) -> None:
    with pytest.raises(ValueError, match="VECTORD_READERS="):
        Limits.from_environment({"VECTORD_READERS": raw})
    if raw in ("inf", "nan", "x", "-1", "1e400"):
        with pytest.raises(ValueError, match="VECTORD_FLUSH_SECONDS="):
            Limits.from_environment({"VECTORD_FLUSH_SECONDS": raw})
