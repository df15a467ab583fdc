"""Queues, and what they share with groups: consume, run, take, stats, dead letters."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

import headwater as hw
from models import Job


async def put(jobs: hw.Queue[Job]) -> None:
    job_id = await jobs.put(Job("a"), key=None, delay=0, priority=0, ttl=None, unique=None, on_duplicate="return", headers=None, time=None)
    assert_type(job_id, str)
    await jobs.put(Job("a"), delay=timedelta(minutes=1), key="k", headers={"trace": "1"})
    await jobs.put(Job("a"), delay=datetime.now(UTC) + timedelta(days=1), unique="a", on_duplicate="raise")
    ids = await jobs.put_many([Job("a"), hw.Item(Job("b"), delay=60)], atomic=False)
    assert_type(ids, list[str])
    assert_type(await jobs.cancel(job_id), bool)
    await jobs.purge()


async def consume(src: hw.Source[Job]) -> None:
    async with src.consume(prefetch=1, idle=None) as consumer:
        assert_type(consumer, hw.Consumer[Job])
        async for msg in consumer:
            assert_type(msg, hw.Delivery[Job])
            async with msg.handled():
                print(msg.value.url)
        assert_type(await consumer.next(timeout=1.0), hw.Delivery[Job] | None)
        assert_type(await consumer.next_many(max=10, wait=1.0), list[hw.Delivery[Job]])
        consumer.stop()
    async with src.consume(idle=2.0) as consumer:
        pass


async def one(msg: hw.Delivery[Job]) -> None:
    print(msg.value.url)


async def several(msgs: list[hw.Delivery[Job]]) -> None:
    print(len(msgs))


async def run(src: hw.Source[Job]) -> None:
    await src.run(one, concurrency=1, batch=None, timeout=None)
    await src.run(one, concurrency=8, timeout=30.0)
    await src.run(several, batch=100)
    await src.run(one, batch=100)  # type: ignore  # with batch the handler gets a list
    await src.run(several)  # type: ignore  # without, one delivery


async def take(src: hw.Source[Job]) -> None:
    msgs = await src.take(max=100, wait=1.0)
    assert_type(msgs, list[hw.Delivery[Job]])
    lost = await src.ack_many(msgs)
    assert_type(lost, list[hw.Delivery[Job]])
    assert_type(await src.stats(), hw.SourceStats)
    await src.pause()
    await src.resume()


async def numbers(src: hw.Source[Job]) -> None:
    stats = await src.stats()
    assert_type(stats.ready, int | None)
    assert_type(stats.delayed, int | None)
    assert_type(stats.leased, int | None)
    assert_type(stats.dead, int | None)
    assert_type(stats.oldest_age, float | None)
    assert_type(stats.oldest_lease, float | None)
    assert_type(stats.put_total, int | None)
    assert_type(stats.acked_total, int | None)


async def dead_letters(src: hw.Source[Job]) -> None:
    async for letter in src.dead.read():
        assert_type(letter, hw.DeadLetter[Job])
        await src.dead.edit(letter.id, Job("mended"))
    for error, count in (await src.dead.by_error()).items():
        print(error, count)
    assert_type(await src.dead.redrive(ids=None, max=None, rate=None), int)
    assert_type(await src.dead.redrive(ids=["1"], max=10, rate=100.0), int)
    assert_type(await src.dead.purge(), int)


def without_async(jobs: hw.sync.Queue[Job]) -> None:
    job_id = jobs.put(Job("a"), delay=1, priority=5, ttl=60, unique="a")
    assert_type(job_id, str)
    assert_type(jobs.put_many([Job("a"), hw.Item(Job("b"))], atomic=True), list[str])
    assert_type(jobs.cancel(job_id), bool)
    with jobs.consume(prefetch=10) as consumer:
        assert_type(consumer, hw.sync.Consumer[Job])
        for msg in consumer:
            assert_type(msg, hw.sync.Delivery[Job])
            with msg.handled():
                print(msg.value.url)
        assert_type(consumer.next(timeout=1.0), hw.sync.Delivery[Job] | None)
    msgs = jobs.take(max=100, wait=1.0)
    assert_type(msgs, list[hw.sync.Delivery[Job]])
    assert_type(jobs.ack_many(msgs), list[hw.sync.Delivery[Job]])
    assert_type(jobs.stats(), hw.SourceStats)
    for letter in jobs.dead.read():
        assert_type(letter, hw.DeadLetter[Job])
    assert_type(jobs.dead.redrive(), int)


def sync_one(msg: hw.sync.Delivery[Job]) -> None:
    print(msg.value.url)


def sync_several(msgs: list[hw.sync.Delivery[Job]]) -> None:
    print(len(msgs))


def sync_run(jobs: hw.sync.Queue[Job]) -> None:
    jobs.run(sync_one, concurrency=4)
    jobs.run(sync_several, batch=100)


async def refused(jobs: hw.Queue[Job]) -> None:
    await jobs.put("a")  # type: ignore  # a Job was declared
    await jobs.put(Job("a"), delay="soon")  # type: ignore
    await jobs.put(Job("a"), on_duplicate="ignore")  # type: ignore
    await jobs.put_many([hw.Item("a")])  # type: ignore
