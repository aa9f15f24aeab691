"""Small file work that must be right: atomic JSON, sparse copies."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import orjson

_BLOCK = 1024 * 1024


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` in one step: a reader, or a crash, sees the old text or the new, never a part."""
    temporary = path.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and new entries in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder of regular files, holes as holes: shards are mostly preallocated nothing."""
    target.mkdir(mode=0o700)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name)
        else:
            copy_sparse(Path(entry.path), target / entry.name)


def copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as src, target.open("xb", buffering=0) as dst:
        size = os.fstat(src.fileno()).st_size
        os.ftruncate(dst.fileno(), size)
        at = 0
        while at < size:
            try:
                start = os.lseek(src.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                raise
            at = os.lseek(src.fileno(), start, os.SEEK_HOLE)
            _copy_range(src.fileno(), dst.fileno(), start, at)


def _copy_range(src: int, dst: int, start: int, end: int) -> None:
    while start < end:
        block = os.pread(src, min(_BLOCK, end - start), start)
        if not block:
            return
        written = 0
        while written < len(block):
            written += os.pwrite(dst, block[written:], start + written)
        start += len(block)
