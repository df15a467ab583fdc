"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import headwater as hw

from .facts import Facts
from .model import WHEREABOUTS
from .play import Settings
from .reconcile import Check
from .watch import GROUPS, Sample, Watch

__all__ = ["Result", "as_json"]


@dataclass(frozen=True)
class Result:
    """fed, done: seconds from the first departure let go until all were appended, and until everything was done. took: seconds of the
    whole run, but for the report. question, answer: in words."""

    settings: Settings
    url: str
    watch: Watch
    facts: Facts
    checks: list[Check]
    question: str
    answer: str
    fed: float
    done: float
    took: float

    @property
    def off(self) -> list[Check]:
        """The counts that differ."""
        return [check for check in self.checks if not check.ok]

    def throughput(self) -> list[tuple[str, int, float]]:
        """What was done: its name, how many, and in how many seconds."""
        facts, samples = self.facts, self.watch.samples
        told = [("departures appended", facts.departures, self.fed)]
        for name in GROUPS:
            counts = [(sample.at, sample.done[name]) for sample in samples if name in sample.done]
            all_of_them = counts[-1][1]
            told.append((f"through group {name}", all_of_them, _first(counts, all_of_them) - counts[0][0]))
        jobs = len(facts.booked)
        told.append(("jobs put, taken and booked", jobs, _first([(sample.at, sample.booked) for sample in samples], jobs)))
        written = facts.departures + sum(history.legs for history in facts.histories.values()) + jobs + len(facts.heard)
        delivered = sum(count for _, count, _ in told[1:]) + len(facts.heard)
        told.append(("all messages, written and delivered", written + delivered, self.done))
        return [(what, count, seconds) for what, count, seconds in told if count and seconds > 0]

    def redelivered(self) -> int:
        """Messages that were in the killed worker's hands, and came again."""
        return sum(worker.again for worker in self.watch.crew.workers.values()) + self.facts.cut_short()

    def kill(self) -> str:
        """What the kill came to, as a sentence."""
        killed = ", ".join(worker.name for worker in self.watch.crew.workers.values() if worker.killed)
        again = self.redelivered()
        if not again:
            return f"{killed} was killed by SIGKILL midway: nothing had to be done again."
        legs = sum(worker.again for worker in self.watch.crew.workers.values() if worker.spec.role == "whereabouts")
        written = legs - self.facts.histories[WHEREABOUTS].redelivered
        done = f" ({written:,} of them done and not yet acknowledged)" if written > 0 else ""
        return f"{killed} was killed by SIGKILL midway: {again:,} messages that it had in hand{done} were delivered again, and changed nothing twice."

    def last(self) -> Sample:
        return self.watch.samples[-1]


def _first(counts: list[tuple[float, int]], enough: int) -> float:
    """When a count was first so high."""
    return next((at for at, count in counts if count >= enough), 0.0)


def as_json(result: Result) -> dict[str, Any]:
    """What report.json holds, and what `--json` prints."""
    given = result.settings
    return {
        "version": hw.__version__,
        "url": result.url,
        "rows": given.rows,
        "seed": given.seed,
        "at": given.at,
        "speed": given.speed,
        "seconds": {"appended": result.fed, "done": result.done, "all": result.took},
        "off": len(result.off),
        "checks": [
            {"what": check.what, "expected": check.expected, "found": check.found, "ok": check.ok, "note": check.note, "off": check.off}
            for check in result.checks
        ],
        "redelivered": result.redelivered(),
        "throughput": [{"what": what, "count": count, "seconds": seconds} for what, count, seconds in result.throughput()],
        "question": result.question,
        "answer": result.answer,
        "workers": [
            {"name": worker.name, "role": worker.spec.role, "state": worker.state, "handled": worker.handled, "again": worker.again}
            for worker in result.watch.crew.workers.values()
        ],
        "events": [{"at": at, "what": text} for at, text in result.watch.events],
        "samples": result.watch.samples,
    }
