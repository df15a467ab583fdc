"""Streams, positions, readers and groups."""

from datetime import UTC, datetime
from typing import assert_type

import headwater as hw
from models import Order


async def append(orders: hw.Stream[Order]) -> None:
    pos = await orders.append(Order("a"), key=None, id=None, expect=None, expect_key=None, headers=None, time=None)
    assert_type(pos, hw.Position)
    await orders.append(Order("a"), key="c-7", id="o-1", time=datetime.now(UTC), headers={"trace": "1"})
    await orders.append(Order("a"), expect="empty")
    await orders.append(Order("a"), expect=pos)
    await orders.append(Order("a"), key="c-7", expect_key="absent")
    await orders.append(Order("a"), key="c-7", expect_key=pos)
    poss = await orders.append_many([Order("a"), hw.Item(Order("b"), key="c-7")], atomic=False)
    assert_type(poss, list[hw.Position])


async def read(orders: hw.Stream[Order], pos: hw.Position, when: datetime) -> None:
    reader = orders.read(start="earliest", after=None, last=None, stop=None, follow=False, key=None, trimmed="raise")
    assert_type(reader, hw.Reader[Order])
    async for msg in reader:
        assert_type(msg, hw.Message[Order])
    async with orders.read(start="latest", follow=True) as tail:
        assert_type(tail, hw.Reader[Order])
        assert_type(await tail.next(timeout=1.0), hw.Message[Order] | None)
        assert_type(await tail.next_many(max=1000, wait=0.0), list[hw.Message[Order]])
        assert_type(tail.checkpoint, hw.Checkpoint)
        tail.stop()
    orders.read(start=pos, stop=pos)
    orders.read(start=when, stop=when)
    orders.read(last=10)
    orders.read(after=pos, follow=True, key="c-7", trimmed="skip")
    orders.read(after=hw.Checkpoint.parse("text"))


def positions(a: hw.Position, b: hw.Position) -> None:
    assert_type(hw.Position.parse(str(a)), hw.Position)
    print(a < b, a == b, sorted([a, b]), {a: 1})
    assert_type(hw.Checkpoint.parse("text"), hw.Checkpoint)


async def about(orders: hw.Stream[Order], pos: hw.Position) -> None:
    assert_type(await orders.info(), hw.StreamInfo)
    await orders.trim(before=pos)


async def groups(orders: hw.Stream[Order], pos: hw.Position) -> None:
    billing = orders.group("billing", ordering="key", start=None, lease=None, retry=None, max_hold=None)
    assert_type(billing, hw.Group[Order])
    orders.group("late", start=pos)
    orders.group("dated", start=datetime(2026, 1, 1, tzinfo=UTC))
    print(await billing.lag())
    await billing.seek("earliest")
    await billing.seek("latest")
    await billing.seek(pos)
    await billing.seek(datetime.now(UTC))
    async with billing.consume() as consumer:
        async for msg in consumer:
            assert_type(msg, hw.Delivery[Order])
            async with msg:
                print(msg.value.item)


def without_async(orders: hw.sync.Stream[Order]) -> None:
    assert_type(orders.append(Order("a"), key="c-7"), hw.Position)
    assert_type(orders.append_many([Order("a")], atomic=True), list[hw.Position])
    reader = orders.read(last=10)
    assert_type(reader, hw.sync.Reader[Order])
    for msg in reader:
        assert_type(msg, hw.Message[Order])
    with orders.read(follow=True) as tail:
        assert_type(tail.next(timeout=1.0), hw.Message[Order] | None)
    assert_type(orders.info(), hw.StreamInfo)
    billing = orders.group("billing")
    assert_type(billing, hw.sync.Group[Order])
    billing.seek("latest")
    print(billing.lag())


async def refused(orders: hw.Stream[Order], pos: hw.Position) -> None:
    await orders.append({"item": "a"})  # type: ignore  # an Order was declared
    await orders.append(Order("a"), expect="absent")  # type: ignore  # "empty", of the stream
    await orders.append(Order("a"), delay=5)  # type: ignore  # queues delay
    orders.read(trimmed="ignore")  # type: ignore
    print(pos < 5)  # type: ignore
