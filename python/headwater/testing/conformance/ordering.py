"""Ordering: properties 9 to 13."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import NOW, Journal, drain, numbers, running, strictly_rising, until
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial


@proves(9, needs={"queue": [], "group": []})
async def test_09_total_order(t: Trial) -> None:
    stream, queue = t.conn.stream(t.name(), bytes), t.conn.queue(t.name(), bytes)
    count = t.n(10_000)

    async def produce() -> None:
        for number in numbers(count):
            await stream.append(number)
            await queue.put(number)

    async with running(produce()):
        for source in (stream.group("g"), queue):
            assert [int(m.value) for m in await drain(source, count)] == list(range(count))


async def _keyed(t: Trial, source: Any, send: Any, keys: int, count: int, fail: frozenset[int] = frozenset()) -> Journal:
    """Eight runs of four handlers each over `keys` keys; the first attempt of the numbers in `fail` raises."""
    journal = Journal()
    in_hand: set[str | None] = set()

    async def handler(message: Any) -> None:
        assert message.key not in in_hand, "two messages of one key at a time"
        in_hand.add(message.key)
        try:
            journal.start(message)
            await asyncio.sleep(0)
            if int(message.value) in fail and message.attempt == 1:
                raise RuntimeError("first attempt")
            journal.end(message)
        finally:
            in_hand.discard(message.key)

    for i in range(count):
        await send(str(i).encode(), key=f"k{i % keys}")
    async with running(*(source.run(handler, concurrency=4) for _ in range(8))):
        await journal.until(count)
    return journal


@proves(10, needs={"group": [Feature.KEY_ORDER], "queue": [Feature.KEY_ORDER]})
async def test_10_key_order(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    queue = t.conn.queue(t.name(), bytes, ordering="key")
    for source, send in ((stream.group("g", ordering="key"), stream.append), (queue, queue.put)):
        journal = await _keyed(t, source, send, keys=100, count=2000)
        assert journal.values() == dict.fromkeys(numbers(2000), 1)
        assert all(strictly_rising(values) for values in journal.by_key().values())


@proves(11, needs={"group": [Feature.KEY_ORDER, Feature.KEY_ISOLATION]})
async def test_11_failure_holds_up_its_key_only(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g", ordering="key", retry=hw.Retry(max_attempts=3, delay=3 * t.tick, jitter=0))
    journal = await _keyed(t, group, stream.append, keys=10, count=200, fail=frozenset({3}))
    keys = journal.by_key()
    assert keys["k3"] == [3, *range(3, 200, 10)], "the failed one again, then the others in order"
    assert all(keys[f"k{i}"] == list(range(i, 200, 10)) for i in range(10) if i != 3)
    second = next(at for at, m in journal.done if int(m.value) == 3)
    before = sum(1 for at, m in journal.done if at < second)
    assert before == 180, "every other key was finished while one waited"


@proves(12, needs={"group": [Feature.KEY_ORDER]})
async def test_12_key_order_while_consumers_come_and_go(t: Trial) -> None:
    """Joining, and leaving with messages in hand (which is how a kill looks to the others)."""
    stream = t.conn.stream(t.name(), bytes)
    group = stream.group("g", ordering="key", retry=NOW)
    first: dict[str | None, list[int]] = {}
    done: set[int] = set()
    left: set[int] = set()

    async def consumer(limit: int) -> None:
        async with group.consume(prefetch=3) as consuming:
            for _ in range(limit):
                message = await consuming.next(timeout=5)
                if message is None:
                    return
                number = int(message.value)
                seen = first.setdefault(message.key, [])
                if number not in seen:
                    seen.append(number)
                await asyncio.sleep(0.001)
                if number % 17 == 0 and number not in left:
                    left.add(number)
                    return  # leaves with this one in hand
                await message.ack()
                done.add(number)

    for i in range(600):
        await stream.append(str(i).encode(), key=f"k{i % 20}")

    async def comings() -> None:
        while len(done) < 600:
            await asyncio.gather(*(consumer(limit) for limit in (5, 11, 23, 40)))

    async with asyncio.timeout(60):
        await comings()
    assert all(values == list(range(i, 600, 20)) for i, values in ((int((key or "")[1:]), values) for key, values in first.items()))
    assert (await group.lag()) in (0, None)


@proves(12, needs={"group": [Feature.KEY_ORDER]}, processes=True)
async def test_12_key_order_over_kills(t: Trial) -> None:
    place = {"stream": t.name(), "group": "g", "options": {"ordering": "key", "retry": {"max_attempts": None, "delay": 0.0}}}
    await t.conn.stream(t.name(), bytes).group("g", ordering="key", retry=hw.Retry(max_attempts=None, delay=0.0)).declare()
    count = t.n(600)
    producer = t.worker("produce", stream=t.name(), keys=20, count=count)
    everyone = [t.worker("consume", **place, prefetch=4, work=0.002) for _ in range(3)]
    alive = list(everyone)

    def acked() -> set[str]:
        return {line["value"] for worker in everyone for line in worker.of("acked")}

    for target in (count // 6, count // 3, count // 2):
        await until(lambda least=target: len(acked()) >= least, 60, lambda: f"{len(acked())} acknowledged")  # type: ignore[misc]
        alive.pop(0).kill()
        alive.append(t.worker("consume", **place, prefetch=4, work=0.002))
        everyone.append(alive[-1])
    await producer.until("done")
    await until(lambda: len(acked()) >= count, 60, lambda: f"{len(acked())} of {count} acknowledged")
    deliveries = sorted((line["t"], line["key"], line["value"], worker) for worker in everyone for line in worker.of("got"))
    first: dict[str, list[int]] = {}
    for _, key, value, _ in deliveries:
        number = int(value.rsplit(":", 1)[1])
        if number not in (seen := first.setdefault(key, [])):
            seen.append(number)
    assert all(strictly_rising(values) for values in first.values())
    again = [worker.of("got").count(line) for worker in everyone for line in worker.of("got")]
    assert set(again) == {1}


@proves(13, needs={"queue": [Feature.KEY_ORDER, Feature.TOTAL_ORDER]})
async def test_13_place_of_a_failed_message(t: Trial) -> None:
    """`none`: it loses its place; `key`: it keeps the place in its key; `total`: everyone waits for it."""
    orders: dict[str, list[int]] = {}

    async def one(ordering: Literal["none", "key", "total"]) -> None:
        queue = t.conn.queue(t.name(ordering), bytes, ordering=ordering, retry=hw.Retry(max_attempts=3, delay=t.tick, jitter=0))
        for i in range(6):
            await queue.put(str(i).encode(), key=f"k{i % 2}")
        done = orders.setdefault(ordering, [])
        async with queue.consume() as consumer:
            while len(done) < 6:
                message = await consumer.next(timeout=10)
                assert message is not None
                if message.value == b"0" and message.attempt == 1:
                    await message.retry()
                else:
                    await message.ack()
                    done.append(int(message.value))

    await asyncio.gather(one("none"), one("key"), one("total"))
    assert orders == {"none": [1, 2, 3, 4, 5, 0], "key": [1, 3, 5, 0, 2, 4], "total": [0, 1, 2, 3, 4, 5]}
