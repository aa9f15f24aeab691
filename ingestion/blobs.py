"""Bytes: originals and canonical texts. The only module that touches them.

Keys are paths of plain segments; a document owns everything below its prefix:
`documents/{tenant}/{knowledge base}/{document}/{version}/original` and `…/text.txt`.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from rag.errors import ConfigurationError, InvalidRequest, NotFound, Unavailable

_SEGMENT = re.compile(r"[A-Za-z0-9_%@+=~-][A-Za-z0-9_.%@+=~-]{0,254}")
_BLOCK = 1 << 20
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Stored(NamedTuple):
    """What was written, counted while writing."""

    sha256: str
    size_bytes: int


class Blobs(Protocol):
    """A store of immutable values: a put replaces the whole value at once, or nothing."""

    async def put(self, key: str, data: AsyncIterator[bytes] | bytes | Path) -> Stored: ...
    async def read(self, key: str) -> bytes: ...
    def stream(self, key: str) -> AsyncIterator[bytes]: ...
    def local_path(self, key: str) -> AbstractAsyncContextManager[Path]:
        """A file with the bytes, for readers that need one; not to be written to."""
        ...

    async def copy(self, source: str, target: str) -> None: ...
    async def delete(self, key: str) -> bool: ...
    async def delete_prefix(self, prefix: str) -> int:
        """Removes everything below `prefix/`; returns how many values went."""
        ...

    async def exists(self, key: str) -> bool: ...
    async def keys(self, prefix: str) -> list[str]:
        """The keys below `prefix/`, sorted."""
        ...

    async def discard_stale(self, older_than: float) -> int:
        """Removes half-written values that a killed process left, last touched before `older_than` (Unix
        s)."""
        ...


def document_prefix(tenant: str, kb_id: str, document_id: str | None = None) -> str:
    """Where a document, or a whole knowledge base, keeps its bytes. A tenant may be any text."""
    owner = quote(tenant, safe="").replace(".", "%2E")
    if len(owner) > 255:
        raise InvalidRequest("the tenant's name is too long to store documents under; choose a shorter one")
    parts = ["documents", owner, kb_id, *([document_id] if document_id else [])]
    return "/".join(parts)


def original_key(prefix: str, version: int) -> str:
    return f"{prefix}/{version}/original"


def text_key(prefix: str, version: int) -> str:
    return f"{prefix}/{version}/text.txt"


def check_key(key: str) -> str:
    """The key, or InvalidRequest: relative, no empty, hidden or dotted segment, no odd character."""
    if len(key) > 1024 or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InvalidRequest(f"{key[:80]!r} is not a key of the blob store; use letters, digits and - _ . /")
    return key


def open_blobs(url: str) -> Blobs:
    """The store that BLOB_URL names: a folder, or `file:///folder`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError("BLOB_URL file://host/… names another machine; write file:///folder")
        return FolderBlobs(Path(unquote(parts.path)))
    if "://" in url or not url.strip():
        raise ConfigurationError(
            f"BLOB_URL has the scheme {parts.scheme!r}; supported now are a folder path and file:///folder"
        )
    return FolderBlobs(Path(url))


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound(f"the blob store has no {key!r}; it was deleted", code="blob_not_found") from error
    except OSError as error:
        raise Unavailable(
            f"the blob store failed ({error.strerror or error}); check BLOB_URL's folder and its free space",
            code="blob_store_unavailable",
        ) from error


