"""The producer: appends the year's departures in the order of time, keyed by tail number, with their departure as event time."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
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
    pace = Pace(flights.departures, spec.speed)
    for part in (flights.departures[:half], flights.departures[half:]):
        if not orders.await_line():
            return
        pace.begin()
        for batch in batches(part, spec.batch) if spec.speed is None else paced(part, spec.batch, pace):
            if orders.stopped:
                return
            names.departures.append_many([item(each) for each in batch])


class Pace:
    """How far the year is, when a second here is `speed` seconds of 2013, from its first departure on."""

    def __init__(self, departures: list[Loaded], speed: float | None) -> None:
        self._first = departures[0].time if departures else datetime.max.replace(tzinfo=UTC)
        self._speed = speed or math.inf
        self._begin: float | None = None

    def begin(self) -> None:
        """Now; what the feed waits in between is caught up."""
        if self._begin is None:
            self._begin = time.monotonic()

    def has_left(self, departure: Loaded) -> bool:
        return self._begin is not None and (departure.time - self._first).total_seconds() <= (time.monotonic() - self._begin) * self._speed


def item(each: Loaded) -> hw.Item[Departure]:
    """The id makes the append idempotent: a feed that is started again adds nothing twice."""
    return hw.Item(each.value, key=each.tail, id=each.id, time=each.time)


def batches(departures: list[Loaded], size: int) -> Iterator[list[Loaded]]:
    rest = iter(departures)
    while batch := list(islice(rest, size)):
        yield batch


def paced(departures: list[Loaded], size: int, pace: Pace) -> Iterator[list[Loaded]]:
    """Batches of what has left by now, until all have."""
    done = 0
    while done < len(departures):
        due = done
        while due < min(len(departures), done + size) and pace.has_left(departures[due]):
            due += 1
        if due > done:
            yield departures[done:due]
        else:
            time.sleep(TICK)
        done = due
