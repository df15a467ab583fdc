"""Shutdown, back-pressure, cancellation, idle cost: properties 57 to 59."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import NOW, drain, everything, nothing_from, numbers, until, until_stats
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial


@proves(57, needs={"stream": [], "queue": [], "channel": []})
async def test_57_after_close(t: Trial) -> None:
    conn = await t.connect()
    stream, queue, channel = conn.stream(t.name(), bytes), conn.queue(t.name(), bytes), conn.channel(t.name(), bytes)
    sends = [asyncio.ensure_future(stream.append(number)) for number in numbers(50)]
    await asyncio.gather(*sends)
    await conn.flush()
    await conn.close()
    assert [m.value for m in await everything(t.conn.stream(t.name(), bytes))] == numbers(50)
    for use in (lambda: stream.append(b"x"), lambda: queue.put(b"x"), lambda: channel.publish(b"x"), lambda: queue.stats(), lambda: conn.flush()):
        with pytest.raises(hw.ClosedError):
            await use()
    with pytest.raises(hw.ClosedError):
        async with stream.read() as reader:
            await reader.next(timeout=1)
    await conn.close()


@proves(57, needs={"queue": [], "stream": [], "channel": []})
async def test_57_close_ends_iterators(t: Trial) -> None:
    conn = await t.connect()
    queue, stream, channel = conn.queue(t.name(), bytes), conn.stream(t.name(), bytes), conn.channel(t.name(), bytes)

    async def iterate(iterator: Any) -> list[Any]:
        async with iterator as entered:
            return [message async for message in entered]

    iterating = [asyncio.create_task(iterate(i)) for i in (queue.consume(), stream.read(follow=True), channel.subscribe())]
    await until(lambda: conn.metrics()["open"] == 3)
    await t.sleep(0.5)
    await conn.close()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*iterating) == [[], [], []]


@proves(57, needs={"queue": []})
async def test_57_stop_from_elsewhere(t: Trial) -> None:
    """`stop()` from another thread wakes who waits; the iterator ends quietly."""
    queue = t.conn.queue(t.name(), bytes)
    async with queue.consume() as consumer:
        timer = threading.Timer(t.tick, consumer.stop)
        timer.start()
        async with asyncio.timeout(10):
            assert [message async for message in consumer] == []
        timer.join()


@proves(57, needs={"queue": []})
async def test_57_drain_finishes_what_began(t: Trial) -> None:
    """In-flight work finishes and is acknowledged; what was only fetched goes back, its attempts unchanged."""
    conn = await t.connect()
    queue = conn.queue(t.name(), bytes, lease=60.0)
    await queue.put_many(numbers(10))
    began: list[bytes] = []
    done: list[bytes] = []

    async def handler(message: hw.Delivery[bytes]) -> None:
        began.append(message.value)
        await t.sleep(1)
        done.append(message.value)

    run = asyncio.create_task(queue.run(handler, concurrency=2))
    while len(began) < 2:
        await asyncio.sleep(0.005)
    await conn.drain(timeout=10)
    await asyncio.wait_for(run, 10)
    await conn.close()
    assert sorted(began) == sorted(done)
    rest = await drain(t.conn.queue(t.name(), bytes), 10 - len(done), timeout=5)
    assert sorted(m.value for m in rest) == sorted(set(numbers(10)) - set(done))
    assert all(m.attempt == 1 for m in rest)


@proves(57, needs={"queue": []})
async def test_57_an_exception_gives_back(t: Trial) -> None:
    with pytest.raises(KeyError):
        async with hw.connect(t.url) as conn:
            queue = conn.queue(t.name(), bytes, lease=60.0)
            await queue.put(b"x")
            async with queue.consume() as consumer:
                assert await consumer.next(timeout=5) is not None
                raise KeyError("bug in the program")
    (message,) = await drain(t.conn.queue(t.name(), bytes), 1, timeout=5)
    assert message.attempt == 1


@proves(57, needs={"queue": []})
async def test_57_settling_by_the_block(t: Trial) -> None:
    """`async with msg`: acks on `break`; leaves a settled one alone; retries on an exception, raised (bare) or not (`handled`)."""
    queue = t.conn.queue(t.name(), bytes, retry=NOW)
    await queue.put(b"x")
    async with queue.consume() as consumer:
        message = await consumer.next(timeout=5)
        assert message is not None
        with pytest.raises(ValueError, match="bare"):
            async with message:
                raise ValueError("bare")
        assert message.settled
        message = await consumer.next(timeout=5)
        assert message is not None and message.attempt == 2
        async with message.handled():
            raise ValueError("handled")
        message = await consumer.next(timeout=5)
        assert message is not None and message.attempt == 3
        async with message:
            await message.retry(delay=0)
        async for message in consumer:
            assert message.attempt == 4
            async with message:
                break
    await until_stats(queue, ready=0, delayed=0, leased=0)


@proves(57, needs={"queue": []})
async def test_57_cancellation_gives_back(t: Trial) -> None:
    """Cancelled while it works: back at once, and not counted."""
    queue = t.conn.queue(t.name(), bytes, lease=60.0)
    await queue.put(b"x")

    async def work() -> None:
        async with queue.consume() as consumer:
            async for message in consumer:
                async with message.handled():
                    await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await until_stats(queue, leased=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (message,) = await drain(queue, 1, timeout=5)
    assert message.attempt == 1


@proves(57, needs={"queue": []})
async def test_57_cancelled_awaits_lose_nothing(t: Trial) -> None:
    """Each wait for a message is cancelled or timed out at some instant; in the end every message was handled once."""
    queue = t.conn.queue(t.name(), bytes, lease=60.0)
    count = 300
    got: list[bytes] = []

    async def produce() -> None:
        for number in numbers(count):
            await queue.put(number)
            await asyncio.sleep(0.001)

    producer = asyncio.create_task(produce())
    async with asyncio.timeout(60), queue.consume() as consumer:
        turn = 0
        while len(got) < count:
            turn += 1
            waiting = asyncio.ensure_future(consumer.next(timeout=0.002 if turn % 3 == 0 else 5))
            await asyncio.sleep(0.0005 * (turn % 4))
            if turn % 3 == 1:
                waiting.cancel()
            try:
                message = await waiting
            except asyncio.CancelledError:
                continue
            if message is not None:
                got.append(message.value)
                await message.ack()
    await producer
    assert sorted(got) == sorted(numbers(count)), "nothing lost, nothing twice"
    await until_stats(queue, ready=0, leased=0)


@proves(58, needs={"queue": [Feature.MAX_LENGTH]})
async def test_58_a_full_queue_says_so(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, max_length=10)
    await queue.put_many(numbers(10))
    with pytest.raises(hw.FullError):
        await queue.put(b"x")
    (message,) = await drain(queue, 1)
    assert message.value == b"0"
    await queue.put(b"fits")
    with pytest.raises(hw.FullError):
        await queue.put(b"x")
    with pytest.raises(hw.HeadwaterError):
        await queue.put_many([b"x", b"y"], atomic=True)
    assert [m.value for m in await drain(queue, 11, timeout=t.tick)] == [*numbers(10)[1:], b"fits"]


async def _flood(t: Trial, overflow: str, sent: int, buffer: int) -> tuple[list[int], int]:
    """Publishes to a subscriber that takes nothing meanwhile: what it then hears, and what it was told of the rest."""
    channel = t.conn.channel(t.name(overflow), bytes)
    async with channel.subscribe(buffer=buffer, overflow=overflow) as sub:  # type: ignore[arg-type]
        for number in numbers(sent):
            await channel.publish(number)
        heard = []
        while (message := await sub.next(timeout=t.tick / 3)) is not None:
            heard.append(int(message.value))
        return heard, sub.dropped


@proves(58, needs={"channel": [Feature.DROPPED_COUNT]})
async def test_58_drops_are_counted(t: Trial) -> None:
    oldest, dropped = await _flood(t, "drop_oldest", 1000, 16)
    assert oldest == list(range(1000 - len(oldest), 1000)) and len(oldest) >= 1
    assert dropped == 1000 - len(oldest)
    newest, dropped = await _flood(t, "drop_newest", 1000, 16)
    assert newest == list(range(len(newest))) and len(newest) >= 1
    assert dropped == 1000 - len(newest)
    none, dropped = await _flood(t, "drop_oldest", 10, 16)
    assert (none, dropped) == (list(range(10)), 0)


@proves(58, needs={"channel": []})
async def test_58_error_is_told_once(t: Trial) -> None:
    channel = t.conn.channel(t.name(), bytes)
    async with channel.subscribe(buffer=8, overflow="error") as sub:
        for number in numbers(100):
            await channel.publish(number)
        heard = 0
        told: list[int] = []
        async with asyncio.timeout(20):
            while heard + sum(told) < 100:
                try:
                    message = await sub.next(timeout=t.tick)
                except hw.SlowConsumerError as error:
                    told.append(error.dropped or 0)
                else:
                    assert message is not None, (heard, told)
                    heard += 1
        assert len(told) == 1
        await channel.publish(b"after")
        message = await sub.next(timeout=5)
        assert message is not None and message.value == b"after"


@proves(58, needs={"channel": []})
async def test_58_block_holds_the_publisher(t: Trial) -> None:
    """... until there is room, at most `op_timeout`; another subscriber's policy is its own affair."""
    conn = await t.connect(op_timeout=2 * t.tick)
    channel = conn.channel(t.name(), bytes)
    async with channel.subscribe(buffer=8, overflow="block") as sub:
        published = 0
        with pytest.raises(hw.OperationTimeoutError):
            for number in numbers(100_000):
                began = time.monotonic()
                await channel.publish(number)
                published += 1
        assert 2 * t.tick - 0.01 <= time.monotonic() - began <= 2 * t.tick + t.target.late
        assert published >= 1

        async def later() -> None:
            await t.sleep(0.5)
            heard.extend([await sub.next(timeout=5) for _ in range(published)])

        heard: list[Any] = []
        task = asyncio.create_task(later())
        await channel.publish(b"goes through")
        await task
        assert [m.value for m in heard] == numbers(published)
        assert sub.dropped == 0


