"""Leases and redelivery: properties 14 to 21."""

from __future__ import annotations

import asyncio
import gc
import signal
import time

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import NOW, drain, nothing_from, until_stats
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial
from headwater.testing.worker import hold_gil


@proves(14, needs={"queue": [], "group": []})
async def test_14_retry_redelivers_after_the_delay(t: Trial) -> None:
    queue, stream = t.conn.queue(t.name(), bytes), t.conn.stream(t.name(), bytes)
    await queue.put(b"x")
    await stream.append(b"x")

    async def one(source: hw.Queue[bytes] | hw.Group[bytes]) -> None:
        failed = 0.0
        async with source.consume() as consumer:
            for attempt in (1, 2, 3):
                message = await consumer.next(timeout=10 + 4 * t.tick)
                assert message is not None and message.attempt == attempt
                if attempt > 1:
                    assert time.monotonic() - failed >= 2 * t.tick - 0.002
                if attempt < 3:
                    failed = time.monotonic()
                    await message.retry(delay=2 * t.tick)
                    assert message.settled
                else:
                    await message.ack()
            assert await consumer.next(timeout=t.tick) is None

    await asyncio.gather(one(queue), one(stream.group("g")))


@proves(15, needs={"queue": [Feature.AT_LEAST_ONCE], "group": [Feature.AT_LEAST_ONCE]}, processes=True)
async def test_15_killed_holder(t: Trial) -> None:
    lease = 10 * t.tick
    queue = t.conn.queue(t.name(), bytes, lease=lease)
    group = t.conn.stream(t.name(), bytes).group("g", lease=lease)
    await queue.declare()
    await group.declare()
    await queue.put(b"x")
    await t.conn.stream(t.name(), bytes).append(b"x")

    async def one(source: hw.Queue[bytes] | hw.Group[bytes], **place: str) -> None:
        holder = t.worker("consume", **place, then="hold")
        await holder.until("got")
        async with source.consume() as consumer:
            assert await consumer.next(timeout=t.tick) is None, "it is in the holder's hands"
            killed = time.monotonic()
            holder.kill()
            message = await consumer.next(timeout=2 * lease + 5)
            assert message is not None and message.attempt == 2
            assert time.monotonic() - killed <= t.target.death(lease) + t.target.late
            await message.ack()
            assert await consumer.next(timeout=t.tick) is None

    await asyncio.gather(one(queue, queue=t.name()), one(group, stream=t.name(), group="g"))


@proves(16, needs={"queue": []})
async def test_16_a_long_handler_runs_once(t: Trial) -> None:
    lease = 2 * t.tick
    queue = t.conn.queue(t.name(), bytes, lease=lease)
    await queue.put(b"x")
    renewed = t.conn.capabilities.queue[Feature.LEASE_LIVENESS].level.name != "REFUSED"
    async with queue.consume() as consumer:
        message = await consumer.next(timeout=10)
        assert message is not None

        async def work() -> None:
            for _ in range(10):
                await asyncio.sleep(lease / 2)
                if not renewed:
                    await message.extend(lease)
            await message.ack()

        await asyncio.gather(work(), nothing_from(queue, 6 * lease))
    await until_stats(queue, ready=0, leased=0)


@proves(16, needs={"queue": [Feature.LEASE_EXTENSION]})
async def test_16_extend_says_until_when(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, lease=10 * t.tick)
    await queue.put(b"x")
    async with queue.consume() as consumer:
        message = await consumer.next(timeout=10)
        assert message is not None
        before = message.lease_until
        await message.extend(100 * t.tick)
        assert (message.lease_until - before).total_seconds() > 50 * t.tick
        await message.ack()


@proves(17, needs={"queue": [Feature.LEASE_LIVENESS]})
async def test_17_a_blocked_loop_keeps_its_messages(t: Trial) -> None:
    """The whole process is stopped in C, with the GIL held, for three leases."""
    lease = 2 * t.tick
    queue = t.conn.queue(t.name(), bytes, lease=lease)
    await queue.put(b"x")
    async with queue.consume() as consumer:
        message = await consumer.next(timeout=10)
        assert message is not None
        other = asyncio.create_task(nothing_from(queue, lease))
        await asyncio.sleep(0)
        hold_gil(3 * lease)
        await other
        await message.ack()


@proves(17, needs={"queue": [Feature.LEASE_LIVENESS]}, processes=True)
async def test_17_a_held_gil_in_another_process(t: Trial) -> None:
    lease = 2 * t.tick
    queue = t.conn.queue(t.name(), bytes, lease=lease)
    await queue.put(b"x")
    holder = t.worker("consume", queue=t.name(), gil=3 * lease, limit=1)
    await holder.until("got")
    await nothing_from(queue, 3.5 * lease)
    await holder.until("acked")
    await nothing_from(queue, t.tick)


@proves(17, needs={"queue": []})
async def test_17b_a_forgotten_delivery_comes_back(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, lease=60.0)
    await queue.put(b"x")
    async with queue.consume() as forgetful:
        message = await forgetful.next(timeout=10)
        assert message is not None
        async with queue.consume() as other:
            assert await other.next(timeout=t.tick) is None
            del message
            gc.collect()
            again = await other.next(timeout=5)
            assert again is not None and again.attempt == 1, "given back, not failed"
            await again.ack()


@proves(17, needs={"queue": []})
async def test_17b_leaving_gives_back_at_once(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, lease=60.0)
    await queue.put_many([b"1", b"2", b"3"])
    async with queue.consume(prefetch=5) as leaver:
        held = await leaver.next(timeout=10)
        assert held is not None
    assert [m.value for m in await drain(queue, 3, timeout=5)] == [b"1", b"2", b"3"]
    with pytest.raises(hw.LeaseLostError):
        await held.ack()


