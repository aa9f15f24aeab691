import asyncio
import threading

import pytest

from rag.batching import Batcher
from rag.errors import EngineOverloaded


async def test_concurrent_calls_share_batches_and_keep_their_own_results() -> None:
    started, go = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def run(items: list[int]) -> list[int]:
        batches.append(items)
        started.set()
        assert go.wait(10)
        return [item * 2 for item in items]

    batcher: Batcher[int, int] = Batcher(run, name="test")
    first = asyncio.create_task(batcher([1]))
    await asyncio.to_thread(started.wait, 10)
    others = [asyncio.create_task(batcher([n, n + 1])) for n in (10, 20, 30)]
    await asyncio.sleep(0)
    go.set()
    assert await first == [2]
    assert await asyncio.gather(*others) == [[20, 22], [40, 42], [60, 62]]
    assert batches == [[1], [10, 11, 20, 21, 30, 31]]
    batcher.close()


async def test_a_batch_stops_at_its_size_but_takes_a_large_call_whole() -> None:
    sizes: list[int] = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    batcher: Batcher[int, int] = Batcher(run, name="test", max_items=4)
    calls = [list(range(9)), [1, 2, 3], [4, 5]]
    assert await asyncio.gather(*(batcher(call) for call in calls)) == calls
    assert sizes == [9, 3, 2]
    batcher.close()


async def test_an_error_reaches_every_caller_and_the_batcher_goes_on() -> None:
    def run(items: list[str]) -> list[str]:
        if "bad" in items:
            raise ValueError("bad item")
        return items

    batcher: Batcher[str, str] = Batcher(run, name="test")
    results = await asyncio.gather(batcher(["bad"]), batcher(["good"]), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await batcher(["good"]) == ["good"]
    assert await batcher([]) == []
    batcher.close()


async def test_a_full_queue_refuses_before_any_work() -> None:
    started, go = threading.Event(), threading.Event()

    def run(items: list[int]) -> list[int]:
        started.set()
        assert go.wait(10)
        return items

    batcher: Batcher[int, int] = Batcher(run, name="test", max_waiting=3)
    busy = asyncio.create_task(batcher([0]))
    await asyncio.to_thread(started.wait, 10)
    waiting = asyncio.create_task(batcher([1, 2]))
    await asyncio.sleep(0)
    with pytest.raises(EngineOverloaded):
        await batcher([3, 4])
    go.set()
    assert await busy == [0]
    assert await waiting == [1, 2]
    batcher.close()


async def test_a_cancelled_call_is_not_computed() -> None:
    started, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def run(items: list[int]) -> list[int]:
        seen.extend(items)
        started.set()
        assert go.wait(10)
        return items

    batcher: Batcher[int, int] = Batcher(run, name="test")
    busy = asyncio.create_task(batcher([1]))
    await asyncio.to_thread(started.wait, 10)
    gone = asyncio.create_task(batcher([2]))
    kept = asyncio.create_task(batcher([3]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await busy == [1]
    assert await kept == [3]
    assert seen == [1, 3]
    batcher.close()
