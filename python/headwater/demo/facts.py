"""What the run came to: read from the streams, the queue and the dead letters when all is done, with nothing taken from the watch."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import headwater as hw

from .model import LATE, LEGS, REPLAY, WHEREABOUTS, Names
from .watch import GROUPS

__all__ = ["Facts", "History", "Whereabouts", "gather", "minutes", "state", "whereabouts"]

PAGE = 10_000


class Digest:
    """Of departures in order, by their times, ids and destinations; as docs/guides/demo.md has it."""

    __slots__ = ("_hash", "count")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, line: bytes) -> None:
        self._hash.update(line)
        self.count += 1

    def __str__(self) -> str:
        return self._hash.hexdigest()[:16]


@dataclass
class History:
    """Where the planes went, as one group wrote it. planes: by tail number, how many legs and their digest."""

    legs: int = 0
    miles: int = 0
    planes: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    #: Legs written at a second or later delivery, and legs by worker.
    redelivered: int = 0
    workers: Counter[str] = field(default_factory=Counter[str])


@dataclass
class Facts:
    """Everything that is reconciled."""

    departures: int = 0
    without_plane: int = 0
    without_arrival: int = 0
    miles: int = 0
    digest: str = ""
    #: Departures and late ones, by airport and month, as the independent computation has them.
    cells: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    histories: dict[str, History] = field(default_factory=dict[str, History])
    acked: dict[str, int | None] = field(default_factory=dict[str, int | None])
    group_dead: int = 0
    heard: list[str] = field(default_factory=list[str])
    jobs_put: int | None = None
    jobs_acked: int | None = None
    #: By flight: at which attempt; attempts that failed, by flight; seats of the booked.
    booked: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    seats: int = 0
    #: Dead letters: by flight, the number of attempts. by_error: as the queue counts them.
    dead: dict[str, int] = field(default_factory=dict[str, int])
    by_error: dict[str, int] = field(default_factory=dict[str, int])

    def cut_short(self) -> int:
        """Attempts at jobs that the engine counted and nobody noted: their worker was killed first."""
        booked = sum(number - 1 - len(self.failed.get(id, ())) for id, number in self.booked.items())
        return booked + sum(attempts - len(self.failed.get(id, ())) for id, attempts in self.dead.items())


def gather(names: Names) -> Facts:
    facts = Facts()
    _departures(names, facts)
    for group in LEGS:
        facts.histories[group] = _history(names, group)
    for name in GROUPS:
        stats = names.group(name).stats()
        facts.acked[name] = stats.acked_total
        facts.group_dead += stats.dead or 0
    _jobs(names, facts)
    facts.heard = [msg.value for msg in names.heard.read()]
    return facts


def minutes(when: datetime) -> int:
    """Since 1970."""
    return int(when.timestamp()) // 60


def line(msg: hw.Message[Any]) -> bytes:
    """What a digest is made of."""
    value = msg.value
    arrival = "-" if value.arrival is None else minutes(value.arrival)
    return f"{minutes(msg.timestamp)} {msg.id} {msg.key} {value.dest} {arrival}\n".encode()


def _departures(names: Names, facts: Facts) -> None:
    digest = Digest()
    with names.departures.read() as reader:
        while batch := reader.next_many(PAGE):
            for msg in batch:
                value = msg.value
                digest.add(line(msg))
                facts.miles += value.miles
                facts.without_plane += msg.key in (None, "", "NA")
                facts.without_arrival += value.arrival is None
                # The id begins with the date of the schedule, by which a flight belongs to its month.
                cell = facts.cells.setdefault(f"{value.origin} {(msg.id or '')[5:7]}", [0, 0])
                cell[0] += 1
                cell[1] += value.delay > LATE
    facts.departures, facts.digest = digest.count, str(digest)


def _history(names: Names, group: str) -> History:
    found = History()
    planes: dict[str, Digest] = {}
    with names.legs(group).read() as reader:
        while batch := reader.next_many(PAGE):
            for msg in batch:
                tail = msg.key or ""
                if tail not in planes:
                    planes[tail] = Digest()
                planes[tail].add(line(msg))
                found.legs += 1
                found.miles += msg.value.miles
                found.redelivered += msg.value.attempt > 1
                found.workers[msg.value.worker] += 1
    found.planes = {tail: (digest.count, str(digest)) for tail, digest in planes.items()}
    return found


def _jobs(names: Names, facts: Facts) -> None:
    stats = names.jobs.stats()
    facts.jobs_put, facts.jobs_acked = stats.put_total, stats.acked_total
    for msg in names.attempts.read():
        attempt = msg.value
        if attempt.outcome == "booked":
            facts.booked[attempt.id] = attempt.number
            facts.seats += attempt.seats or 0
        else:
            facts.failed.setdefault(attempt.id, []).append(attempt.number)
    facts.dead = {letter.value.id: letter.attempt for letter in names.jobs.dead.read()}
    facts.by_error = dict(names.jobs.dead.by_error())


@dataclass(frozen=True)
class Whereabouts:
    """A plane's last departure at or before a time, by where it was asked; and its next one."""

    last: dict[str, hw.Message[Any] | None]
    following: hw.Message[Any] | None


def whereabouts(names: Names, plane: str, at: datetime) -> Whereabouts:
    """As each group kept it, and from the departures themselves by their time."""
    last: dict[str, hw.Message[Any] | None] = {}
    for group in (WHEREABOUTS, REPLAY):
        last[f"the group {group}"] = _last(msg for msg in names.legs(group).read(key=plane) if msg.timestamp <= at)
    # Departures stand in the order of their times, so that a read can end at one. The end itself is not read: hence behind `at`.
    behind = at + timedelta(microseconds=1)
    last["the departures up to then"] = _last(names.departures.read(key=plane, stop=behind))
    with names.departures.read(key=plane, start=behind) as reader:
        return Whereabouts(last, reader.next(timeout=0))


def _last(messages: Iterable[hw.Message[Any]]) -> hw.Message[Any] | None:
    last = deque(messages, maxlen=1)
    return last[0] if last else None


def state(msg: hw.Message[Any], at: datetime) -> str:
    """As the independent computation calls it."""
    arrival = msg.value.arrival
    return "unknown" if arrival is None else "in the air" if at < arrival else "on the ground"
