"""The folder of bytes: whole values or none, no way out of the folder, nothing left after a deletion."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.blobs import (
    Blobs,
    FolderBlobs,
    check_key,
    document_prefix,
    open_blobs,
    original_key,
    text_key,
)
from rag.errors import ConfigurationError, InvalidRequest, NotFound, Unavailable
from tests.ingestion.doubles import pieces


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(blobs: FolderBlobs) -> list[str]:
    return sorted(p.relative_to(blobs.root).as_posix() for p in blobs.root.rglob("*") if p.is_file())


async def test_what_is_put_can_be_read_in_every_way(blobs: FolderBlobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    want = (hashlib.sha256(b"hello").hexdigest(), 5)
    for key, data in (("a/bytes", b"hello"), ("a/file", source), ("a/stream", pieces(b"he", b"", b"llo"))):
        assert await blobs.put(key, data) == want  # type: ignore[arg-type]
        assert await blobs.read(key) == b"hello"
        assert b"".join([block async for block in blobs.stream(key)]) == b"hello"
        async with blobs.local_path(key) as path:
            assert path.read_bytes() == b"hello"
    assert await blobs.keys("a") == ["a/bytes", "a/file", "a/stream"]
    assert files(blobs) == ["a/bytes", "a/file", "a/stream"]


async def test_a_stream_that_breaks_leaves_the_old_value(blobs: FolderBlobs) -> None:
    await blobs.put("k", b"old")

    async def broken():  # type: ignore[no-untyped-def]
        yield b"new"
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        await blobs.put("k", broken())
    assert await blobs.read("k") == b"old"
    assert files(blobs) == ["k"]


async def test_a_cancelled_put_leaves_nothing(blobs: FolderBlobs) -> None:
    begun = asyncio.Event()

    async def endless():  # type: ignore[no-untyped-def]
        yield b"x"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put("k", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(blobs) == []


async def test_what_is_missing_is_not_found(blobs: FolderBlobs) -> None:
    assert not await blobs.exists("no/such")
    assert await blobs.delete("no/such") is False
    assert await blobs.delete_prefix("no") == 0
    assert await blobs.keys("no") == []
    for read in (blobs.read("no/such"), blobs.copy("no/such", "b"), anext(aiter(blobs.stream("no/such")))):
        with pytest.raises(NotFound) as caught:
            await read
        assert caught.value.code == "blob_not_found"
    with pytest.raises(NotFound):
        async with blobs.local_path("no/such"):
            pass


async def test_a_copy_lives_on_without_its_source(blobs: FolderBlobs) -> None:
    await blobs.put("a", b"1")
    await blobs.copy("a", "b/c")
    await blobs.copy("a", "b/c")  # again: a link onto itself must leave no debris
    await blobs.put("a", b"2")
    assert await blobs.delete("a")
    assert await blobs.read("b/c") == b"1"
    assert files(blobs) == ["b/c"]


async def test_a_copy_works_where_links_do_not(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    await blobs.put("a", b"1")
    await blobs.copy("a", "b")
    assert await blobs.read("b") == b"1"


async def test_a_prefix_is_a_folder_and_not_a_beginning(blobs: FolderBlobs) -> None:
    for key in ("d/kb_1/x", "d/kb_1/y/z", "d/kb_10/x"):
        await blobs.put(key, b"")
    assert await blobs.delete_prefix("d/kb_1") == 2
    assert await blobs.keys("d") == ["d/kb_10/x"]
    assert not (blobs.root / "d/kb_1").exists()
    await blobs.delete("d/kb_10/x")
    assert not (blobs.root / "d").exists()


async def test_puts_and_deletions_at_the_same_time_do_not_break_each_other(blobs: FolderBlobs) -> None:
    async def put(n: int) -> None:
        await blobs.put(f"d/k/{n}", b"x")

    async def remove() -> None:
        await blobs.delete_prefix("d/k")

    await asyncio.gather(*(put(n) for n in range(40)), *(remove() for _ in range(20)))
    await blobs.delete_prefix("d/k")
    assert files(blobs) == []


async def test_a_full_disk_is_a_readable_error(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left") as caught:
        await blobs.put("k", b"x")
    assert caught.value.code == "blob_store_unavailable"
    assert files(blobs) == []


async def test_debris_of_a_killed_process_is_removed(blobs: FolderBlobs) -> None:
    await blobs.put("k", b"x")
    debris = blobs.root / ".incoming" / "half"
    debris.write_bytes(b"ha")
    assert await blobs.discard_stale(time.time() - 60) == 0
    assert await blobs.discard_stale(time.time() + 60) == 1
    assert await FolderBlobs(blobs.root / "other").discard_stale(time.time()) == 0
    assert files(blobs) == ["k"]


HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "a/../b",
    "..",
    "a//b",
    "a/",
    "./a",
    ".incoming/x",
    "a\\b",
    "a\x00b",
    "a b",
    "ä",
    "a/" + "b" * 256,
    "a/" * 600,
    "a\n",
]


@pytest.mark.parametrize("key", HOSTILE)
async def test_keys_cannot_leave_the_folder(blobs: FolderBlobs, key: str) -> None:
    for call in (blobs.read, blobs.exists, blobs.delete, blobs.delete_prefix, blobs.keys):
        with pytest.raises(InvalidRequest):
            await call(key)
    with pytest.raises(InvalidRequest):
        await blobs.put(key, b"x")


@given(st.text())
def test_every_tenant_has_a_place_of_its_own_inside(tenant: str) -> None:
    try:
        prefix = document_prefix(tenant, "kb_1", "doc_1")
    except (InvalidRequest, UnicodeEncodeError):
        return
    if tenant:
        assert check_key(original_key(prefix, 1)).count("/") == 5
        assert text_key(prefix, 12).endswith("/12/text.txt")
    assert document_prefix(tenant + "x", "kb_1") != document_prefix(tenant, "kb_1")


def test_urls_name_a_folder(tmp_path: Path) -> None:
    def root(url: str) -> Path:
        blobs: Blobs = open_blobs(url)
        assert isinstance(blobs, FolderBlobs)
        return blobs.root

    assert root(str(tmp_path)) == root(f"file://{tmp_path}") == tmp_path
    assert root(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    for url in ("s3://bucket", "gs://b", "https://x/y", "", "file://elsewhere/x"):
        with pytest.raises(ConfigurationError):
            open_blobs(url)
