"""Declarations: the type given is the type that comes out, for every kind of type; and what all of them have."""

from typing import Any, assert_type

import headwater as hw
from models import Bought, ChatLine, Job, Order, Profile, Sold


def types(conn: hw.Connection) -> None:
    assert_type(conn.stream("struct", Order), hw.Stream[Order])
    assert_type(conn.queue("dataclass", Job), hw.Queue[Job])
    assert_type(conn.channel("typed-dict", ChatLine), hw.Channel[ChatLine])
    assert_type(conn.queue("pydantic", Profile), hw.Queue[Profile])
    assert_type(conn.stream("bytes", bytes), hw.Stream[bytes])
    assert_type(conn.stream("str", str), hw.Stream[str])
    assert_type(conn.stream("builtin", dict[str, int]), hw.Stream[dict[str, int]])
    assert_type(conn.stream("union", Sold | Bought), hw.Stream[Sold | Bought])
    assert_type(conn.queue("optional", int | None), hw.Queue[int | None])
    assert_type(conn.stream("anything"), hw.Stream[Any])
    assert_type(conn.queue("anything"), hw.Queue[Any])
    assert_type(conn.channel("anything"), hw.Channel[Any])


def sync_types(conn: hw.sync.Connection) -> None:
    assert_type(conn.stream("struct", Order), hw.sync.Stream[Order])
    assert_type(conn.queue("dataclass", Job), hw.sync.Queue[Job])
    assert_type(conn.channel("typed-dict", ChatLine), hw.sync.Channel[ChatLine])
    assert_type(conn.stream("union", Sold | Bought), hw.sync.Stream[Sold | Bought])
    assert_type(conn.queue("anything"), hw.sync.Queue[Any])


async def every_option(conn: hw.Connection) -> None:
    jobs = conn.queue("crawl", Job, lease=None, retry=None, ordering=None, unique_for=None, max_length=None, max_hold=None, codec=None, needs=())
    orders = conn.stream("orders", Order, retention=None, partitions=None, codec=None, needs=())
    billing = orders.group("billing", ordering=None, start=None, lease=None, retry=None, max_hold=None)
    assert_type(billing, hw.Group[Order])
    conn.queue("given", Job, lease=30.0, retry=hw.Retry(max_attempts=3), ordering="key", unique_for=60.0, max_length=1000, max_hold=600.0)
    conn.stream("given", Order, retention=hw.Retention(age=86400.0, bytes=2**30, records=10**6), codec="msgpack")
    conn.channel("given", Order, needs=(hw.Feature.WILDCARDS,))
    orders.group("given", ordering="total", start="latest", lease=5.0)

    await jobs.declare()
    await orders.declare()
    await billing.declare()
    print(await jobs.config(), await orders.config(), await billing.config())
    await billing.delete()
    await jobs.delete()
    await orders.delete()


def both_are_sources(jobs: hw.Queue[Job], billing: hw.Group[Job]) -> list[hw.Source[Job]]:
    return [jobs, billing]


def both_are_sync_sources(jobs: hw.sync.Queue[Job], billing: hw.sync.Group[Job]) -> list[hw.sync.Source[Job]]:
    return [jobs, billing]


def refused(conn: hw.Connection) -> None:
    conn.queue("crawl", Job, lease="30 s")  # type: ignore  # seconds, not a text
    conn.queue("crawl", Job, ordering="partition")  # type: ignore  # none, key or total
    conn.stream("orders", Order, codec="yaml")  # type: ignore
    conn.queue("crawl", Job, prefetch=5)  # type: ignore  # an option of consume
