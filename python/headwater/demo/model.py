"""What travels in the demo, and under which names."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

import msgspec

import headwater as hw
from headwater import sync

#: More minutes late than this is an alert and a rebooking.
LATE = 60
#: A rebooking that failed so often is a dead letter.
ATTEMPTS = 3
#: Seconds that an operation may take on a machine that is busy with other things.
OP_TIMEOUT = 120.0
#: The groups on the stream of departures; the last one joins late and replays.
WHEREABOUTS, DELAYS, REPLAY = "whereabouts", "delays", "replay"
#: Streams that hold what a group made of the departures, by group.
LEGS = {WHEREABOUTS: "demo.whereabouts", REPLAY: "demo.replayed"}
#: The airports' alerts are `demo.alerts.JFK` and so on; `demo.alerts.end` says that no more will come.
ALERTS = "demo.alerts"


class Departure(msgspec.Struct, frozen=True):
    """A flight that left. Key: the tail number. Event time: when it left. Id: DATE FLIGHT ORIGIN. delay: minutes."""

    flight: str
    origin: str
    dest: str
    delay: int
    miles: int
    arrival: datetime | None


class Leg(msgspec.Struct, frozen=True):
    """Where a plane went: key and event time as in `Departure`. worker, attempt: who wrote it, at which delivery."""

    flight: str
    origin: str
    dest: str
    arrival: datetime | None
    miles: int
    worker: str
    attempt: int


class Rebooking(msgspec.Struct, frozen=True):
    """A job: find other seats for the passengers of a late flight. seats: of the plane; None: not in planes.csv."""

    id: str
    tail: str
    origin: str
    dest: str
    delay: int
    seats: int | None


class Attempt(msgspec.Struct, frozen=True):
    """What one attempt at a rebooking came to."""

    id: str
    number: int
    outcome: Literal["booked", "failed"]
    seats: int | None
    worker: str


class Alert(msgspec.Struct, frozen=True, tag=True):
    """A flight that leaves more than an hour late."""

    id: str
    tail: str
    origin: str
    dest: str
    delay: int
    departed: datetime


class End(msgspec.Struct, frozen=True, tag=True):
    """No more alerts will come."""


class Planned(msgspec.Struct, frozen=True, tag=True):
    """What the feed read, before it appends anything."""

    rows: int
    cancelled: int
    cancelled_without_plane: int
    departures: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker is connected and listens."""

    worker: str
    pid: int


class Done(msgspec.Struct, frozen=True, tag=True):
    """A worker has done some messages, and is about to acknowledge them. again: those delivered before, to a worker that died."""

    worker: str
    messages: int
    again: int


class Heard(msgspec.Struct, frozen=True, tag=True):
    """The alerts desk has heard the end. repeats: alerts heard again, because who sent them died before it could acknowledge."""

    alerts: int
    repeats: int


Report = Planned | Ready | Done | Heard


class Names:
    """The demo's streams, groups, queue and channels on one connection."""

    def __init__(self, conn: sync.Connection) -> None:
        self.conn = conn
        self.departures: sync.Stream[Departure] = conn.stream("demo.departures", Departure)
        self.attempts: sync.Stream[Attempt] = conn.stream("demo.attempts", Attempt)
        #: The ids of the alerts that the desk heard.
        self.heard: sync.Stream[str] = conn.stream("demo.heard", str)
        self.reports: sync.Stream[Report] = conn.stream("demo.reports", Report)
        # A redelivered departure must not put its job again, though the first may be done: hence a window of its own.
        self.jobs: sync.Queue[Rebooking] = conn.queue(
            "demo.rebooking", Rebooking, retry=hw.Retry(max_attempts=ATTEMPTS, delay=0.1, max_delay=1.0), unique_for=600
        )

    def legs(self, group: str) -> sync.Stream[Leg]:
        """What `group` made of the departures."""
        return self.conn.stream(LEGS[group], Leg)

    def group(self, name: str) -> sync.Group[Departure]:
        """Whereabouts need one plane's departures in order; delays need no order."""
        return self.departures.group(name, ordering="none" if name == DELAYS else "key")

    def alerts(self, word: str) -> sync.Channel[Alert | End]:
        """The alerts of an airport, or "*" for all."""
        kind: Any = Alert | End
        return self.conn.channel(f"{ALERTS}.{word}", kind)

    def declare(self) -> None:
        """Makes all but the group that joins late."""
        for each in (self.departures, self.attempts, self.heard, self.reports, self.jobs, *map(self.legs, LEGS)):
            each.declare()
        for name in (WHEREABOUTS, DELAYS):
            self.group(name).declare()


def failures(seed: int, id: str) -> int:
    """How many attempts at a rebooking fail: none, one, or all. Drawn from its id, so that every run with one seed is the same."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed}/{id}".encode()).digest()[:8], "big") % 1000
    return ATTEMPTS if drawn < 20 else 1 if drawn < 120 else 0
