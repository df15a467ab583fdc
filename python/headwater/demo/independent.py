"""What the demo must come to, computed straight from the CSV: `python independent.py FILES [--rows N] [--seed N] [--at TIME]`.

This file shares nothing with the pipeline that it judges: it imports the standard library alone, has its own reading of the data and its
own arithmetic of times (whole minutes since 1970), and runs as a process of its own. What both obey is written in docs/guides/demo.md:

- a flight's id is `DATE CARRIER+NUMBER ORIGIN`, by the local date of its schedule;
- it departed at `time_hour` (UTC) + `minute` + `dep_delay`; it is cancelled where `dep_time` is missing;
- departures stand in the order of (departure, id); `--rows N` is the first N by (month, day, sched_dep_time, line);
- a job's fate is the first eight bytes of SHA-256("SEED/ID") mod 1000: below 20 every attempt fails, below 120 the first one does.
"""

from __future__ import annotations

import argparse
import csv
import gc
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

MISSING = ("", "NA")
#: Attempts after which a rebooking is given up.
ATTEMPTS = 3
#: More minutes late than this is a job and an alert.
LATE = 60
#: Destinations in Puerto Rico and the Virgin Islands that airports.csv lacks.
ATLANTIC = ("BQN", "PSE", "SJU", "STT")


class Leg(NamedTuple):
    """A departure. Times in minutes since 1970, UTC."""

    departed: int
    id: str
    tail: str
    origin: str
    dest: str
    arrived: int | None
    delay: int
    miles: int
    month: int