@proves(58, needs={"channel": [Feature.DROPPED_COUNT]}, processes=True)
async def test_58_a_stuck_process_slows_nobody(t: Trial) -> None:
    channel = t.conn.channel(t.name(), bytes)
    stuck = t.worker("listen", channel=t.name(), stuck=True, buffer=16)
    await stuck.until("ready")
    async with channel.subscribe(buffer=5000) as sub:
        for number in numbers(3000):
            await channel.publish(number)
        stuck.kill()
        assert [m.value for _ in range(3000) if (m := await sub.next(timeout=5)) is not None] == numbers(3000)


@proves(59, needs={"queue": []}, processes=True)
async def test_59_waiting_costs_nothing(t: Trial) -> None:
    await t.conn.queue(t.name(), bytes).declare()
    seconds = max(1.0, 5 * t.tick)
    worker = t.worker("idle", queue=t.name(), waiters=20, seconds=seconds)
    (line,) = await worker.until("idle", timeout=seconds + 30)
    assert line["cpu"] < 0.03 * seconds, f"{line['cpu']:.3f} CPU seconds in {seconds} s for 20 idle consumers"


@proves(59, needs={"queue": []})
async def test_59_a_paused_source_costs_nothing(t: Trial) -> None:
    """Something is there, yet nothing may be taken: no busy loop."""
    queue = t.conn.queue(t.name(), bytes)
    await queue.put(b"x")
    await queue.pause()
    before = time.process_time()
    await nothing_from(queue, 3 * t.tick)
    assert time.process_time() - before < 0.2 * 3 * t.tick
