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


class Channel(filesystem.Channel):  # type: ignore[misc]
    """One folder `queue` of messages, named by time; one folder `control` of bindings."""

    def _folder(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        name = f"{time.time_ns():020d}_{uuid4().hex}.{queue}.msg"
        _appear(self._folder() / name, dumps(payload))

    def _messages(self, queue: str) -> list[Path]:
        suffix = f".{queue}.msg"
        try:
            names = sorted(path.name for path in self._folder().iterdir())
        except OSError as error:
            raise ChannelError(f"cannot read the folder of the broker: {error}") from error
        wanted = (name for name in names if not name.startswith(".") and name.partition(".")[2] == suffix[1:])
        return [self._folder() / name for name in wanted]

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

    def get_table(self, exchange: str) -> list[Any]:
        file = self._exchange_file(exchange)
        try:
            return [filesystem.exchange_queue_t(*row) for row in loads(file.read_text())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise ChannelError(f"cannot read {file}; delete it and start again") from error

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        row = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        file = self._exchange_file(exchange)
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / ".lock").open("w") as guard:
            filesystem.lock(guard, filesystem.LOCK_EX)
            rows = self.get_table(exchange)
            if row not in rows:
                _appear(file, dumps([row, *rows]))

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        self._purge(queue)


class Transport(filesystem.Transport):  # type: ignore[misc]
    Channel = Channel


def _appear(path: Path, text: str) -> None:
    hidden = path.with_name(f".{uuid4().hex}")
    try:
        hidden.write_text(text)
        hidden.replace(path)
    except OSError as error:
        raise ChannelError(f"cannot write into the folder of the broker: {error}") from error


def _take(path: Path) -> Any:
    """The message, None when another reader was faster or when it cannot be read. Deleting decides who
    has it."""
    try:
        text = path.read_bytes()
        path.unlink()
    except FileNotFoundError:
        return None
    try:
        return loads(text.decode())
    except ValueError:
        log.warning("a message could not be read and was dropped; its job is dispatched again")
        return None
