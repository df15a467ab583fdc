"""Messages, deliveries and dead letters: read-only, with the type of the value; and how a delivery is handled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_type

import headwater as hw
from models import Bought, Job, Order, Sold


def of_a_message(msg: hw.Message[Order]) -> None:
    assert_type(msg.value, Order)
    assert_type(msg.raw, bytes)
    assert_type(msg.key, str | None)
    assert_type(msg.raw_key, bytes | None)
    assert_type(msg.headers, Mapping[str, str])
    print(msg.raw_headers)
    assert_type(msg.id, str)
    assert_type(msg.name, str)
    assert_type(msg.timestamp, datetime)
    assert_type(msg.position, hw.Position | None)
    assert_type(msg.reply_to, str | None)
    assert_type(msg.correlation_id, str | None)
    assert_type(msg.foreign, bool)


async def of_a_delivery(msg: hw.Delivery[Order]) -> None:
    assert_type(msg.value, Order)
    assert_type(msg.attempt, int)
    assert_type(msg.lease_until, datetime)
    assert_type(msg.settled, bool)
    await msg.ack()
    await msg.retry()
    await msg.retry(delay=60)
    await msg.reject("no such customer")
    await msg.extend(30)


def of_a_sync_delivery(msg: hw.sync.Delivery[Order]) -> None:
    assert_type(msg.value, Order)
    msg.ack()
    msg.retry(delay=60)
    msg.reject("no such customer")
    msg.extend(30)


def of_a_dead_letter(letter: hw.DeadLetter[Order]) -> None:
    assert_type(letter.value, Order)
    assert_type(letter.reason, str)
    assert_type(letter.error, str | None)
    assert_type(letter.history, tuple[hw.Attempt, ...])
    assert_type(letter.died_at, datetime)
    assert_type(letter.origin, str)


def covariant(sold: hw.Message[Sold]) -> hw.Message[Sold | Bought]:
    return sold


def a_delivery_is_a_message(msg: hw.Delivery[Order]) -> hw.Message[Order]:
    return msg


def work(value: Job) -> None:
    raise hw.RetryLater(delay=60) if value.url else hw.RejectMessage("no such customer")


async def handling(msg: hw.Delivery[Job]) -> None:
    async with msg:
        work(msg.value)
    async with msg.handled():
        work(msg.value)


def sync_handling(msg: hw.sync.Delivery[Job]) -> None:
    with msg:
        work(msg.value)
    with msg.handled():
        work(msg.value)


async def after_a_block(msg: hw.Delivery[Job]) -> str:
    async with msg:
        result = msg.value.url
    return result  # `async with msg` re-raises: this line is reached with `result` bound


def policies() -> list[hw.Retry]:
    return [
        hw.Retry(),
        hw.Retry(max_attempts=5, delay=1.0, factor=2.0, max_delay=300.0, jitter=0.1, on=(Exception,), give_up_on=()),
        hw.Retry(max_attempts=None, give_up_on=(ValueError, KeyError)),
    ]


def batch_elements(later: datetime) -> None:
    assert_type(hw.Item(Job("a")), hw.Item[Job])
    hw.Item(Job("a"), key=None, id=None, headers=None, time=None, delay=0, priority=0, ttl=None, unique=None)
    hw.Item(Job("a"), delay=timedelta(minutes=5), headers={"trace": "1"})
    hw.Item(Job("a"), delay=later, time=later, priority=9, ttl=60, unique="a")


def read_only(msg: hw.Message[Order]) -> None:
    msg.value = Order("x")  # type: ignore
    msg.key = "x"  # type: ignore
