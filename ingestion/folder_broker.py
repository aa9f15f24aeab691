"""kombu's file-system broker, made safe for several processes.

kombu writes a message into its final file, so a reader may find it empty, and a broken message or table
ends the consumer. Here files appear whole, by rename; one reader gets each message, and what cannot be
read is dropped with a warning (the rows of the database are the truth, the sweeper sends again).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)
_ROUND_SECONDS = 0.2


class Channel(filesystem.Channel):  # type: ignore[misc]
    """One folder of messages, named by time and queue."""

    def _folder(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        name = f"{time.time_ns():020d}_{uuid4().hex}.{queue}.msg"
        _appear(self._folder() / name, dumps(payload))

    def _messages(self, queue: str) -> list[Path]:
        try:
            names = sorted(path.name for path in self._folder().iterdir())
        except FileNotFoundError:  # deleted while we run; the next message makes it again
            return []
        except OSError as error:
            raise ChannelError(f"cannot read the folder of the broker: {error}") from error
        return [self._folder() / name for name in names if name.partition(".")[2] == f"{queue}.msg"]

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in self._messages(queue):
            payload = _take(path)
            if payload is not None:
                return payload
        raise Empty

    def _purge(self, queue: str) -> int:
        return sum(_take(path) is not None for path in self._messages(queue))

    def _size(self, queue: str) -> int:
        return len(self._messages(queue))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str | None]:
        return [routing_key or default]

    def get_table(self, exchange: str) -> list[Any]:
        return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Nothing to remember: every message goes to the queue that its routing key names."""

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        self._purge(queue)


class Transport(filesystem.Transport):  # type: ignore[misc]
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Looks up often: a stop must not wait for the seconds that Celery allows each round."""
        super().drain_events(connection, timeout=min(timeout or _ROUND_SECONDS, _ROUND_SECONDS))


def _appear(path: Path, text: str) -> None:
    hidden = path.with_name(f".{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_text(text)
        hidden.replace(path)
    except OSError as error:
        raise ChannelError(f"cannot write into the folder of the broker: {error}") from error


def _take(path: Path) -> dict[str, Any] | None:
    """The message, None when another reader was faster or when it cannot be read. Deleting decides who
    has it."""
    try:
        text = path.read_bytes()
        path.unlink()
    except FileNotFoundError:
        return None
    try:
        payload = loads(text.decode())
    except ValueError:
        payload = None
    if isinstance(payload, dict) and {"body", "headers", "properties"} <= payload.keys():
        return payload
    log.warning("a message could not be read and was dropped; its job is dispatched again")
    return None
