"""Log files of bounded size that another process writes to.

The writer holds its file open in append mode, so the file is emptied in place instead of renamed: what was in
it moves to NAME.1. At most twice the limit lies on the disk.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


def open_log(path: Path) -> IO[bytes]:
    """For appending, readable by the owner only: logs quote requests."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def trim(path: Path, limit: int) -> bool:
    """Moves the newest `limit` bytes to NAME.1 when there are more. Lines written meanwhile may be lost."""
    try:
        if path.stat().st_size <= limit:
            return False
        with path.open("r+b") as source:
            source.seek(-limit, os.SEEK_END)
            newest = source.read(limit)
            older = path.with_name(path.name + ".1")
            with os.fdopen(os.open(older, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
                target.write(newest)
            source.truncate(0)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s cannot be shortened: %s", path, error)
        return False
    return True
