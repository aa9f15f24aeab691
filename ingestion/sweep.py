"""The sweeper: makes true what the rows say, whatever got lost. Runs in every worker; several do no harm."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from ingestion.blobs import Blobs
from ingestion.catalog import upkeep
from ingestion.database import Database
from ingestion.dispatch import Dispatch
from ingestion.lease import write
from ingestion.removal import Removal
from ingestion.settings import Policy
from rag.errors import TensorasError

log = logging.getLogger(__name__)
_STALE_UPLOAD_SECONDS = 24 * 3600.0


class Sweeper:
    """`idle` tells how many documents this worker could take on now: only so many jobs are dispatched again
    in one pass. A busy worker sends nothing, so a long queue does not fill the broker with doubles."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        dispatcher: Dispatch,
        removal: Removal,
        *,
        idle: Callable[[], int],
        policy: Policy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._dispatcher = dispatcher
        self._removal = removal
        self._idle = idle
        self._policy = policy
        self._clock = clock
        self._failing: set[str] = set()

    async def run(self, every: float, stop: asyncio.Event) -> None:
        """A pass now, and one `every` seconds until `stop`."""
        while not stop.is_set():
            await self.sweep()
            try:
                await asyncio.wait_for(stop.wait(), every)
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """One pass. What fails is said once, and tried again in the next pass."""
        await self._try("crashed documents", self._bury)
        await self._try("deletions", self._resume_deletions)
        await self._try("dispatch", self._dispatch)
        await self._try("uploads", self._discard)

    async def _try(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except TensorasError as error:
            if what not in self._failing:
                log.warning("sweeping %s failed and is tried again: %s", what, error.message)
            self._failing.add(what)
        else:
            self._failing.discard(what)

    async def _bury(self) -> None:
        bury = partial(upkeep.bury_crashed, at=self._clock(), max_crashes=self._policy.max_crashes)
        if buried := await write(self._database, bury):
            log.error("%d documents crashed their workers repeatedly and were given up", buried)
        await write(self._database, upkeep.settle_stragglers)

    async def _resume_deletions(self) -> None:
        """A request that is being served has the length of a lease to finish by itself."""
        async with self._database.connect() as connection:
            before = self._clock() - self._policy.lease_seconds
            pending = await upkeep.pending_deletions(connection, marked_before=before)
        for deletion in pending:
            await self._removal.resume(deletion)

    async def _dispatch(self) -> None:
        idle = self._idle()
        if idle <= 0:
            return
        at = self._clock()
        async with self._database.connect() as connection:
            waiting = await upkeep.waiting_jobs(
                connection,
                at=at,
                max_crashes=self._policy.max_crashes,
                dispatched_before=at - self._policy.redispatch_seconds,
                limit=idle,
            )
        for job in waiting:
            if await write(self._database, partial(upkeep.take_dispatch, waiting=job, at=at)):
                await self._dispatcher.enqueue(job.job_id, idle)

    async def _discard(self) -> None:
        await self._blobs.discard_stale(self._clock() - _STALE_UPLOAD_SECONDS)
