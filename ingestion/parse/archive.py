"""Zip containers, opened only after their sizes were summed, and read under a budget."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from rag.errors import DocumentError

MAX_TOTAL = 500_000_000
MAX_ENTRIES = 20_000
MAX_RATIO = 200
# Below this a high ratio is harmless: small files of repeated XML reach 300.
RATIO_FLOOR = 100_000_000
_CHUNK = 1 << 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """A read-only zip. `read` and `stream` share one budget, because declared sizes can lie."""

    def __init__(self, path: Path, *, max_total: int = MAX_TOTAL, max_entries: int = MAX_ENTRIES) -> None:
        with _zip_errors():
            self._zip = zipfile.ZipFile(path)
        self._infos = {info.filename.lstrip("/"): info for info in self._zip.infolist()}
        self._folded = {name.lower().replace("\\", "/"): name for name in self._infos}
        self._max_total = max_total
        self._budget = max_total
        self._entries: set[IO[bytes]] = set()
        try:
            self._check(path.stat().st_size, max_entries)
        except DocumentError:
            self._zip.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._infos)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A reader that gave up in the middle of a part has left it open.
        for entry in self._entries:
            entry.close()
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The whole entry; KeyError where there is none. DocumentError too_large or corrupt_document."""
        return b"".join(self.stream(name))

    def read_optional(self, name: str) -> bytes | None:
        return self.read(name) if name in self else None

    def stream(self, name: str) -> Iterator[bytes]:
        """The entry in pieces of 64 KiB."""
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        info = self._infos[found]
        if info.flag_bits & 0x1:
            raise DocumentError("needs_password", _ENCRYPTED)
        if info.compress_type not in _METHODS:
            raise DocumentError("unsupported_document", _METHOD)
        with _zip_errors(), self._zip.open(info) as entry:
            self._entries.add(entry)
            while piece := entry.read(_CHUNK):
                self._spend(len(piece))
                yield piece
        self._entries.discard(entry)

    def _find(self, name: str) -> str | None:
        """Zip names are case-sensitive, but producers are not: fall back to a case-folded match."""
        name = name.lstrip("/")
        return name if name in self._infos else self._folded.get(name.lower())

    def _check(self, size: int, max_entries: int) -> None:
        total = sum(info.file_size for info in self._infos.values())
        packed = sum(info.compress_size for info in self._infos.values())
        if len(self._zip.infolist()) > max_entries:
            raise DocumentError(
                "too_large", f"The file holds more than {max_entries:,} parts. Split it into smaller files."
            )
        if total > self._max_total:
            raise self._too_large()
        if total > RATIO_FLOOR and total > max(size, 1) * MAX_RATIO:
            raise self._too_large()
        if packed > size:
            raise DocumentError("corrupt_document", "The file's parts overlap. " + _SAVE_AGAIN)

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise self._too_large()

    def _too_large(self) -> DocumentError:
        return DocumentError(
            "too_large",
            f"The file unpacks to more than {self._max_total // 1_000_000:,} MB or is packed suspiciously "
            "tight. "
            "Split it into smaller files.",
        )


_SAVE_AGAIN = "Open it in the program that made it, save it again and upload the new file."
_ENCRYPTED = "The file is protected with a password. Remove the password and upload it again."
_METHOD = "The file is packed with a method other than deflate. " + _SAVE_AGAIN


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, ValueError) as error:
        raise DocumentError("corrupt_document", "The file is damaged or incomplete. " + _SAVE_AGAIN) from error
    except OSError as error:
        # A part that claims to begin before the file does. Any other fault is the disk's and not the document's.
        if error.errno != errno.EINVAL:
            raise
        raise DocumentError("corrupt_document", "The file is damaged or incomplete. " + _SAVE_AGAIN) from error
    except NotImplementedError as error:
        raise DocumentError("unsupported_document", _METHOD) from error
