"""Whatever gets lost is found again, and nothing is sent twice without need."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from ingestion.catalog.tables import items, jobs
from rag.errors import Unavailable
from tests.ingestion.world import TENANT, World


async def sweep(world: World, after: float, idle: int = 4) -> list[str]:
    world.clock.advance(after)
    await world.sweeper(idle).sweep()
    return world.outbox.take()


async def test_a_lost_message_is_sent_again(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    world.outbox.take()  # lost
    assert await sweep(world, 1) == [], "it may still be under way"
    assert await sweep(world, 6) == [job.id]
    assert await sweep(world, 1) == [], "only once"
    await world.pipeline().run_job(job.id)
    assert await sweep(world, 100) == []


async def test_all_messages_may_be_lost(world: World) -> None:
    kb = await world.kb()
    added = [await world.add(kb.id, f"words of {n}") for n in range(6)]
    world.outbox.take()
    for _ in range(10):
        for job_id in await sweep(world, 6, idle=2):
            await world.pipeline().run_job(job_id)
    ended = [(await world.ingestion.job(TENANT, kb.id, job.id)).status for job in added]
    assert ended == ["completed"] * 6


async def test_a_busy_worker_sends_nothing_and_an_idle_one_no_more_than_it_can_take(world: World) -> None:
    kb = await world.kb()
    added = [await world.add(kb.id, f"words of {n}") for n in range(5)]
    world.outbox.take()
    assert await sweep(world, 100, idle=0) == []
    assert await sweep(world, 0, idle=2) == [added[0].id, added[1].id]
    assert await sweep(world, 1, idle=2) == [added[2].id, added[3].id], "the longest waiting come first"


async def test_two_sweepers_send_a_job_once(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    world.outbox.take()
    world.clock.advance(10)
    await asyncio.gather(*(world.sweeper().sweep() for _ in range(3)))
    assert world.outbox.take() == [job.id]


async def test_what_fails_is_said_once_and_stops_nothing_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    world.outbox.take()
    world.outbox.failing = Unavailable("the broker is away")
    sweeper = world.sweeper()
    for _ in range(3):
        world.clock.advance(10)
        await sweeper.sweep()
    assert caplog.text.count("the broker is away") == 1
    world.outbox.failing = None
    world.clock.advance(10)
    await sweeper.sweep()
    assert len(world.outbox.take()) == 1


async def test_a_job_that_was_not_closed_is_closed(world: World) -> None:
    kb = await world.kb()
    job = await world.add(kb.id, "words")
    async with world.database.begin() as connection:
        await connection.execute(update(items).values(status="failed", error_message="x"))
        await connection.execute(update(jobs).values(status="processing"))
    await sweep(world, 0)
    assert (await world.ingestion.job(TENANT, kb.id, job.id)).status == "failed"


async def test_it_runs_until_it_is_told_to_stop(world: World) -> None:
    kb = await world.kb()
    await world.add(kb.id, "words")
    world.outbox.take()
    world.clock.advance(10)
    stop = asyncio.Event()
    running = asyncio.create_task(world.sweeper().run(0.01, stop))
    while not world.outbox.sent:
        await asyncio.sleep(0.01)
    stop.set()
    await running
