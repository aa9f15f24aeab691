"""Process groups: what is alive in one, and how it ends. Records that outlive the server find left-overs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

POLL = 0.05
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A child as `run/children.json` remembers it. `created` and `boot` (of the machine) are Unix seconds."""

    name: str
    pid: int
    pgid: int
    created: float
    boot: int


def record(name: str, pid: int) -> Record | None:
    """None when it is gone already. The child leads its group, so its pid is the group's."""
    try:
        return Record(name, pid, pid, psutil.Process(pid).create_time(), int(psutil.boot_time()))
    except psutil.NoSuchProcess:
        return None


def save(path: Path, records: Iterable[Record]) -> None:
    """Replaces the file as a whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps([asdict(item) for item in records]), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> list[Record]:
    """Empty when there is none. A file that cannot be read is reported and counts as none."""
    try:
        return [Record(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s cannot be read (%s): children of an earlier server may still run", path, error)
        return []


def members(pgid: int) -> list[psutil.Process]:
    """The living processes of a group; zombies do not count."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return found


def leftover(item: Record) -> bool:
    """Whether the group of `item` lives on, and is certainly ours.

    A pid is not given again while a group of that number lives. So: the leader is the recorded process, or
    the leader is gone and the rest is of its session and not older than it. All else is a stranger.
    """
    if abs(item.boot - int(psutil.boot_time())) > 5 or item.pgid != item.pid or item.pid <= 1:
        return False
    try:
        leader = psutil.Process(item.pid)
        if leader.status() != psutil.STATUS_ZOMBIE:
            return abs(leader.create_time() - item.created) < 0.02 and os.getpgid(item.pid) == item.pgid
    except (psutil.Error, ProcessLookupError):
        pass
    rest = members(item.pgid)
    return bool(rest) and all(_belongs(process, item) for process in rest)


def _belongs(process: psutil.Process, item: Record) -> bool:
    try:
        mine = process.uids().real == os.getuid()
        return mine and os.getsid(process.pid) == item.pgid and process.create_time() >= item.created - 0.02
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False


def send(pgid: int, number: signal.Signals) -> None:
    """A signal to a whole group; nothing happens when it is empty."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group of zombies only.
        return


def reap(pgid: int) -> None:
    """Collects orphans that became ours: the server may be the first process of a container."""
    try:
        while os.waitpid(-pgid, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


async def gone(pgid: int, seconds: float) -> bool:
    """Waits until nothing of the group lives. Call it only when its leader has been waited for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        reap(pgid)
        if not members(pgid):
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL)


async def end_group(pgid: int, grace: float) -> bool:
    """SIGTERM, and SIGKILL after `grace` seconds, for what a dead leader left. False when something resists.

    The grace lets Python's resource tracker remove shared memory, which a plain SIGKILL would leave for ever.
    """
    if await gone(pgid, 0):
        return True
    send(pgid, signal.SIGTERM)
    if await gone(pgid, grace):
        return True
    send(pgid, signal.SIGKILL)
    return await gone(pgid, KILL_SECONDS)


async def sweep(records: Sequence[Record], *, grace: float = 3.0) -> list[str]:
    """Ends what a dead server left running: SIGTERM, then SIGKILL. Returns the names of what was found."""
    found = [item for item in records if leftover(item)]
    for item in found:
        log.warning("%s (pid %d) was left by a server that died; ending it", item.name, item.pid)
        send(item.pgid, signal.SIGTERM)
    for item in found:
        await end_group(item.pgid, grace)
    return [item.name for item in found]