class FolderBlobs:
    """Blobs in a folder. Values appear by rename, after fsync: a crash leaves the old value or none."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._incoming = self.root / ".incoming"

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    async def _run(self, key: str, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """In a thread. A cancelled caller waits until the disk is quiet: nothing is written behind its
        back."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
        with _translated(key):
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

    # writing -------------------------------------------------------------------------------------
    async def put(self, key: str, data: AsyncIterator[bytes] | bytes | Path) -> Stored:
        target = self._path(key)
        if isinstance(data, bytes):
            return await self._run(key, self._write, target, iter([data]))
        if isinstance(data, Path):
            return await self._run(key, self._write, target, _blocks_of(data))
        return await self._put_stream(key, target, data)

    def _write(self, target: Path, blocks: Iterator[bytes]) -> Stored:
        with self._new_file() as (path, file):
            digest, size = hashlib.sha256(), 0
            for block in blocks:
                file.write(block)
                digest.update(block)
                size += len(block)
            self._publish(path, file, target)
        return Stored(digest.hexdigest(), size)

    async def _put_stream(self, key: str, target: Path, data: AsyncIterator[bytes]) -> Stored:
        with _translated(key):
            made = self._new_file()
            path, file = await asyncio.to_thread(made.__enter__)
        try:
            digest, size = hashlib.sha256(), 0
            async for block in data:  # outside `_translated`: the source's failures are not the store's
                await self._run(key, _append, file, digest, block)
                size += len(block)
            await self._run(key, self._publish, path, file, target)
        finally:
            await asyncio.to_thread(made.__exit__, None, None, None)
        return Stored(digest.hexdigest(), size)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A file of our own that is gone afterwards, unless it has been published."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / uuid4().hex
        try:
            with path.open("xb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def _publish(self, path: Path, file: BinaryIO, target: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        self._rename(path, target)

    def _rename(self, path: Path, target: Path) -> None:
        """Into place, whatever empties the folder meanwhile (`delete_prefix` of a neighbour)."""
        for attempt in range(20):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            except FileNotFoundError:
                if attempt == 19 or not path.exists():
                    raise
            else:
                return _sync_folder(target.parent)
        return None

    async def copy(self, source: str, target: str) -> None:
        """A hard link where the file system can: values are never changed in place."""
        await self._run(source, self._copy, self._path(source), self._path(target))

    def _copy(self, source: Path, target: Path) -> None:
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / uuid4().hex
        try:
            try:
                path.hardlink_to(source)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                shutil.copyfile(source, path)
            self._rename(path, target)
        finally:
            # Renaming one link of a file onto another link of it does nothing and leaves the first.
            path.unlink(missing_ok=True)

    async def delete(self, key: str) -> bool:
        return await self._run(key, self._delete, self._path(key))

    def _delete(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        _remove_empty(path.parent, self.root)
        return True

    async def delete_prefix(self, prefix: str) -> int:
        return await self._run(prefix, self._delete_tree, self._path(prefix))

    def _delete_tree(self, top: Path) -> int:
        count = 0
        for folder, _, files in os.walk(top, topdown=False):
            for name in files:
                try:
                    Path(folder, name).unlink()
                    count += 1
                except FileNotFoundError:  # another deletion of the same prefix was faster
                    continue
            _remove_empty(Path(folder), self.root)
        _remove_empty(top, self.root)
        return count

    # reading -------------------------------------------------------------------------------------
    async def read(self, key: str) -> bytes:
        return await self._run(key, self._path(key).read_bytes)

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        file = await self._run(key, self._path(key).open, "rb")
        try:
            while block := await self._run(key, file.read, _BLOCK):
                yield block
        finally:
            file.close()

    @asynccontextmanager
    async def local_path(self, key: str) -> AsyncIterator[Path]:
        if not await self.exists(key):
            raise NotFound(f"the blob store has no {key!r}; it was deleted", code="blob_not_found")
        yield self._path(key)

    async def exists(self, key: str) -> bool:
        return await self._run(key, self._path(key).is_file)

    async def keys(self, prefix: str) -> list[str]:
        return await self._run(prefix, self._list, self._path(prefix))

    def _list(self, top: Path) -> list[str]:
        found = (Path(folder, name) for folder, _, files in os.walk(top) for name in files)
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    # upkeep --------------------------------------------------------------------------------------
    async def discard_stale(self, older_than: float) -> int:
        """Removes half-written files that a killed process left, last touched before `older_than` (Unix
        s)."""
        return await self._run(".incoming", self._discard_stale, older_than)

    def _discard_stale(self, older_than: float) -> int:
        if not self._incoming.is_dir():
            return 0
        stale = [path for path in self._incoming.iterdir() if path.stat().st_mtime < older_than]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


def _append(file: BinaryIO, digest: hashlib._Hash, block: bytes) -> None:
    file.write(block)
    digest.update(block)


def _blocks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # deleted right after we wrote into it: nothing to keep
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_empty(folder: Path, root: Path) -> None:
    """Removes a folder and the parents that became empty with it, below `root`."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent
