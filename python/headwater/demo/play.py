"""One run, from the empty directory to the last acknowledgement: what is started, killed and awaited, and in which order.

Everything waits for facts (a report, a lag of 0, an exit), never for a time; a run in which nothing moves for two minutes is given up.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from headwater import sync

from .crew import Crew, DemoError, Worker
from .model import DELAYS, REPLAY, WHEREABOUTS, End, Names
from .orders import Spec
from .watch import Sample, Watch

__all__ = ["KILLABLE", "PLANE", "Play", "Settings"]

#: The plane that is asked about: the first one in the data.
PLANE = "N14228"
YEAR = 336_776
#: Messages that are appended, taken and acknowledged at a time. More at a time is no faster where keys are to be kept in order: a batch
#: holds one message of each plane at most, so that a larger one is looked for further ahead.
BATCH = 250
#: Seconds between two looks.
TICK = 0.1
#: Seconds without any change after which a run is stuck.
STUCK = 120.0
#: Who works from the beginning: name and role. The feed appends, all others consume.
CAST = {
    "feed": "feed",
    "desk": "desk",
    "planes-1": "whereabouts",
    "planes-2": "whereabouts",
    "delays-1": "delays",
    "rebook-1": "rebooking",
    "rebook-2": "rebooking",
}
#: Those of whom one may be killed.
KILLABLE = tuple(name for name, role in CAST.items() if role in ("whereabouts", "delays", "rebooking"))


@dataclass(frozen=True)
class Settings:
    """What was asked for. rows: None for the year. speed: as in `Spec`. kill: the worker that is killed midway."""

    rows: int | None
    at: datetime
    seed: int
    speed: float | None = None
    kill: str = "planes-1"


class Play:
    """The run. When it is over: its watch, and the seconds until everything was appended, and until everything was done."""

    def __init__(self, names: Names, crew: Crew, settings: Settings, files: Path, url: str, show: Callable[[Watch], None]) -> None:
        self.watch = Watch(names, crew)
        self.fed_after = self.done_after = 0.0
        self._names, self._crew, self._settings, self._files, self._url, self._show = names, crew, settings, files, url, show
        # So small that there are many also of few rows: the kill is to come in the midst of them.
        self._batch = max(1, min(BATCH, (settings.rows or YEAR) // 100))
        self._started: dict[str, int] = {}

    def run(self) -> None:
        try:
            self._opening()
            self._to_the_kill()
            self._kill()
            self._to_the_end()
        finally:
            self.watch.close()

    def _start(self, name: str, role: str) -> Worker:
        given = self._settings
        return self._crew.start(Spec(role, name, self._url, str(self._files), given.rows, given.seed, given.speed, self._batch))

    def _opening(self) -> None:
        """All are there and listen before the first departure."""
        for name, role in CAST.items():
            self._start(name, role)
        self._until(lambda _: self.watch.plan is not None and all(worker.ready for worker in self._crew.workers.values()))
        self.watch.begin()
        self._feed.say("go")

    @property
    def _feed(self) -> Worker:
        return self._crew.workers["feed"]

    @property
    def _total(self) -> int:
        return self.watch.plan.departures if self.watch.plan is not None else 0

    def _to_the_kill(self) -> None:
        """The feed stops at the half until the kill is done: so it is midway, however fast the machine."""
        doomed = self._crew.workers[self._settings.kill]

        def now(sample: Sample) -> bool:
            idle = not any(sample.lag.values()) and not sample.ready
            return sample.fed >= self._total * 2 // 5 and (doomed.handled > 0 or (idle and sample.fed >= self._total // 2))

        # Looks often: so it comes upon the workers while they work, also where there is little to do.
        self._until(now, TICK / 5)
        self._catch(doomed)

    def _catch(self, doomed: Worker) -> None:
        """Waits until it reports what it has done: it has not acknowledged that yet, or has just taken more. An idle one is not waited for."""
        stream: sync.Stream[Any] = self._names.attempts if doomed.spec.role == "rebooking" else self._names.reports
        with stream.read(start="latest", follow=True) as reader:
            while msg := reader.next(timeout=TICK):
                if getattr(msg.value, "worker", "") == doomed.name:
                    return

    def _kill(self) -> None:
        """SIGKILL; another one takes its place; and the group that replays everything joins."""
        doomed = self._crew.workers[self._settings.kill]
        doomed.kill()
        self.watch.note(f"{doomed.name} (process {doomed.process.pid}) killed by SIGKILL")
        kind = doomed.name.split("-")[0]
        successor = self._start(f"{kind}-{1 + sum(name.startswith(kind) for name in CAST)}", doomed.spec.role)
        self.watch.note(f"{successor.name} takes its place")
        self._start("replay-1", "replay")
        self.watch.joined.add(REPLAY)
        self.watch.note("the group that replays everything joins")
        self._feed.say("go")

    def _to_the_end(self) -> None:
        def fed(sample: Sample) -> bool:
            return sample.fed >= self._total and self._feed.process.poll() == 0

        def done(sample: Sample) -> bool:
            """Every group has finished every record: so every job is put, and those are booked or dead."""
            return not any(sample.lag.values()) and not sample.open

        self._until(fed)
        self.fed_after = next(sample.at for sample in self.watch.samples if sample.fed >= self._total)
        self._until(lambda sample: done(sample) and done(self.watch.look()))
        self.done_after = self.watch.seconds
        self.watch.note("everything is done, and read back")
        self._names.alerts("end").publish(End())
        desk = self._crew.workers["desk"].process
        self._until(lambda _: self.watch.over and self.watch.desk is not None and desk.poll() is not None)
        self._crew.stop()
        self.watch.look()

    def _until(self, there: Callable[[Sample], bool], tick: float = TICK) -> None:
        """Looks every `tick` seconds until `there`. DemoError where a worker fails, or nothing moves any more."""
        seen: Any = None
        moved = time.monotonic()
        while True:
            self._crew.check()
            sample = self.watch.look()
            self._show(self.watch)
            if there(sample):
                return
            now = (dataclasses.replace(sample, at=0.0), *(worker.state for worker in self._crew.workers.values()))
            # At a chosen speed there are nights without a departure.
            idle = self._settings.speed is not None and not (sum(sample.lag[name] for name in (WHEREABOUTS, DELAYS)) or sample.ready)
            if now != seen or idle:
                seen, moved = now, time.monotonic()
            elif time.monotonic() - moved > STUCK:
                raise DemoError(f"nothing has moved for {STUCK:.0f} s, though something is to be done: {sample}")
            time.sleep(tick)
