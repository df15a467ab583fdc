"""Publish and consume: properties 1 to 8."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, everything, numbers, running
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Target, Trial


@proves(1, needs={"stream": []})
async def test_01_stream_roundtrip(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    sent = [os.urandom(i % 300) for i in range(1000)]
    positions = [await stream.append(value) for value in sent]
    got = await everything(stream)
    assert [m.value for m in got] == sent
    assert [m.position for m in got] == positions


@proves(1, needs={"queue": []})
async def test_01_queue_roundtrip(t: Trial) -> None:
    queue = t.conn.queue(t.name(), bytes)
    sent = [b"%d:" % i + os.urandom(i % 300) for i in range(1000)]
    ids = [await queue.put(value) for value in sent]
    got = await drain(queue, 1000)
    assert [m.value for m in got] == sent
    assert [m.id for m in got] == ids
    assert all(m.attempt == 1 for m in got)


@proves(1, needs={"channel": []})
async def test_01_channel_roundtrip(t: Trial) -> None:
    channel = t.conn.channel(t.name(), bytes)
    sent = [b"%d:" % i + os.urandom(i % 300) for i in range(1000)]
    async with channel.subscribe(buffer=2000) as sub:
        for value in sent:
            assert await channel.publish(value) in (1, None)
        got = [await sub.next(timeout=10) for _ in sent]
    assert [m.value for m in got if m is not None] == sent


@proves(1, needs={"stream": [], "queue": []})
async def test_01_batches(t: Trial) -> None:
    stream, queue = t.conn.stream(t.name(), bytes), t.conn.queue(t.name(), bytes)
    sent = numbers(1000)
    positions = await stream.append_many(sent)
    ids = await queue.put_many(sent)
    async with stream.read() as reader:
        got = []
        while batch := await reader.next_many(max=300):
            assert len(batch) <= 300
            got += batch
    assert [(m.value, m.position) for m in got] == list(zip(sent, positions, strict=True))
    taken: list[hw.Delivery[bytes]] = []
    while len(taken) < 1000 and (some := await queue.take(max=100, wait=1.0)):
        assert len(some) <= 100
        assert await queue.ack_many(some) == []
        taken += some
    assert [(m.value, m.id) for m in taken] == list(zip(sent, ids, strict=True))


def test_01_sync_roundtrip(target: Target) -> None:
    """The same names without `async`."""
    with hw.sync.connect(target.new_url()) as conn:
        sent = numbers(300)
        stream, queue, channel = conn.stream("sync", bytes), conn.queue("sync", bytes), conn.channel("sync", bytes)
        positions = [stream.append(value) for value in sent]
        for value in sent:
            queue.put(value)
        with stream.read() as reader:
            got = list(reader)
        assert [(m.value, m.position) for m in got] == list(zip(sent, positions, strict=True))
        with queue.consume() as consumer:
            worked = []
            for message in consumer:
                with message:
                    worked.append(message.value)
                if len(worked) == len(sent):
                    break
        assert worked == sent
        with channel.subscribe(buffer=1024) as sub:
            for value in sent:
                channel.publish(value)
            assert [heard.value for _ in sent if (heard := sub.next(timeout=5)) is not None] == sent


def test_01_uvloop(target: Target) -> None:
    """The same on the other common event loop."""
    import uvloop  # the extra `fast`, which the suite needs

    async def run() -> None:
        async with hw.connect(target.new_url()) as conn:
            queue = conn.queue("uvloop", bytes)
            sent = numbers(300)

            async def late() -> None:
                await asyncio.sleep(0.05)
                for value in sent:
                    await queue.put(value)

            async with running(late()):
                assert [m.value for m in await drain(queue, len(sent))] == sent

    uvloop.run(run())


@proves(2, needs={"stream": []}, processes=True)
async def test_02_confirm_truth(t: Trial) -> None:
    producers = [t.worker("produce", stream=t.name(), prefix=f"p{i}", count=10**9) for i in range(3)]
    for i, producer in enumerate(producers):
        await producer.until("sent", 50 * (i + 1))
        producer.kill()
    reader = t.worker("read", stream=t.name())
    await reader.until("done")
    found = {line["value"]: line["where"] for line in reader.of("read")}
    assert len(found) == len(reader.of("read")), "something is there twice"
    for producer in producers:
        sent = {line["value"]: line["where"] for line in producer.of("sent")}
        maybe = {line["value"] for line in producer.of("sending")} - set(sent)
        assert len(maybe) <= 1
        assert {value: found.get(value) for value in sent} == sent, "what was confirmed is there, where it was said to be"
        assert {value for value in found if value.startswith(producer.of("sending")[0]["value"].split(":")[0] + ":")} <= set(sent) | maybe


@proves(3, needs={"stream": [], "queue": [], "channel": []})
async def test_03_isolation(t: Trial) -> None:
    names = [t.name("a"), t.name("a") + ".b", t.name("a") + "-b", t.name("a") + "b", t.name("a").upper()]
    subs = [await t.conn.channel(name, str).subscribe().__aenter__() for name in names]
    for name in names:
        await t.conn.stream(name, str).append("stream " + name)
        await t.conn.queue(name, str).put("queue " + name)
        await t.conn.channel(name, str).publish("channel " + name)
    for name, sub in zip(names, subs, strict=True):
        assert [m.value for m in await everything(t.conn.stream(name, str))] == ["stream " + name]
        assert [m.value for m in await drain(t.conn.queue(name, str), 2, timeout=t.tick / 3)] == ["queue " + name]
        heard = await sub.next(timeout=5)
        assert heard is not None and (heard.value, heard.name) == ("channel " + name, name)
        assert await sub.next(timeout=0) is None
        await sub.__aexit__(None, None, None)


@proves(4, needs={"stream": [], "queue": []})
async def test_04_concurrent_publishers(t: Trial) -> None:
    stream, queue = t.conn.stream(t.name(), str), t.conn.queue(t.name(), str)

    async def publisher(n: int) -> dict[str, tuple[object, str]]:
        return {f"{n}-{i}": (await stream.append(f"{n}-{i}"), await queue.put(f"{n}-{i}")) for i in range(100)}

    sent: dict[str, tuple[object, str]] = {}
    for part in await asyncio.gather(*(publisher(n) for n in range(50))):
        sent |= part
    assert len({str(position) for position, _ in sent.values()}) == 5000
    assert len({job for _, job in sent.values()}) == 5000
    assert {m.value: m.position for m in await everything(stream)} == {value: position for value, (position, _) in sent.items()}
    assert {m.value: m.id for m in await drain(queue, 5000)} == {value: job for value, (_, job) in sent.items()}


@proves(5, needs={"queue": [], "group": []})
async def test_05_concurrent_consumers(t: Trial) -> None:
    stream, queue = t.conn.stream(t.name(), bytes), t.conn.queue(t.name(), bytes)
    sent = numbers(2000)
    await stream.append_many(sent)
    await queue.put_many(sent)
    for source in (queue, stream.group("g")):
        got: list[list[bytes]] = [[] for _ in range(50)]

        async def consumer(mine: list[bytes], source: object = source) -> None:
            async with source.consume() as consuming:  # type: ignore[attr-defined]
                while message := await consuming.next(timeout=t.tick):
                    async with message:
                        mine.append(message.value)
                        await asyncio.sleep(0)

        await asyncio.gather(*(consumer(mine) for mine in got))
        assert Counter(value for mine in got for value in mine) == Counter(sent)
        assert sum(1 for mine in got if mine) > 1, "one consumer had all"


@proves(6, needs={"stream": [Feature.ATOMIC_BATCH], "queue": [Feature.ATOMIC_BATCH]})
async def test_06_batches_report_each_item(t: Trial) -> None:
    conn = await t.connect(max_message_bytes=1000)
    stream, queue = conn.stream(t.name(), bytes), conn.queue(t.name(), bytes)
    batch = [b"one", b"x" * 5000, b"three"]
    for send in (stream.append_many, queue.put_many):
        with pytest.raises(hw.BatchError) as caught:
            await send(batch)
        one, two, three = caught.value.results
        assert isinstance(two, hw.TooLargeError)
        assert not isinstance(one, Exception) and not isinstance(three, Exception)
        with pytest.raises(hw.HeadwaterError):
            await send(batch, atomic=True)
        assert len(await send([b"four", hw.Item(b"five", key="k")], atomic=True)) == 2
    assert [m.value for m in await everything(stream)] == [b"one", b"three", b"four", b"five"]
    assert [m.value for m in await drain(queue, 5, timeout=t.tick / 3)] == [b"one", b"three", b"four", b"five"]


@proves(7, needs={"stream": [], "queue": [], "channel": []})
async def test_07_before_and_after(t: Trial) -> None:
    """Who listens now hears a channel; a queue and a stream keep."""
    channel, queue, stream = t.conn.channel(t.name(), str), t.conn.queue(t.name(), str), t.conn.stream(t.name(), str)
    assert await channel.publish("nobody") in (0, None)
    async with channel.subscribe() as sub:
        await channel.publish("somebody")
        first = await sub.next(timeout=5)
        assert first is not None and first.value == "somebody"
    await queue.put("before")
    async with queue.consume() as consumer:
        before = await consumer.next(timeout=5)
        assert before is not None and before.value == "before"
        await before.ack()
        await queue.put("after")
        after = await consumer.next(timeout=5)
        assert after is not None and after.value == "after"
        await after.ack()
    await stream.append("before")
    async with stream.read(follow=True) as all_of_it, stream.read(start="latest", follow=True) as live:
        await stream.append("after")
        assert [m.value for _ in range(2) if (m := await all_of_it.next(timeout=5)) is not None] == ["before", "after"]
        late = await live.next(timeout=5)
        assert late is not None and late.value == "after"


@proves(8, needs={"queue": [], "group": []}, processes=True)
async def test_08_many_processes(t: Trial) -> None:
    queue, stream = {"queue": t.name()}, {"stream": t.name()}
    group = {**stream, "group": "g"}
    count = t.n(250)
    producers = [t.worker("produce", **place, prefix=f"p{i}", count=count) for i in range(2) for place in (queue, stream)]
    consumers = {kind: [t.worker("consume", **place, idle=3 + 3 * t.tick) for _ in range(2)] for kind, place in (("queue", queue), ("group", group))}
    for producer in producers:
        await producer.until("done", timeout=60)
    for kind, workers in consumers.items():
        for worker in workers:
            await worker.until("done", timeout=60)
        sent = {line["value"] for producer in producers[0 if kind == "queue" else 1 :: 2] for line in producer.of("sent")}
        assert Counter(line["value"] for worker in workers for line in worker.of("acked")) == Counter(sent)
