"""What a golden directory holds: written once by `make_golden.py`, and looked for by every later version.

Deterministic in all but the clock and the random numbers of the engine. Never change what is here: a new format gets new content
beside it, and the old one stays readable.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import msgspec

import headwater as hw

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Order(msgspec.Struct):
    item: str
    amount: int


def order(n: int) -> Order:
    return Order(f"item-{n}", n)


ORDERS = 300
#: Larger than the first segment, so that the log has rolled.
LARGE = bytes(range(256)) * 400


def write(conn: hw.sync.Connection) -> None:
    orders = conn.stream("orders", Order)
    for n in range(ORDERS):
        orders.append(order(n), key=f"c-{n % 7}", id=f"o-{n}", time=BEGIN + timedelta(minutes=n), headers={"n": str(n), "ü": "λ"})
    orders.append_many([hw.Item(order(ORDERS + n), key="batch") for n in range(20)], atomic=True)

    blobs = conn.stream("blobs", bytes)
    blobs.append(b"")
    blobs.append(LARGE)
    blobs.append(b"\x00\xff", key=b"\xfe\x00".hex())

    trimmed = conn.stream("trimmed/ä b", bytes)
    positions = [trimmed.append(b"%05d" % n + bytes(95)) for n in range(2000)]
    trimmed.trim(before=positions[1500])

    billing = orders.group("billing", ordering="key", retry=hw.Retry(max_attempts=2, delay=0.01, jitter=0))
    billing.ack_many(first_of_keys(billing))
    taken = first_of_keys(billing)
    taken[0].reject("the first of the second round")
    billing.ack_many(taken[1:])

    jobs = conn.queue("jobs", dict[str, int], lease=20, max_hold=600)
    for n in range(10):
        jobs.put({"n": n}, headers={"n": str(n)})
    jobs.put({"n": 100}, priority=9)
    jobs.put({"n": 200}, delay=FAR)
    jobs.put({"n": 300}, unique="only-one")
    jobs.cancel(jobs.put({"n": 400}))
    for msg in jobs.take(max=4, wait=5.0):
        if msg.value["n"] == 0:
            msg.reject("a golden reason")
        else:
            msg.ack()


def hold(conn: hw.sync.Connection) -> list[hw.sync.Delivery[dict[str, int]]]:
    """Two jobs in hand when the directory is closed, or its process killed: they come again."""
    audit = conn.stream("orders", Order).group("audit", start="latest")
    audit.declare()
    audit.pause()
    return conn.queue("jobs", dict[str, int]).take(max=2, wait=5.0)


def first_of_keys(group: hw.sync.Group[Order]) -> list[hw.sync.Delivery[Order]]:
    """One delivery of each of the seven keys and of "batch": what an ordering by key gives at once."""
    taken: list[hw.sync.Delivery[Order]] = []
    while len(taken) < 8:
        more = group.take(max=8 - len(taken), wait=5.0)
        assert more
        taken += more
    return taken


def check(conn: hw.sync.Connection) -> None:
    """That all of it is there. Nothing is changed."""
    assert {(info.kind, info.name) for info in conn.names() if info.kind != "group"} == {
        ("stream", "orders"),
        ("stream", "blobs"),
        ("stream", "trimmed/ä b"),
        ("queue", "jobs"),
    }

    orders = conn.stream("orders", Order)
    read = orders.read().next_many(max=1000)
    assert [msg.value for msg in read] == [order(n) for n in range(ORDERS + 20)]
    for n, msg in enumerate(read[:ORDERS]):
        assert (msg.key, msg.timestamp, dict(msg.headers)) == (f"c-{n % 7}", BEGIN + timedelta(minutes=n), {"n": str(n), "ü": "λ"})
    assert [msg.key for msg in read[ORDERS:]] == ["batch"] * 20
    assert [msg.value.amount for msg in orders.read(key="c-3").next_many()] == list(range(3, ORDERS, 7))
    since = orders.read(start=BEGIN + timedelta(minutes=250)).next_many()
    assert since[0].value.amount <= 250
    assert since[-1].value.amount == ORDERS + 19

    blobs = [msg.raw for msg in conn.stream("blobs", bytes).read().next_many()]
    assert blobs == [b"", LARGE, b"\x00\xff"]

    trimmed = conn.stream("trimmed/ä b", bytes)
    kept = [int(msg.raw[:5]) for msg in trimmed.read(start="earliest", trimmed="skip").next_many(max=5000)]
    assert kept == list(range(kept[0], 2000))
    assert 1000 < kept[0] <= 1500, "trimming goes by whole segments"

    billing = orders.group("billing", ordering="key")
    # Two rounds over eight keys are done or dead; what had been taken ahead is nobody's.
    assert billing.lag() == ORDERS + 20 - 16
    (letter,) = list(billing.dead.read())
    assert letter.reason == "rejected: the first of the second round" or "first of the second round" in letter.reason
    assert letter.value.amount in range(7, 14) or letter.value.amount == ORDERS + 1

    audit = orders.group("audit")
    assert audit.stats().paused
    assert audit.lag() == 0

    jobs = conn.queue("jobs", dict[str, int])
    end = time.monotonic() + 10
    while (stats := jobs.stats()).leased and time.monotonic() < end:
        time.sleep(0.05)  # whose process is dead gives back in a moment
    assert (stats.ready, stats.delayed, stats.leased, stats.dead) == (8, 1, 0, 1)
    assert jobs.config()["lease"] == 20
    (dead,) = list(jobs.dead.read())
    assert dead.value == {"n": 0}
    assert "a golden reason" in dead.reason
    assert dead.headers["n"] == "0"


def use(conn: hw.sync.Connection) -> None:
    """And that one can go on from there, under the same ids, keys and unique ones."""
    orders = conn.stream("orders", Order)
    last = orders.append(order(1000), key="c-0", time=BEGIN)
    assert last > orders.read(last=2).next_many()[0].position
    assert orders.read(last=1).next_many()[0].value == order(1000)

    jobs = conn.queue("jobs", dict[str, int])
    first = jobs.put({"n": 301}, unique="only-one")
    left = [msg for _ in range(20) for msg in jobs.take(max=20, wait=0.05)]
    assert sorted(msg.value["n"] for msg in left) == [3, 4, 5, 6, 7, 8, 9, 300]
    assert first == next(msg.id for msg in left if msg.value["n"] == 300)
    assert not jobs.ack_many(left)
    assert jobs.dead.redrive() == 1
    (again,) = jobs.take(max=1, wait=5.0)
    assert again.value == {"n": 0}
    again.ack()
