"""Identifiers: a prefix, the time in microseconds (13 hex digits), and chance (11 hex digits).

The time makes ids sort in the order of their making, so a listing can go on after a cursor whose row has been
deleted meanwhile (a client that deletes while it pages). Ids are no secrets: every query names the tenant.
"""

from __future__ import annotations

import re
import secrets
import threading
import time

from rag.errors import InvalidRequest

_lock = threading.Lock()
_last = 0


def _tick() -> int:
    """Microseconds since 1970, never the same twice in this process."""
    global _last  # noqa: PLW0603 - one counter per process is the point
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        return _last


def new_id(prefix: str) -> str:
    """`kb`, `ds`, `doc`, `job` or `item`, then 24 hex digits."""
    return f"{prefix}_{_tick():013x}{secrets.token_hex(6)[:11]}"


def check_cursor(prefix: str, cursor: str, param: str) -> str:
    """The cursor, or InvalidRequest when it cannot be an id of this kind."""
    if not re.fullmatch(rf"{prefix}_[0-9a-f]{{24}}", cursor):
        raise InvalidRequest(
            f"'{param}' must be an id such as {prefix}_…; use first_id or last_id of the page before",
            param=param,
        )
    return cursor
