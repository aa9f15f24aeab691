"""Work under a lease: a heartbeat beside it, which also notices that somebody else has decided about the
item."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.catalog import ledger
from ingestion.catalog.ledger import Claim, LeaseLost
from ingestion.database import Database
from rag.errors import Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
_LOOK_SECONDS = 1.0
"""A cancelled or deleted document is noticed after this long, between two heartbeats."""


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` to its end even when the caller is cancelled meanwhile; then the caller is."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await stopped(task, cancel=False)
        raise


async def stopped(task: asyncio.Future[Any], *, cancel: bool = True) -> None:
    """Returns when the task has ended, however it ended; its own error is only logged."""
    if cancel:
        task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()):
        log.debug("a stopped step ended with %r", error)


class Lease:
    """Keeps one claim alive. `embedded` is written down with each heartbeat."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        *,
        seconds: float,
        heartbeat: float,
        clock: Callable[[], float],
    ) -> None:
        self.claim = claim
        self.embedded = 0
        self._database = database
        self._seconds = seconds
        self._heartbeat = heartbeat
        self._clock = clock
        self._until = self.until
        self._judging = True

    @property
    def until(self) -> float:
        """Until when a lease that begins now lasts (Unix seconds)."""
        return self._clock() + self._seconds

    def closing(self) -> None:
        """From here on our own commit changes the item; it raises LeaseLost by itself if it may not."""
        self._judging = False

    async def guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` to its end, or stops it and raises LeaseLost when the item is not ours any more.

        The lease is renewed until the work has really stopped, since a cancelled step may still be writing.
        """
        lost = asyncio.Event()
        running = asyncio.ensure_future(work)
        noticing = asyncio.ensure_future(lost.wait())
        beating = asyncio.ensure_future(self._beat(lost))
        try:
            await asyncio.wait({running, noticing}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await stopped(running)
                raise LeaseLost(self.claim.item_id)
            await running
        finally:
            for task in (running, noticing, beating):
                await stopped(task)

    async def _beat(self, lost: asyncio.Event) -> None:
        renew_at = self._clock() + self._heartbeat
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._heartbeat))
            renew = lost.is_set() or self._clock() >= renew_at
            if not await self._held(renew=renew) and self._judging:
                lost.set()
            if renew:
                renew_at = self._clock() + self._heartbeat

    async def _held(self, *, renew: bool) -> bool:
        try:
            found = await uninterrupted(self._touch(renew=renew))
        except Unavailable as error:
            # Nobody can take the item before the lease ends; after that we cannot know.
            log.warning("heartbeat failed: %s", error)
            return self._clock() < self._until
        return found == (self.claim.status, self.claim.aftercare)

    async def _touch(self, *, renew: bool) -> tuple[str, str | None] | None:
        if not renew:
            async with self._database.connect() as connection:
                return await ledger.state(connection, self.claim)
        until = self.until
        async with self._database.begin() as connection:
            found = await ledger.renew(connection, self.claim, until=until, embedded=self.embedded)
        self._until = until
        return found


async def write(database: Database, change: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
    """One commit that a cancellation does not cut in two."""

    async def commit() -> T:
        async with database.begin() as connection:
            return await change(connection)

    return await uninterrupted(commit())
