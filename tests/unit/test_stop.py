"""`stop` and `drain` end what runs; what comes afterwards works."""

from __future__ import annotations

import asyncio
import threading

import pytest

import headwater as hw


async def test_taking_after_stop_and_drain() -> None:
    async with hw.connect("memory:") as conn:
        jobs = conn.queue("jobs", int)
        await jobs.put_many([1, 2, 3])
        (first,) = await jobs.take(1)
        jobs.stop()
        (second,) = await jobs.take(1, wait=1)
        assert await conn.drain(1)
        (third,) = await jobs.take(1, wait=1)
        assert [each.value for each in (first, second, third)] == [1, 2, 3]
        # What the stopped ones took is still in hand.
        assert (await jobs.stats()).leased == 3
        assert await jobs.ack_many([first, second, third]) == []
        waiting = asyncio.create_task(jobs.take(wait=30))
        await asyncio.sleep(0.05)
        jobs.stop()
        assert await asyncio.wait_for(waiting, 5) == []


def test_taking_after_stop() -> None:
    with hw.sync.connect("memory:") as conn:
        jobs = conn.queue("jobs", int)
        jobs.put_many([1, 2])
        (first,) = jobs.take(1)
        jobs.stop()
        (second,) = jobs.take(1, wait=1)
        assert jobs.stats().leased == 2
        jobs.delete()
        for message in (first, second):
            with pytest.raises(hw.HeadwaterError):
                message.ack()


async def test_closing_in_another_loop() -> None:
    conn = await hw.connect("memory:")
    found: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(conn.close())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert isinstance(found[0], hw.UsageError)
    await conn.stream("s").append(1)
    await conn.close()


def test_closing_what_a_dead_loop_left_behind() -> None:
    async def connect() -> hw.Connection:
        return await hw.connect("memory:")

    conn = asyncio.run(connect())
    asyncio.run(conn.close())

    async def use() -> None:
        with pytest.raises(hw.ClosedError):
            await conn.names()

    asyncio.run(use())
