"""One server per data folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import ConfigurationError

NAME = "server.lock"
TRIES = 5
PAUSE = 0.05

_held: set[int] = set()


def _close_in_child() -> None:
    """A fork shares the locked file: without this a child that lives on would keep the folder locked."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_child)


def prepare_data_dir(folder: Path) -> Path:
    """The absolute folder, made for its owner only. Raises ConfigurationError when it cannot be used."""
    folder = folder.expanduser().resolve()
    if not set("?#%").isdisjoint(str(folder)):
        raise ConfigurationError(
            f"{folder} cannot hold data: its name has one of ? # %, which mean something else in URLs; "
            "choose another --data-dir"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be used as the data folder ({error.strerror}); choose another --data-dir"
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{folder} is not writable for this user; change its owner or choose another --data-dir"
        )
    return folder


@contextmanager
def server_lock(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process. Raises ConfigurationError when another server has it.

    The lock belongs to the process, not to the file: what a killed server leaves behind is no obstacle. It is
    not inherited by children, neither through exec nor through fork.
    """
    descriptor = _open(folder)
    try:
        _take(descriptor, folder)
        _held.add(descriptor)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _open(folder: Path) -> int:
    try:
        return os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{folder / NAME} cannot be opened ({error.strerror}); choose another --data-dir"
        ) from error


def _flock(descriptor: int) -> None:
    """Tries for a moment: who only looks whether a server runs holds a shared lock for that long."""
    for _ in range(TRIES - 1):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _take(descriptor: int, folder: Path) -> None:
    try:
        _flock(descriptor)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise ConfigurationError(
            f"another server (pid {owner}) is using {folder}; stop it or choose another --data-dir"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be locked ({error.strerror}); choose a --data-dir on a local disk"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
