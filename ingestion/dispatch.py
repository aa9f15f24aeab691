"""Telling workers that there is work. A message holds a job id and nothing else; losing it costs a moment."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from celery import Celery
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES

from ingestion.settings import IngestionSettings
from rag.errors import ConfigurationError, MissingExtra, Unavailable

log = logging.getLogger(__name__)
INGEST_TASK = "ingestion.ingest"
QUEUE = "ingestion"
_SEND_SECONDS = 5.0
_MOST_WAITING = 64


class Dispatch(Protocol):
    async def enqueue(self, job_id: str, fan_out: int) -> None:
        """Asks up to `fan_out` workers to look at the job. Raises Unavailable (`broker_unavailable`)."""
        ...


def make_celery(settings: IngestionSettings) -> Celery:
    """The application on the broker of BROKER_URL: filesystem://…, redis://, rediss://, amqp:// or amqps://."""
    url, options = _broker(settings.broker_url)
    app = Celery("ingestion", set_as_current=False)
    app.conf.update(
        broker_url=url,
        broker_transport_options=options,
        broker_connection_timeout=3,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_publish_retry=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
    )
    return app


def _broker(url: str) -> tuple[str, dict[str, Any]]:
    scheme = urlsplit(url).scheme
    if scheme == "filesystem":
        return _folder_broker(url)
    if scheme in ("redis", "rediss"):
        if not _installed("redis"):
            raise MissingExtra("a Redis broker needs the redis package; install tensoras-server[redis]")
        return url, {"socket_timeout": 5, "socket_connect_timeout": 3, "socket_keepalive": True}
    if scheme in ("amqp", "amqps"):
        return url, {"connect_timeout": 3}
    raise ConfigurationError(
        f"BROKER_URL has the scheme {scheme!r}; supported are filesystem://, redis(s):// and amqp(s)://"
    )


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _folder_broker(url: str) -> tuple[str, dict[str, Any]]:
    folder = Path(unquote(url.removeprefix("filesystem://")))
    if not folder.parts:
        raise ConfigurationError("BROKER_URL filesystem:// names no folder; write filesystem:///path/to/folder")
    folder.mkdir(parents=True, exist_ok=True)
    options = {"data_folder_in": str(folder), "data_folder_out": str(folder), "polling_interval": 0.1}
    TRANSPORT_ALIASES["tensoras-folder"] = "ingestion.folder_broker:Transport"
    return "tensoras-folder://folder", options


class Dispatcher:
    """Sends from threads of its own, so that a broker that hangs stops nothing but dispatching."""

    def __init__(self, celery: Celery, *, timeout: float = _SEND_SECONDS) -> None:
        self._celery = celery
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dispatch")
        self._waiting = 0

    async def enqueue(self, job_id: str, fan_out: int) -> None:
        if self._waiting >= _MOST_WAITING:
            raise _away("too many messages wait to be sent")
        self._waiting += 1
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, job_id, fan_out)
        sending.add_done_callback(self._sent)
        try:
            await asyncio.wait_for(asyncio.shield(sending), self._timeout)
        except TimeoutError:
            raise _away(f"no answer within {self._timeout:g} s") from None
        except (KombuError, OSError) as error:
            raise _away(str(error)) from error

    def _sent(self, sending: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if not sending.cancelled():
            sending.exception()  # it has been raised to the caller, or came after the caller had gone

    def _send(self, job_id: str, fan_out: int) -> None:
        for _ in range(max(1, fan_out)):
            self._celery.send_task(INGEST_TASK, args=[job_id], queue=QUEUE, retry=False, ignore_result=True)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._celery.close()


def _away(reason: str) -> Unavailable:
    return Unavailable(
        f"the message broker does not answer ({reason[:300]}); check BROKER_URL. Jobs are kept",
        code="broker_unavailable",
    )
