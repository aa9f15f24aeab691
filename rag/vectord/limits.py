"""What bounds the process: sizes, queues, thresholds, times. Read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the store. Sizes are bytes, times seconds."""

    body_bytes: int = 64 * MIB
    """Largest request body; Qdrant's own default is 32 MiB."""
    pending_reads: int = 256
    pending_writes: int = 64
    pending_bytes: int = 256 * MIB
    """Request bodies held in memory together, those that are still arriving included."""
    readers: int = 2
    """Threads that answer reads, for all collections together. The engine holds the interpreter lock
    through each call, so more would only wait for each other; the second keeps JSON work flowing."""
    collections: int = 256
    points_per_request: int = 10_000
    """Largest `limit` of a query or scroll."""
    conditions: int = 10_000
    """Largest number of conditions in one filter."""
    free_disk_bytes: int = 64 * MIB
    """Below this writes are refused: the engine writes through memory maps, and a full disk would
    kill the process instead of failing the request."""
    tick_seconds: float = 0.5
    """How often the keeper looks for flushes and builds that are due."""
    flush_seconds: float = 5.0
    optimize_threshold: int = 100_000
    """Vectors written since the last index build before another is worth it."""
    optimize_quiet_seconds: float = 10.0
    """How long no write must have come before a build starts; ignored past four times the threshold."""
    optimize_delta_bytes: int = 128 * MIB
    """Writes that may pile up beside a running build before it is given up."""
    optimize_backoff_seconds: float = 60.0
    """Pause after a failed build, doubled with each failure up to an hour."""
    shutdown_seconds: float = 10.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """`VECTORD_OPTIMIZE_THRESHOLD=500` and so on: the field's name in capitals after `VECTORD_`.

        Raises ValueError with the variable's name when a value is not a non-negative number.
        """
        found: dict[str, int | float] = {}
        for field in fields(cls):
            name = f"VECTORD_{field.name.upper()}"
            if raw := environ.get(name):
                found[field.name] = _number(name, raw, float if "seconds" in field.name else int)
        return cls(**found)  # type: ignore[arg-type]


def _number(name: str, raw: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(raw)
    except ValueError:
        value = kind(-1)
    if not 0 <= value < 2**62:
        raise ValueError(f"{name}={raw!r} is not a non-negative number: correct it or unset it")
    return value
