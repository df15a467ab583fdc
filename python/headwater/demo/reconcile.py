"""Every count of the run beside the same count straight from the CSV."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import headwater as hw

from .facts import Facts, History, Whereabouts, minutes, state
from .model import ATTEMPTS, DELAYS, LEGS, REPLAY, WHEREABOUTS
from .watch import Sample, Watch

__all__ = ["Check", "reconcile"]


@dataclass(frozen=True, slots=True)
class Check:
    """One count. expected: by the CSV. found: in the engine. note: for people. off: a difference that the counts do not show."""

    what: str
    expected: Any
    found: Any
    note: str = ""
    off: str = ""
    #: Not a number but a sentence, too long for a column.
    said: bool = False

    @property
    def ok(self) -> bool:
        return self.expected == self.found and not self.off


def reconcile(facts: Facts, asked: Whereabouts, watch: Watch, expected: dict[str, Any], at: datetime) -> list[Check]:
    """All of them, in the order of the report. `expected` is what independent.py printed."""
    return [
        *_flights(facts, watch, expected),
        *(check for group in LEGS for check in _history(group, facts.histories[group], expected)),
        *_groups(facts, expected),
        *_alerts(facts, watch, expected),
        *_jobs(facts, expected),
        *(Check(f"where it was, by {source}", _said(expected["answer"]), _where(msg, at), said=True) for source, msg in asked.last.items()),
    ]


def _flights(facts: Facts, watch: Watch, expected: dict[str, Any]) -> Iterable[Check]:
    plan = watch.plan
    assert plan is not None, "the feed reports its plan before anything else"
    yield Check("flights in the CSV", expected["rows"], plan.rows)
    yield Check("… cancelled: they never departed", expected["cancelled"], plan.cancelled)
    yield Check("… of these without a tail number", expected["cancelled_without_plane"], plan.cancelled_without_plane)
    yield Check("departures in the stream", expected["departures"], facts.departures, f"and {plan.cancelled:,} cancelled make {plan.rows:,}")
    yield Check("… without a tail number", expected["without_plane"], facts.without_plane)
    yield Check("… their times, order and content (SHA-256)", expected["digest"], facts.digest)
    yield Check("… miles flown", expected["miles"], facts.miles)
    yield Check("… without an arrival time", expected["without_arrival"], facts.without_arrival)
    cells: dict[str, list[int]] = expected["cells"]
    same = [name for name, cell in cells.items() if facts.cells.get(name) == cell]
    yield Check("… airports × months, departures and late ones", len(cells.keys() | facts.cells.keys()), len(same))


def _history(group: str, history: History, expected: dict[str, Any]) -> Iterable[Check]:
    planes: dict[str, list[Any]] = expected["planes"]
    whole = sum(history.planes.get(tail) == tuple(plane) for tail, plane in planes.items())
    yield Check(f"legs kept by group {group}", expected["departures"], history.legs)
    yield Check("… miles flown", expected["miles"], history.miles)
    yield Check("… planes", len(planes), len(history.planes))
    yield Check("… planes with their whole history in order", len(planes), whole)


def _groups(facts: Facts, expected: dict[str, Any]) -> Iterable[Check]:
    for name in (WHEREABOUTS, DELAYS, REPLAY):
        yield Check(f"acknowledged by group {name}", expected["departures"], facts.acked[name])
    yield Check("dead letters of the groups", 0, facts.group_dead)


def _alerts(facts: Facts, watch: Watch, expected: dict[str, Any]) -> Iterable[Check]:
    last: Sample = watch.samples[-1]
    desk = watch.desk
    assert desk is not None, "the desk reports before the run is over"
    twice = f"{desk.repeats:,} of them twice, and told by their ids" if desk.repeats else ""
    yield _same("departures over an hour late: alerts heard", expected["late"], facts.heard, twice)
    both = f"{last.heard:,} heard, {last.dropped:,} dropped"
    yield Check("… by the dashboard", desk.alerts + desk.repeats, last.heard + last.dropped, both)


def _jobs(facts: Facts, expected: dict[str, Any]) -> Iterable[Check]:
    failing: dict[str, int] = expected["failing"]
    dead = [id for id, failures in failing.items() if failures == ATTEMPTS]
    booked = set(expected["late"]) - set(dead)
    yield Check("rebooking jobs put", len(expected["late"]), facts.jobs_put)
    yield _same("… booked", booked, facts.booked)
    yield Check("… seats", expected["seats"], facts.seats, "of planes that planes.csv knows")
    yield Check("… acknowledged", len(booked), facts.jobs_acked)
    yield _same("… in dead letters", dead, facts.dead, ", ".join(f"{kind}: {count:,}" for kind, count in sorted(facts.by_error.items())))
    cut = cut_short(facts, failing)
    failed = sum(map(len, facts.failed.values()))
    yield Check("attempts that failed", sum(failing.values()), failed + cut, f"{cut:,} of them cut short by the kill" if cut else "")


def cut_short(facts: Facts, failing: dict[str, int]) -> int:
    """Attempts that were to fail, and whose worker was killed first: counted by the engine, noted by nobody."""
    died = sum(attempts - len(facts.failed.get(id, ())) for id, attempts in facts.dead.items())
    once = sum(id not in facts.failed and facts.booked.get(id, 0) > 1 for id in failing)
    return died + once


def _same(what: str, expected: Collection[str], found: Collection[str], note: str = "") -> Check:
    """Two sets of flights: not only as many, but the same ones."""
    wanted, there = set(expected), set(found)
    off = [f"missing {min(wanted - there)}"] if wanted - there else []
    off += [f"not expected {min(there - wanted)}"] if there - wanted else []
    off += ["some twice"] if len(there) < len(found) else []
    return Check(what, len(wanted), len(found), note, "; ".join(off))


def _said(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "nowhere yet"
    return _answer(answer["id"], answer["dest"], answer["departed"], answer["arrived"], answer["state"])


def _where(msg: hw.Message[Any] | None, at: datetime) -> str:
    if msg is None:
        return "nowhere yet"
    value = msg.value
    arrived = None if value.arrival is None else minutes(value.arrival)
    return _answer(msg.id or "", value.dest, minutes(msg.timestamp), arrived, state(msg, at))


def _answer(id: str, dest: str, departed: int, arrived: int | None, where: str) -> str:
    left, landed = (None if each is None else datetime.fromtimestamp(60 * each, UTC) for each in (departed, arrived))
    return f"{id}, left {left:%m-%d %H:%M} UTC, {dest} {'-' if landed is None else f'{landed:%m-%d %H:%M} UTC'}, {where}"
