"""The producer: appends the year's departures in the order of time, keyed by tail number, with their departure as event time."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import headwater as hw

from .data import Loaded, load
from .model import Departure, Names, Ready
from .orders import Orders, Spec

#: Seconds between two looks at what is due, with a chosen speed.
TICK = 0.05


def run(names: Names, spec: Spec, orders: Orders) -> None:
    """Waits to be let go twice: before the first departure, and before the second half of them."""
    # What is read lives to the end: looking through it for cycles, again and again, would take as long as reading it.
    gc.disable()
    flights = load(Path(spec.files), spec.rows)
    gc.freeze()
    gc.enable()
    names.reports.append_many([flights.plan, Ready(spec.name, os.getpid())])
    half = len(flights.departures) // 2
    for part in (flights.departures[:half], flights.departures[half:]):
        if not orders.await_line():
            return
        for batch in batches(part, spec.batch) if spec.speed is None else paced(part, spec.speed, spec.batch):
            if orders.stopped:
                return
            names.departures.append_many([item(each) for each in batch])


def item(each: Loaded) -> hw.Item[Departure]:
    """The id makes the append idempotent: a feed that is started again adds nothing twice."""
    return hw.Item(each.value, key=each.tail, id=each.id, time=each.time)


def batches(departures: list[Loaded], size: int) -> Iterator[list[Loaded]]:
    rest = iter(departures)
    while batch := list(islice(rest, size)):
        yield batch


def paced(departures: list[Loaded], speed: float, size: int) -> Iterator[list[Loaded]]:
    """Batches of what is due, when a second here is `speed` seconds of 2013."""
    if not departures:
        return
    first, begin, done = departures[0].time, time.monotonic(), 0
    while done < len(departures):
        now = (time.monotonic() - begin) * speed
        due = done
        while due < len(departures) and due - done < size and (departures[due].time - first).total_seconds() <= now:
            due += 1
        if due > done:
            yield departures[done:due]
        else:
            time.sleep(TICK)
        done = due