def rows_of(text: Iterable[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(text))


def flights(files: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(files / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        return rows_of(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def table(files: Path, name: str) -> list[dict[str, str]]:
    with (files / name).open(encoding="utf-8", newline="") as file:
        return rows_of(file)


def minutes(when: datetime) -> int:
    return int(when.timestamp()) // 60


class Zones:
    """Minutes between UTC and the local time of an airport. Remembers each hour: no zone changes within one."""

    def __init__(self, airports: list[dict[str, str]]) -> None:
        self._names = {row["faa"]: row["tzone"] for row in airports} | dict.fromkeys(ATLANTIC, "America/Puerto_Rico")
        self._known: dict[tuple[str, int], int] = {}

    def offset(self, airport: str, at: int) -> int:
        key = (self._names[airport], at // 60)
        if key not in self._known:
            local = datetime.fromtimestamp(key[1] * 3600, UTC).astimezone(ZoneInfo(key[0]))
            self._known[key] = int((local.utcoffset() or timedelta()).total_seconds()) // 60
        return self._known[key]


def arrival(departed: int, local: str, dest: str, zones: Zones) -> int | None:
    """The first time after the departure at which the clocks at `dest` show `local` (HHMM). An hour that they skip in spring is
    told by clocks that nobody has put forward yet."""
    if local in MISSING:
        return None
    clock = int(local) // 100 * 60 + int(local) % 100
    before = zones.offset(dest, departed)
    arrived = departed + ((clock - (departed + before) - 1) % 1440 + 1)
    # Summer time may have begun or ended on the way.
    changed = arrived - (zones.offset(dest, arrived) - before)
    return changed if (changed + zones.offset(dest, changed)) % 1440 == clock % 1440 else arrived


def legs(rows: list[dict[str, str]], zones: Zones) -> list[Leg]:
    hours: dict[str, int] = {}
    found: list[Leg] = []
    for row in rows:
        if row["dep_time"] in MISSING:
            continue
        hour = row["time_hour"]
        if hour not in hours:
            hours[hour] = minutes(datetime.fromisoformat(hour))
        departed = hours[hour] + int(row["minute"]) + int(row["dep_delay"])
        ident = f"2013-{int(row['month']):02}-{int(row['day']):02} {row['carrier']}{row['flight']} {row['origin']}"
        found.append(
            Leg(
                departed, ident, row["tailnum"], row["origin"], row["dest"], arrival(departed, row["arr_time"], row["dest"], zones),
                int(row["dep_delay"]), int(row["distance"]), int(row["month"]),
            )
        )  # fmt: skip
    found.sort(key=lambda leg: (leg.departed, leg.id))
    return found


def line(leg: Leg) -> bytes:
    """What a digest is made of."""
    return f"{leg.departed} {leg.id} {leg.tail} {leg.dest} {'-' if leg.arrived is None else leg.arrived}\n".encode()


def digest(lines: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()[:16]


def fate(seed: int, ident: str) -> int:
    """How many attempts fail: 0, 1 or all."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed}/{ident}".encode()).digest()[:8], "big") % 1000
    return ATTEMPTS if drawn < 20 else 1 if drawn < 120 else 0


def cells(some: Iterable[Leg]) -> dict[str, list[int]]:
    """Departures and late ones, by airport and month: "JFK 07" → [n, late]."""
    found: dict[str, list[int]] = {}
    for leg in some:
        cell = found.setdefault(f"{leg.origin} {leg.month:02}", [0, 0])
        cell[0] += 1
        cell[1] += leg.delay > LATE
    return found


def whereabouts(history: list[Leg], at: int) -> dict[str, Any] | None:
    """The last departure at or before `at`, and whether it had landed then. None: none yet."""
    before = [leg for leg in history if leg.departed <= at]
    if not before:
        return None
    last = before[-1]
    state = "unknown" if last.arrived is None else "in the air" if at < last.arrived else "on the ground"
    return {"id": last.id, "origin": last.origin, "dest": last.dest, "departed": last.departed, "arrived": last.arrived, "state": state}


def audit(files: Path, *, rows: int | None = None, seed: int = 0, at: datetime, plane: str) -> dict[str, Any]:
    """Everything that the demo's report reconciles."""
    chosen = flights(files)
    if rows is not None:
        order = sorted(range(len(chosen)), key=lambda n: (int(chosen[n]["month"]), int(chosen[n]["day"]), int(chosen[n]["sched_dep_time"]), n))
        chosen = [chosen[n] for n in order[:rows]]
    cancelled = [row for row in chosen if row["dep_time"] in MISSING]
    departures = legs(chosen, Zones(table(files, "airports.csv")))
    planes: dict[str, list[Leg]] = {}
    for leg in departures:
        planes.setdefault(leg.tail, []).append(leg)
    late = [leg for leg in departures if leg.delay > LATE]
    seats = {row["tailnum"]: int(row["seats"]) for row in table(files, "planes.csv") if row["seats"] not in MISSING}
    failing = {leg.id: fate(seed, leg.id) for leg in late}
    return {
        "rows": len(chosen),
        "cancelled": len(cancelled),
        "cancelled_without_plane": sum(row["tailnum"] in MISSING for row in cancelled),
        "departures": len(departures),
        "without_plane": sum(leg.tail in MISSING for leg in departures),
        "without_arrival": sum(leg.arrived is None for leg in departures),
        "miles": sum(leg.miles for leg in departures),
        "digest": digest(map(line, departures)),
        "planes": {tail: [len(history), digest(map(line, history))] for tail, history in planes.items()},
        "late": [leg.id for leg in late],
        "cells": cells(departures),
        "failing": {ident: failures for ident, failures in failing.items() if failures},
        "seats": sum(seats.get(leg.tail, 0) for leg in late if failing[leg.id] < ATTEMPTS),
        "answer": whereabouts(planes.get(plane, []), minutes(at)),
    }


def main(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser(description="What headwater's demo must come to, straight from the CSV.")
    parser.add_argument("files", type=Path, help="the directory of flights.csv.zip, airports.csv and planes.csv")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=datetime.fromisoformat, default=datetime.fromisoformat("2013-07-04T16:00:00Z"), help="with its zone")
    parser.add_argument("--plane", default="N14228")
    given = parser.parse_args(arguments)
    return json.dumps(audit(given.files, rows=given.rows, seed=given.seed, at=given.at, plane=given.plane))


if __name__ == "__main__":
    # Everything lives to the end: looking through it for cycles, again and again, would take as long as the rest.
    gc.disable()
    print(main(sys.argv[1:]))
