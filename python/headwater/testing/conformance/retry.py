"""Retry and dead letters: properties 22 to 26."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, nothing_from, running, until_stats
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial, now


async def dead(source: Any) -> list[hw.DeadLetter[Any]]:
    async with source.dead.read() as letters:
        return [letter async for letter in letters]


@proves(22, needs={"queue": []})
async def test_22_backoff(t: Trial) -> None:
    """`delay * factor ** n`, at most `max_delay`, spread by `jitter`."""
    tick = t.tick
    queue = t.conn.queue(t.name(), bytes, retry=hw.Retry(max_attempts=4, delay=tick, factor=2.0, max_delay=3 * tick, jitter=0.3))
    count = 20
    await queue.put_many([str(i).encode() for i in range(count)])
    times: dict[bytes, list[float]] = {}

    async def handler(message: hw.Delivery[bytes]) -> None:
        times.setdefault(message.value, []).append(time.monotonic())
        raise ValueError("again")

    async with running(queue.run(handler, concurrency=count)):
        await until_stats(queue, timeout=30 + 10 * tick, dead=count)
    gaps = [[b - a for a, b in pairwise(at)] for at in times.values()]
    assert all(len(gap) == 3 for gap in gaps)
    for n, nominal in enumerate((tick, 2 * tick, 3 * tick)):
        assert all(0.7 * nominal - 0.005 <= gap[n] <= 1.3 * nominal + t.target.late for gap in gaps), (nominal, gaps)
    firsts = sorted(gap[0] for gap in gaps)
    assert firsts[-1] - firsts[0] > 0.1 * tick, "jitter spreads"


@proves(22, needs={"queue": []})
async def test_22_what_is_retried(t: Trial) -> None:
    """`on` and `give_up_on` choose by the exception; RetryLater and RejectMessage say it themselves."""
    queue = t.conn.queue(t.name(), str, retry=hw.Retry(max_attempts=3, delay=0.0, jitter=0, give_up_on=(KeyError,)))
    attempts: list[tuple[str, int]] = []

    async def handler(message: hw.Delivery[str]) -> None:
        attempts.append((message.value, message.attempt))
        match message.value:
            case "give up":
                raise KeyError("never")
            case "reject":
                raise hw.RejectMessage("no such customer")
            case "later" if message.attempt == 1:
                raise hw.RetryLater(delay=0)
            case "fail":
                raise ValueError("always")

    await queue.put_many(["give up", "reject", "later", "fail", "fine"])
    async with running(queue.run(handler)):
        await until_stats(queue, dead=3, ready=0, delayed=0, leased=0)
    assert sorted(attempts) == [("fail", 1), ("fail", 2), ("fail", 3), ("fine", 1), ("give up", 1), ("later", 1), ("later", 2), ("reject", 1)]
    assert {letter.value for letter in await dead(queue)} == {"give up", "reject", "fail"}
    assert next(letter for letter in await dead(queue) if letter.value == "reject").reason.endswith("no such customer")


@proves(23, needs={"queue": [Feature.DEAD_LETTERS], "group": [Feature.DEAD_LETTERS]})
async def test_23_the_dead_letter_tells_all(t: Trial) -> None:
    retry = hw.Retry(max_attempts=3, delay=0.0, jitter=0)
    queue, stream = t.conn.queue(t.name(), bytes, retry=retry), t.conn.stream(t.name(), bytes)
    group = stream.group("g", retry=retry)
    await queue.put(b"poison", key="k", headers={"h": "v"})
    await stream.append(b"poison", key="k", headers={"h": "v"})
    began = now()

    async def handler(message: hw.Delivery[bytes]) -> None:
        raise ValueError(f"boom at attempt {message.attempt}")

    for source in (queue, group):
        async with running(source.run(handler)):
            await until_stats(source, dead=1)
        (letter,) = await dead(source)
        assert (letter.value, letter.key, letter.headers["h"]) == (b"poison", "k", "v")
        assert letter.reason
        assert "boom at attempt 3" in str(letter.error)
        assert letter.origin and t.name() in str(letter.origin)
        assert [attempt.attempt for attempt in letter.history] == [1, 2, 3]
        assert "boom at attempt 1" in str(letter.history[0].error)
        assert "ValueError" in (letter.history[2].traceback or "") and "handler" in (letter.history[2].traceback or "")
        times = [attempt.time for attempt in letter.history]
        assert times == sorted(times) and (times[0] - began).total_seconds() > -1 and letter.died_at >= times[0]
        assert list((await source.dead.by_error()).values()) == [1]
        await nothing_from(source, t.tick / 3)


@proves(24, needs={"queue": [Feature.DEAD_LETTERS]}, processes=True)
async def test_24_crashes_count(t: Trial) -> None:
    """A message that kills its worker ends in the dead letters, with nobody there to say so."""
    queue = t.conn.queue(t.name(), bytes, lease=5 * t.tick, retry=hw.Retry(max_attempts=2, delay=0.0, jitter=0))
    await queue.put(b"killer")
    for attempt in (1, 2):
        victim = t.worker("consume", queue=t.name(), then="die")
        (got,) = await victim.until("got", timeout=30)
        assert got["attempt"] == attempt
        await victim.wait()
    async with queue.consume() as watcher:
        assert await watcher.next(timeout=t.target.death(5 * t.tick) + t.target.late) is None
    await until_stats(queue, dead=1, ready=0, leased=0)
    (letter,) = await dead(queue)
    assert len(letter.history) == 2


@proves(25, needs={"queue": [Feature.DEAD_LETTERS]})
async def test_25_redrive(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes, retry=hw.Retry(max_attempts=2, delay=0.0, jitter=0))
    job = await queue.put(b"x")
    async with queue.consume() as consumer:
        for _ in range(2):
            message = await consumer.next(timeout=10)
            assert message is not None
            await message.retry(delay=0)
        await until_stats(queue, dead=1)
        (letter,) = await dead(queue)
        assert letter.id == job
        assert await queue.dead.redrive([letter.id]) == 1
        assert await queue.dead.redrive([letter.id]) == 0
        assert await dead(queue) == []
        again = await consumer.next(timeout=10)
        assert again is not None and (again.attempt, again.id, again.value) == (1, job, b"x")
        await again.ack()
        assert await consumer.next(timeout=t.tick) is None


@proves(25, needs={"queue": [Feature.DEAD_LETTERS]})
async def test_25_edit_and_purge(t: Trial) -> None:
    queue = t.conn.queue(t.name(), str)
    await queue.put_many(["wrong", "hopeless", "also wrong"])
    for message in await queue.take(max=3, wait=5.0):
        await message.reject("spelling" if "wrong" in message.value else "hopeless")
    errors = await queue.dead.by_error()
    assert {key.rsplit(": ", 1)[-1]: count for key, count in errors.items()} == {"spelling": 2, "hopeless": 1}
    by_value = {letter.value: letter for letter in await dead(queue)}
    await queue.dead.edit(by_value["wrong"].id, "right")
    assert await queue.dead.redrive([by_value["wrong"].id]) == 1
    (fixed,) = await drain(queue, 1)
    assert (fixed.value, fixed.id) == ("right", by_value["wrong"].id)
    assert await queue.dead.redrive(max=1) == 1
    assert len(await dead(queue)) == 1
    await queue.dead.purge()
    assert await dead(queue) == []
    await drain(queue, 1)
    await until_stats(queue, dead=0, ready=0, leased=0)


@proves(25, needs={"group": [Feature.DEAD_LETTERS]})
async def test_25_dead_letters_outlive_their_records(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g")
    await stream.append(b"bad")
    (message,) = await group.take(max=1, wait=5.0)
    await message.reject("bad")
    after = await stream.append(b"good")
    await stream.trim(before=after)
    (letter,) = await dead(group)
    assert letter.value == b"bad"
    assert await group.dead.redrive() == 1
    assert [m.value for m in await drain(group, 2)] in ([b"bad", b"good"], [b"good", b"bad"])


@proves(26, needs={"queue": [Feature.DEAD_LETTERS]})
async def test_26_reject_is_all_or_nothing(t: Trial) -> None:
    """A reject that fails (its lease is lost) leaves the message where it was."""
    queue = t.conn.queue(t.name(), bytes, max_hold=t.tick, retry=hw.Retry(max_attempts=None, delay=0.0))
    await queue.put(b"x")
    async with queue.consume() as slow, queue.consume() as other:
        late = await slow.next(timeout=10)
        again = await other.next(timeout=10)
        assert late is not None and again is not None
        with pytest.raises(hw.LeaseLostError):
            await late.reject("too late")
        assert await dead(queue) == []
        await again.ack()
    await until_stats(queue, ready=0, leased=0, dead=0)
