"""Merges concurrent calls of a CPU- or GPU-bound function into batches on one thread.

A model has one owner thread, so concurrent requests never fight over the cores; while it computes, calls
queue up and the next batch takes them together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from rag.errors import EngineOverloaded

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(slots=True)
class _Call(Generic[In, Out]):
    items: Sequence[In]
    future: asyncio.Future[list[Out]]


class Batcher(Generic[In, Out]):
    """`await batcher(items)` gives one result per item, in order.

    `run` gets at least one whole call and stops adding calls at `max_items`. More than `max_waiting` items in
    the queue is an EngineOverloaded before any work. One event loop per batcher.
    """

    def __init__(
        self,
        run: Callable[[list[In]], Sequence[Out]],
        *,
        name: str,
        max_items: int = 64,
        max_waiting: int = 4096,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._max_waiting = max_waiting
        self._waiting: deque[_Call[In, Out]] = deque()
        self._busy: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, items: Sequence[In]) -> list[Out]:
        if not items:
            return []
        queued = sum(len(call.items) for call in self._waiting)
        if queued and queued + len(items) > self._max_waiting:
            raise EngineOverloaded(f"{queued} items are waiting for the model; retry in a moment")
        call = _Call[In, Out](items, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._drain())
        return await call.future

    def _take(self) -> list[_Call[In, Out]]:
        taken: list[_Call[In, Out]] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].items) <= self._max_items):
            call = self._waiting.popleft()
            if call.future.cancelled():
                continue
            taken.append(call)
            size += len(call.items)
        return taken

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while calls := self._take():
            items = [item for call in calls for item in call.items]
            try:
                results = await loop.run_in_executor(self._thread, self._run, items)
            except Exception as error:  # noqa: BLE001 - handed to every caller of the batch, not handled here
                self._fail(calls, error)
            else:
                self._deliver(calls, results)

    @staticmethod
    def _fail(calls: list[_Call[In, Out]], error: Exception) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)

    @staticmethod
    def _deliver(calls: list[_Call[In, Out]], results: Sequence[Out]) -> None:
        at = 0
        for call in calls:
            part = list(results[at : at + len(call.items)])
            at += len(call.items)
            if not call.future.done():
                call.future.set_result(part)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
