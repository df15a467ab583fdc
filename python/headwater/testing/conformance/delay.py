"""Delay, expiry, priority: properties 27 to 33."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, nothing_from, until_stats
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial, now


@proves(27, needs={"queue": [Feature.DELAY]})
async def test_27_never_early(t: Trial) -> None:
    queue = t.conn.queue(t.name(), float)
    count, span = t.n(1000), 8 * t.tick
    rng = random.Random(27)
    late: list[float] = []

    async def produce() -> None:
        for _ in range(count // 50):
            delays = [rng.uniform(0, span) for _ in range(50)]
            # The engine counts from the put, a little later than this clock reading: never early holds all the more.
            await queue.put_many([hw.Item(time.time() + delay, delay=delay) for delay in delays])
            await asyncio.sleep(0)

    async def consume() -> None:
        async with queue.consume(prefetch=100) as consumer:
            while len(late) < count // 50 * 50:
                message = await consumer.next(timeout=span + 10)
                assert message is not None
                late.append(time.time() - message.value)
                await message.ack()

    await asyncio.gather(produce(), consume())
    assert min(late) >= -0.001
    assert max(late) <= t.target.late


@proves(27, needs={"queue": [Feature.DELAY]})
async def test_27_ways_to_say_when(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    began = time.monotonic()
    await queue.put("datetime", delay=now() + timedelta(seconds=3 * t.tick))
    await queue.put("timedelta", delay=timedelta(seconds=2 * t.tick))
    await queue.put("seconds", delay=t.tick)
    await queue.put("past", delay=now() - timedelta(days=1))
    stats = await queue.stats()
    assert (stats.ready, stats.delayed) in ((1, 3), (None, None))
    got = []
    async with queue.consume() as consumer:
        for _ in range(4):
            message = await consumer.next(timeout=10)
            assert message is not None
            got.append((message.value, time.monotonic() - began))
            await message.ack()
    assert [value for value, _ in got] == ["past", "seconds", "timedelta", "datetime"]
    assert all(at >= n * t.tick - 0.005 for n, (_, at) in enumerate(got))


@proves(28, needs={"queue": [Feature.DELAY, Feature.PERSIST]})
async def test_28_delay_survives_restart(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes)
    due = time.time() + 4 * t.tick
    await queue.put(b"x", delay=4 * t.tick)
    await t.restart()
    (message,) = await drain(t.conn.queue(t.name(), bytes), 1, timeout=4 * t.tick + 10)
    assert -0.001 <= time.time() - due <= t.target.late + 1.0
    assert message.attempt == 1


@proves(29, needs={"queue": [Feature.DELAY]})
async def test_29_short_behind_long(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    await queue.put("long", delay=3600)
    await queue.put("short", delay=t.tick)
    await queue.put("now")
    began = time.monotonic()
    assert [m.value for m in await drain(queue, 2, timeout=t.tick + 5)] == ["now", "short"]
    assert time.monotonic() - began <= t.tick + t.target.late


@proves(30, needs={"queue": [Feature.DELAY, Feature.CANCEL]})
async def test_30_cancel(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    cancelled = await queue.put("cancelled", delay=2 * t.tick)
    kept = await queue.put("kept", delay=2 * t.tick)
    ready = await queue.put("ready")
    assert await queue.cancel(cancelled) is True
    assert await queue.cancel(cancelled) is False
    assert await queue.cancel(ready) is True
    earlier = await queue.put("rescheduled", delay=t.tick)
    assert [(m.value, m.id) for m in await drain(queue, 2, timeout=5)] == [("rescheduled", earlier), ("kept", kept)]
    await nothing_from(queue, t.tick)
    assert await queue.cancel(kept) is False, "done"
    await until_stats(queue, ready=0, delayed=0, leased=0)


@proves(32, needs={"queue": [Feature.TTL]})
async def test_32_expired_is_never_handed_out(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    await queue.put("expires", ttl=t.tick)
    await queue.put("delayed, then expires", delay=t.tick, ttl=t.tick)
    await queue.put("stays", ttl=3600)
    await queue.put("delayed, then stays", delay=3 * t.tick, ttl=60)
    await t.sleep(4)
    assert [m.value for m in await drain(queue, 2, timeout=5)] == ["stays", "delayed, then stays"]
    await nothing_from(queue, t.tick)
    await until_stats(queue, ready=0, delayed=0, leased=0)
    assert (await queue.stats()).put_total in (4, None)


@proves(32, needs={"queue": [Feature.TTL, Feature.DELAY]})
async def test_32_ttl_counts_from_due(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    await queue.put("x", delay=3 * t.tick, ttl=2 * t.tick)
    (message,) = await drain(queue, 1, timeout=3 * t.tick + 5)
    assert message.value == "x"


@proves(33, needs={"queue": [Feature.PRIORITY]})
async def test_33_priority(t: Trial) -> None:
    queue = t.conn.queue(t.name(), tuple[int, int])
    rng = random.Random(33)
    levels = [rng.randrange(10) for _ in range(300)]
    for i, level in enumerate(levels):
        await queue.put((level, i), priority=level)
    got = [m.value for m in await drain(queue, len(levels))]
    assert got == sorted(got, key=lambda value: (-value[0], value[1])), "strict between levels, first in first out within one"


@proves(33, needs={"queue": [Feature.PRIORITY]})
async def test_33_a_higher_one_goes_next(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    await queue.put_many(["a", "b", "c"])
    got = []
    async with queue.consume(prefetch=0) as consumer:
        for i in range(5):
            message = await consumer.next(timeout=10)
            assert message is not None
            got.append(message.value)
            await message.ack()
            if i == 0:
                await queue.put("urgent", priority=9)
                await queue.put("soon", priority=1)
    assert got == ["a", "urgent", "soon", "b", "c"]
