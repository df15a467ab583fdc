"""Deduplication and conditions: properties 34, 35 and 37, and what `expect` and `expect_key` refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, everything, nothing_from
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial


@proves(34, needs={"queue": [Feature.UNIQUE]})
async def test_34_unique_job(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    first = await queue.put("first", unique="u")
    assert await queue.put("second", unique="u") == first
    assert await queue.put("other", unique="other") != first
    with pytest.raises(hw.DuplicateError) as caught:
        await queue.put("third", unique="u", on_duplicate="raise")
    assert caught.value.first == first
    assert [m.value for m in await drain(queue, 2)] == ["first", "other"]
    await nothing_from(queue, t.tick / 3)


@proves(34, needs={"stream": [Feature.IDEMPOTENT_APPEND]})
async def test_34_idempotent_append(t: Trial) -> None:
    stream = t.conn.stream(t.name(), str)
    ids = [f"id-{i}" for i in range(200)]
    positions = [await stream.append(i, id=i) for i in ids]
    assert [await stream.append("again", id=i) for i in ids] == positions
    assert await stream.append_many([hw.Item("again", id=ids[7]), hw.Item("new", id="new")]) == [positions[7], (await stream.info()).last]
    assert [m.value for m in await everything(stream)] == [*ids, "new"]
    assert [m.id for m in await everything(stream)][:200] == ids


@proves(34, needs={"stream": [Feature.IDEMPOTENT_APPEND], "queue": [Feature.UNIQUE]})
async def test_34_one_of_many_at_once(t: Trial) -> None:
    stream, queue = t.conn.stream(t.name(), int), t.conn.queue(t.name(), int)
    conns = [t.conn, await t.connect(), await t.connect()]
    appended = await asyncio.gather(*(conns[i % 3].stream(t.name(), int).append(i, id="one") for i in range(50)))
    put = await asyncio.gather(*(conns[i % 3].queue(t.name(), int).put(i, unique="one") for i in range(50)))
    assert len(set(map(str, appended))) == len(set(put)) == 1
    assert len(await everything(stream)) == len(await drain(queue, 2, timeout=t.tick)) == 1


@proves(35, needs={"queue": [Feature.UNIQUE]})
async def test_35_unique_window(t: Trial) -> None:
    """With `unique_for` the key blocks for that long, also when the first is done; keys are per queue."""
    window = 4 * t.tick
    queue = t.conn.queue(t.name(), str, unique_for=window)
    first = await queue.put("first", unique="u")
    await drain(queue, 1)
    assert await queue.put("inside", unique="u") == first
    assert await t.conn.queue(t.name("other"), str).put("elsewhere", unique="u")
    await nothing_from(queue, t.tick / 3)
    await asyncio.sleep(window)
    assert await queue.put("after", unique="u") != first
    assert [m.value for m in await drain(queue, 1)] == ["after"]


@proves(35, needs={"stream": [Feature.IDEMPOTENT_APPEND, Feature.PERSIST], "queue": [Feature.UNIQUE, Feature.PERSIST]})
async def test_35_keys_survive_restart(t: Trial) -> None:
    position = await t.conn.stream(t.name(), str).append("first", id="i")
    elsewhere = await t.conn.stream(t.name("other"), str).append("other", id="i")
    job = await t.conn.queue(t.name(), str).put("first", unique="u")
    await t.restart()
    assert await t.conn.stream(t.name(), str).append("again", id="i") == position
    assert await t.conn.stream(t.name("other"), str).append("again", id="i") == elsewhere
    assert await t.conn.queue(t.name(), str).put("again", unique="u") == job


@proves(37, needs={"queue": [Feature.UNIQUE, Feature.DELAY]})
async def test_37_states_that_block(t: Trial) -> None:
    """Ready, delayed, leased and waiting for a retry block a second one; done and dead don't."""
    queue = t.conn.queue(t.name(), str, retry=hw.Retry(max_attempts=2, delay=3600, jitter=0))
    first = await queue.put("delayed", delay=t.tick, unique="u")
    assert await queue.put("x", unique="u") == first
    async with queue.consume() as consumer:
        message = await consumer.next(timeout=10)
        assert message is not None
        assert await queue.put("x", unique="u") == first, "leased"
        await message.retry(delay=t.tick)
        assert await queue.put("x", unique="u") == first, "waiting for its retry"
        message = await consumer.next(timeout=10)
        assert message is not None
        await message.ack()
        second = await queue.put("second", unique="u")
        assert second != first, "done"
        message = await consumer.next(timeout=10)
        assert message is not None
        await message.reject("dead")
        third = await queue.put("third", unique="u")
        assert third not in (first, second), "dead"
        assert await queue.cancel(third)
        assert await queue.put("fourth", unique="u") not in (first, second, third), "cancelled"


async def _conflict(append: Any) -> hw.ConflictError:
    with pytest.raises(hw.ConflictError) as caught:
        await append
    return caught.value


@proves(34, needs={"stream": [Feature.EXPECT]})
async def test_34_expect(t: Trial) -> None:
    stream = t.conn.stream(t.name(), str)
    first = await stream.append("first", expect="empty")
    assert (await _conflict(stream.append("x", expect="empty"))).actual == first
    second = await stream.append("second", expect=first)
    assert (await _conflict(stream.append("x", expect=first))).actual == second
    outcomes = await asyncio.gather(*(stream.append(str(i), expect=second) for i in range(50)), return_exceptions=True)
    assert sum(1 for outcome in outcomes if not isinstance(outcome, Exception)) == 1
    assert all(isinstance(outcome, hw.ConflictError | hw.Position) for outcome in outcomes)
    assert len(await everything(stream)) == 3


@proves(34, needs={"stream": [Feature.EXPECT_KEY]})
async def test_34_expect_key(t: Trial) -> None:
    stream = t.conn.stream(t.name(), str)
    first = await stream.append("first", key="a", expect_key="absent")
    await stream.append("other", key="b", expect_key="absent")
    assert (await _conflict(stream.append("x", key="a", expect_key="absent"))).actual == first
    second = await stream.append("second", key="a", expect_key=first)
    assert (await _conflict(stream.append("x", key="a", expect_key=first))).actual == second
    outcomes = await asyncio.gather(*(stream.append(str(i), key="a", expect_key=second) for i in range(50)), return_exceptions=True)
    assert sum(1 for outcome in outcomes if isinstance(outcome, hw.Position)) == 1
    assert len(await everything(stream)) == 4
