"""What the consumers do. Each may be killed at any line: what it had in hand comes again, and doing it again changes nothing.

An effect goes before its acknowledgement, and carries an id of its own: an append under an id that is there appends nothing, a job whose
`unique` word is there is not put, an alert heard twice is told by its id.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import headwater as hw
from headwater import sync

from . import data
from .model import DELAYS, LATE, REPLAY, WHEREABOUTS, Alert, Attempt, Departure, Done, End, Heard, Leg, Names, Ready, Rebooking, failures
from .orders import Orders, Spec

Batch = list[sync.Delivery[Departure]]


class NoSeats(Exception):
    """No other flight has seats left. Tried again; in the end a dead letter."""


def each_batch(group: sync.Group[Departure], names: Names, spec: Spec, orders: Orders, work: Callable[[Batch], Any]) -> None:
    """Gives the group's deliveries to `work` in batches, and acknowledges each batch when its work is done."""
    with group.consume(prefetch=0) as consumer:
        orders.on_stop(consumer.stop)
        names.reports.append(Ready(spec.name, os.getpid()))
        while batch := consumer.next_many(spec.batch, math.inf):
            work(batch)
            names.reports.append(Done(spec.name, len(batch), sum(msg.attempt > 1 for msg in batch)))
            group.ack_many(batch)


def whereabouts(names: Names, spec: Spec, orders: Orders, group: str = WHEREABOUTS) -> None:
    """Keeps each plane's whereabouts: the legs of one plane in order, whichever process has them in hand."""
    legs = names.legs(group)

    def keep(batch: Batch) -> None:
        legs.append_many([leg(msg) for msg in batch])

    def leg(msg: sync.Delivery[Departure]) -> hw.Item[Leg]:
        value = msg.value
        kept = Leg(value.flight, value.origin, value.dest, value.arrival, value.miles, spec.name, msg.attempt)
        return hw.Item(kept, key=msg.key, id=msg.id, time=msg.timestamp)

    each_batch(names.group(group), names, spec, orders, keep)


def replay(names: Names, spec: Spec, orders: Orders) -> None:
    """Joins late, begins with the first departure, and must come to the same whereabouts."""
    whereabouts(names, spec, orders, REPLAY)


def delays(names: Names, spec: Spec, orders: Orders) -> None:
    """Makes an alert and a rebooking of each departure that is more than an hour late."""
    seats = data.seats(Path(spec.files))
    airports = {name: names.alerts(name) for name in ("EWR", "JFK", "LGA")}

    def tell(batch: Batch) -> None:
        late = [msg for msg in batch if msg.value.delay > LATE]
        names.jobs.put_many([hw.Item(job(msg), key=msg.key, unique=msg.id) for msg in late])
        for msg in late:
            value = msg.value
            alert = Alert(msg.id, msg.key or "", value.origin, value.dest, value.delay, msg.timestamp)
            airports[value.origin].publish(alert, key=msg.key)

    def job(msg: sync.Delivery[Departure]) -> Rebooking:
        value, tail = msg.value, msg.key or ""
        return Rebooking(msg.id, tail, value.origin, value.dest, value.delay, seats.get(tail))

    each_batch(names.group(DELAYS), names, spec, orders, tell)


def rebooking(names: Names, spec: Spec, orders: Orders) -> None:
    """Finds other seats, job by job. Some attempts fail: tried again after a moment; the third failure makes a dead letter."""

    def rebook(msg: sync.Delivery[Rebooking]) -> None:
        job = msg.value
        if msg.attempt <= failures(spec.seed, job.id):
            note(job, msg.attempt, "failed", f"{job.id} {msg.attempt}")
            raise NoSeats(f"no seats from {job.origin} to {job.dest}")
        note(job, msg.attempt, "booked", f"{job.id} booked")

    def note(job: Rebooking, number: int, outcome: Any, id: str) -> None:
        names.attempts.append(Attempt(job.id, number, outcome, job.seats, spec.name), key=job.tail, id=id)

    with names.jobs.consume(prefetch=min(spec.batch, 100)) as consumer:
        orders.on_stop(consumer.stop)
        names.reports.append(Ready(spec.name, os.getpid()))
        for msg in consumer:
            with msg.handled():
                rebook(msg)


def desk(names: Names, spec: Spec, orders: Orders) -> None:
    """Hears every alert: rather than miss one, it holds the publishers up. Ends when told that no more will come."""
    heard: set[str] = set()
    repeats = 0
    with names.alerts("*").subscribe(buffer=4096, overflow="block") as alerts:
        orders.on_stop(alerts.stop)
        names.reports.append(Ready(spec.name, os.getpid()))
        while batch := alerts.next_many(1000, math.inf):
            ended = isinstance(batch[-1].value, End)
            news = [msg.value.id for msg in batch if isinstance(msg.value, Alert)]
            fresh = unheard(news, heard)
            repeats += len(news) - len(fresh)
            names.heard.append_many(fresh)
            if ended:
                names.reports.append(Heard(len(heard), repeats))
                return


def unheard(ids: Iterable[str], heard: set[str]) -> list[str]:
    """Those not heard before, which from now on are."""
    fresh: list[str] = []
    for id in ids:
        if id not in heard:
            heard.add(id)
            fresh.append(id)
    return fresh


ROLES: dict[str, Callable[[Names, Spec, Orders], None]] = {
    "whereabouts": whereabouts,
    "delays": delays,
    "replay": replay,
    "rebooking": rebooking,
    "desk": desk,
}
