"""Groups: properties 38 to 42."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import NOW, drain, everything, numbers, running, until, until_stats
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial


@proves(38, needs={"group": []})
async def test_38_groups_are_independent(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    sent = numbers(200)
    await stream.append_many(sent)
    a, b = stream.group("a"), stream.group("b")
    shares = await asyncio.gather(*(drain(a, 200, timeout=t.tick) for _ in range(3)))
    assert Counter(m.value for share in shares for m in share) == Counter(sent)
    assert [m.value for m in await drain(b, 200)] == sent
    assert len(await everything(stream)) == 200


@proves(39, needs={"group": []})
async def test_39_join_and_leave(t: Trial) -> None:
    """Twenty changes of membership while messages flow: none lost; none twice but what a leaver had in hand."""
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g", retry=NOW)
    count = t.n(1000)
    got: Counter[bytes] = Counter()
    in_hand: Counter[bytes] = Counter()
    done: set[bytes] = set()

    async def member(patience: float) -> None:
        async with group.consume(prefetch=2) as consumer:
            while message := await consumer.next(timeout=patience):
                got[message.value] += 1
                in_hand[message.value] += 1
                await asyncio.sleep(0.001)
                await message.ack()
                in_hand[message.value] -= 1
                done.add(message.value)

    async def produce() -> None:
        for number in numbers(count):
            await stream.append(number)
            await asyncio.sleep(0)

    left: Counter[bytes] = Counter()
    async with running(produce(), member(60), member(60)) as tasks:
        await asyncio.sleep(0)
        for _ in range(20):
            comer = asyncio.create_task(member(60))
            await asyncio.sleep(0.02)
            comer.cancel()
            await asyncio.gather(comer, return_exceptions=True)
            left += +in_hand
        await until(lambda: len(done) >= count, 60, lambda: f"{len(done)} of {count}")
        assert not any(task.done() and task.cancelled() for task in tasks)
    assert done == set(numbers(count))
    again = Counter({value: n - 1 for value, n in got.items() if n > 1})
    assert not again - left, "something came twice that no leaver had in hand"


@proves(40, needs={"group": []})
async def test_40_progress_has_no_holes(t: Trial) -> None:
    """Acknowledged out of order, then gone: exactly the others come again."""
    stream = t.conn.stream(t.name(), bytes)
    await stream.append_many(numbers(20))
    async with hw.connect(t.url) as conn:
        messages = await conn.stream(t.name(), bytes).group("g", retry=NOW).take(max=20, wait=5.0)
        assert len(messages) == 20
        for message in reversed(messages):
            if int(message.value) % 3:
                await message.ack()
    again = await drain(t.conn.stream(t.name(), bytes).group("g"), 20, timeout=5 * t.tick)
    assert sorted(int(m.value) for m in again) == list(range(0, 20, 3))


@proves(40, needs={"group": [Feature.PERSIST]}, processes=True)
async def test_40_progress_has_no_holes_after_a_kill(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g", lease=5 * t.tick, retry=hw.Retry(max_attempts=None, delay=0.0))
    await group.declare()
    await stream.append_many(numbers(300))
    victim = t.worker("consume", stream=t.name(), group="g", prefetch=20, work=0.001)
    await victim.until("acked", 100)
    victim.kill()
    acked = {line["value"] for line in victim.of("acked")}
    acking = {line["value"] for line in victim.of("acking")}
    rest = [m.value.decode() for m in await drain(group, 300, timeout=t.target.death(5 * t.tick) + t.target.late)]
    assert not set(rest) & acked, "acknowledged, yet delivered again"
    assert set(rest) | acking == {str(i) for i in range(300)}
    assert len(rest) == len(set(rest))


@proves(41, needs={"channel": [], "group": []})
async def test_41_leaves_no_trace(t: Trial) -> None:
    channel, stream = t.conn.channel(t.name(), bytes), t.conn.stream(t.name(), bytes)
    async with channel.subscribe():
        pass
    assert await channel.publish(b"nobody") in (0, None)
    await stream.append(b"x")
    group = stream.group("gone")
    await group.declare()
    await group.delete()
    assert "gone" not in str(await t.conn.names())
    (message,) = await drain(stream.group("gone"), 1)
    assert message.value == b"x", "a group made again begins again"


@proves(41, needs={"channel": []}, processes=True)
async def test_41_a_killed_subscriber_leaves_no_trace(t: Trial) -> None:
    channel = t.conn.channel(t.name(), bytes)
    listener = t.worker("listen", channel=t.name(), stuck=True, overflow="block", buffer=4)
    await listener.until("ready")
    assert await channel.publish(b"x") in (1, None)
    listener.kill()
    async with asyncio.timeout(10):
        while await channel.publish(b"x") not in (0, None):
            await asyncio.sleep(0.01)


@proves(42, needs={"group": [Feature.LAG]})
async def test_42_lag(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g")
    await group.declare()
    assert await group.lag() == 0
    await stream.append_many(numbers(10))
    assert await group.lag() == 10
    messages = await group.take(max=4, wait=5.0)
    assert await group.lag() == 10, "in hand is not finished"
    await messages[2].ack()
    await messages[3].reject("dead is finished")
    assert await group.lag() == 8
    await messages[0].ack()
    await messages[1].ack()
    await drain(group, 6)
    assert await group.lag() == 0
    assert await stream.group("late", start="latest").lag() in (0, None)


@proves(42, needs={"group": [Feature.LAG]})
async def test_42_lag_is_never_negative(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g")
    await group.declare()
    count = 500

    async def produce() -> None:
        for number in numbers(count):
            await stream.append(number)
            await asyncio.sleep(0)

    async def watch() -> None:
        while True:
            lag = await group.lag()
            assert lag is not None and 0 <= lag <= count
            await asyncio.sleep(0)

    async with running(watch(), produce()):
        await drain(group, count)
    assert await group.lag() == 0


@proves(42, needs={"queue": []})
async def test_42_stats(t: Trial) -> None:
    """What the engine can't know is None, never 0."""
    queue = t.conn.queue(t.name(), bytes)
    await queue.put_many(numbers(5))
    if t.conn.capabilities.queue[Feature.DELAY].level.name != "REFUSED":
        await queue.put(b"later", delay=3600)
    messages = await queue.take(max=2, wait=5.0)
    await messages[0].ack()
    stats = await queue.stats()
    assert stats.ready in (3, None) and stats.leased in (1, None) and stats.delayed in (1, None)
    assert stats.put_total in (6, None) and stats.acked_total in (1, None) and stats.dead in (0, None)
    assert stats.oldest_age is None or 0 <= stats.oldest_age < 60
    assert stats.oldest_lease is None or 0 <= stats.oldest_lease < 60
    await queue.purge()
    await messages[1].ack()
    await until_stats(queue, ready=0, delayed=0, leased=0)


@proves(42, needs={"queue": [], "group": []})
async def test_42_pause_and_resume(t: Trial) -> None:
    queue, stream = t.conn.queue(t.name(), bytes), t.conn.stream(t.name(), bytes)
    await queue.put(b"x")
    await stream.append(b"x")
    for source in (queue, stream.group("g")):
        await source.pause()
        async with source.consume() as consumer:
            assert await consumer.next(timeout=t.tick) is None
            await source.resume()
            message = await consumer.next(timeout=5)
            assert message is not None
            await message.ack()


@proves(38, needs={"queue": [], "group": []})
async def test_38_stored_options(t: Trial) -> None:
    """What is given explicitly is stored for all; ordering never changes."""
    stream = t.conn.stream(t.name(), bytes)
    await stream.group("g", ordering="key", lease=7.0).declare()
    elsewhere = (await t.connect()).stream(t.name(), bytes)
    await elsewhere.group("g").declare()
    with pytest.raises(hw.DeclarationError) as caught:
        await elsewhere.group("g", ordering="none").declare()
    assert "key" in str(caught.value.stored)
    assert "none" in str(caught.value.asked)
