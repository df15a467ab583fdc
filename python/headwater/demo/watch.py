"""What is seen of the run while it runs: sampled for the screen and for the report's plots."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from .crew import Crew
from .model import DELAYS, REPLAY, WHEREABOUTS, Alert, Done, End, Heard, Names, Planned, Ready

__all__ = ["GROUPS", "Sample", "Watch"]

GROUPS = (WHEREABOUTS, DELAYS, REPLAY)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. at: seconds since the first departure was let go. done, lag: by group, those that have joined. waiting: jobs that
    wait for their next attempt."""

    at: float
    fed: int
    done: dict[str, int]
    lag: dict[str, int]
    ready: int
    waiting: int
    leased: int
    dead: int
    put: int
    booked: int
    failed: int
    heard: int
    dropped: int

    @property
    def open(self) -> int:
        """Jobs that are neither booked nor dead."""
        return self.ready + self.waiting + self.leased


@dataclass
class Watch:
    """Follows the reports of the workers and the attempts, hears alerts as a subscriber that may miss some, and asks for depths."""

    names: Names
    crew: Crew
    plan: Planned | None = None
    desk: Heard | None = None
    #: The alerts were said to be over, and this subscriber heard it.
    over: bool = False
    joined: set[str] = field(default_factory=lambda: {WHEREABOUTS, DELAYS})
    samples: list[Sample] = field(default_factory=list[Sample])
    #: What happened, and when: for the screen and the plots.
    events: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    #: How far the year is: when the last departure left.
    clock: datetime | None = None
    latest: deque[Alert] = field(default_factory=lambda: deque(maxlen=8))

    def __post_init__(self) -> None:
        self._failed = self._heard = 0
        self._begin: float | None = None
        self._groups = {name: self.names.group(name) for name in GROUPS}
        self._reports = self.names.reports.read(follow=True)
        self._attempts = self.names.attempts.read(follow=True)
        # Holds nobody up: what does not fit is dropped, and counted.
        self._alerts = self.names.alerts("*").subscribe(buffer=256, overflow="drop_oldest")
        for each in (self._reports, self._attempts, self._alerts):
            each.__enter__()

    def close(self) -> None:
        for each in (self._reports, self._attempts, self._alerts):
            each.close()

    @property
    def seconds(self) -> float:
        """Since `begin`; 0 before."""
        return 0.0 if self._begin is None else time.monotonic() - self._begin

    def begin(self) -> None:
        """The first departure is let go."""
        self._begin = time.monotonic()

    def note(self, text: str) -> None:
        self.events.append((self.seconds, text))

    def look(self) -> Sample:
        """Reads what is new, and adds a sample."""
        self._read_reports()
        self._read_attempts()
        self._hear()
        jobs = self.names.jobs.stats()
        done: dict[str, int] = {}
        lag: dict[str, int] = {}
        for name in GROUPS:
            if name in self.joined:
                done[name] = self._groups[name].stats().acked_total or 0
                lag[name] = self._groups[name].lag() or 0
        departures = self.names.departures.info()
        self.clock = departures.last_time
        if "feed" in self.crew.workers:
            self.crew.workers["feed"].handled = departures.records or 0
        sample = Sample(
            self.seconds, departures.records or 0, done, lag, jobs.ready or 0, jobs.delayed or 0, jobs.leased or 0,
            jobs.dead or 0, jobs.put_total or 0, jobs.acked_total or 0, self._failed, self._heard, self._alerts.dropped,
        )  # fmt: skip
        self.samples.append(sample)
        return sample

    def _read_reports(self) -> None:
        for msg in self._reports.next_many(100_000):
            match msg.value:
                case Planned() as plan:
                    self.plan = plan
                case Ready(name):
                    self.crew.workers[name].ready = True
                case Done(name, messages, again):
                    worker = self.crew.workers[name]
                    worker.handled += messages
                    worker.again += again
                case Heard() as heard:
                    self.desk = heard
                    self.crew.workers["desk"].handled = heard.alerts + heard.repeats

    def _read_attempts(self) -> None:
        for msg in self._attempts.next_many(100_000):
            self._failed += msg.value.outcome == "failed"
            self.crew.workers[msg.value.worker].handled += 1

    def _hear(self) -> None:
        for msg in self._alerts.next_many(100_000):
            alert = msg.value
            if isinstance(alert, End):
                self.over = True
            else:
                self._heard += 1
                self.latest.append(alert)