@proves(17, needs={"queue": []})
async def test_17b_max_hold(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, lease=60.0, max_hold=2 * t.tick, retry=NOW)
    await queue.put(b"x")
    async with queue.consume() as stuck, queue.consume() as other:
        message = await stuck.next(timeout=10)
        assert message is not None
        began = time.monotonic()
        again = await other.next(timeout=2 * t.tick + 5)
        assert again is not None and again.value == b"x"
        assert time.monotonic() - began >= 2 * t.tick - 0.1
        await again.ack()
        with pytest.raises(hw.LeaseLostError):
            await message.ack()


@proves(18, needs={"queue": []})
async def test_18_a_late_ack_changes_nothing(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, lease=60.0, max_hold=2 * t.tick, retry=NOW)
    await queue.put(b"x")
    async with queue.consume() as slow, queue.consume() as other:
        late = await slow.next(timeout=10)
        again = await other.next(timeout=2 * t.tick + 5)
        assert late is not None and again is not None
        for settle in (late.ack(), late.retry(), late.reject("no"), late.extend(60)):
            with pytest.raises(hw.LeaseLostError):
                await settle
        stats = await queue.stats()
        assert (stats.ready, stats.leased, stats.dead) in ((0, 1, 0), (None, None, None))
        await again.ack()
    await until_stats(queue, ready=0, leased=0)


@proves(18, needs={"queue": []}, processes=True)
async def test_18_a_stopped_process_is_fenced(t: Trial) -> None:
    """SIGSTOP for longer than the lease: another gets the message; the ack of the one that wakes changes nothing."""
    lease = 3 * t.tick
    queue = t.conn.queue(t.name(), bytes, lease=lease, retry=NOW)
    await queue.put(b"x")
    holder = t.worker("consume", queue=t.name(), work=3 * t.tick, idle=2.0)
    await holder.until("got")
    holder.signal(signal.SIGSTOP)
    try:
        async with queue.consume() as other:
            again = await other.next(timeout=2 * lease + 10)
            assert again is not None and again.attempt == 2
            holder.signal(signal.SIGCONT)
            await holder.until("lost", timeout=20)
            assert not holder.of("acked")
            await again.ack()
    finally:
        holder.signal(signal.SIGCONT)
    await nothing_from(queue, t.tick)


@proves(19, needs={"queue": [], "group": []})
async def test_19_one_holder(t: Trial) -> None:
    queue, stream = t.conn.queue(t.name(), bytes), t.conn.stream(t.name(), bytes)
    await queue.put_many([b"1", b"2"])
    await stream.append_many([b"1", b"2"])

    async def one(source: hw.Queue[bytes] | hw.Group[bytes]) -> None:
        elsewhere = await t.connect()
        twin = elsewhere.queue(t.name(), bytes) if source is queue else elsewhere.stream(t.name(), bytes).group("g")
        async with source.consume(prefetch=0) as a, twin.consume(prefetch=0) as b:
            first, second = await a.next(timeout=10), await b.next(timeout=10)
            assert first is not None and second is not None
            assert {first.value, second.value} == {b"1", b"2"}
            assert await asyncio.gather(a.next(timeout=t.tick), b.next(timeout=t.tick)) == [None, None]
            await first.ack()
            await second.ack()

    await asyncio.gather(one(queue), one(stream.group("g")))


@proves(20, needs={"queue": []})
async def test_20_poison_starves_nobody(t: Trial) -> None:
    """100 messages that fail for ever, at once: new ones get at least half of the deliveries."""
    queue = t.conn.queue(t.name(), bytes, retry=NOW)
    await queue.put_many([b"poison"] * 100)
    count = 300
    fresh = spoiled = 0
    failed: set[str] = set()
    async with queue.consume(prefetch=0) as consumer:
        while len(failed) < 100:
            message = await consumer.next(timeout=10)
            assert message is not None
            failed.add(message.id)
            await message.retry(delay=0)
        await queue.put_many([b"good"] * count)
        while fresh < count:
            message = await consumer.next(timeout=10)
            assert message is not None
            if message.value == b"good":
                await message.ack()
                fresh += 1
            else:
                await message.retry(delay=0)
                spoiled += 1
    assert spoiled <= fresh + 20


@proves(21, needs={"queue": [Feature.PERSIST], "group": [Feature.PERSIST]})
async def test_21_attempts_survive_restarts(t: Trial) -> None:
    retry = hw.Retry(max_attempts=10, delay=0.0, jitter=0)
    await t.conn.queue(t.name(), bytes, retry=retry).put(b"x")
    await t.conn.stream(t.name(), bytes).group("g", retry=retry).declare()
    await t.conn.stream(t.name(), bytes).append(b"x")
    for attempt in (1, 2, 3):
        for source in (t.conn.queue(t.name(), bytes), t.conn.stream(t.name(), bytes).group("g")):
            async with source.consume() as consumer:
                message = await consumer.next(timeout=10)
                assert message is not None and message.attempt == attempt
                await message.retry(delay=0)
        await t.restart()


@proves(21, needs={"queue": []})
async def test_21_attempts_survive_their_consumer(t: Trial) -> None:
    retry = hw.Retry(max_attempts=10, delay=0.0, jitter=0)
    await t.conn.queue(t.name(), bytes, retry=retry).put(b"x")
    for attempt in (1, 2, 3):
        async with hw.connect(t.url) as conn, conn.queue(t.name(), bytes).consume() as consumer:
            message = await consumer.next(timeout=10)
            assert message is not None and message.attempt == attempt
            await message.retry(delay=0)
