"""Where a plane was, in words."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import headwater as hw

from .data import NEW_YORK, zones
from .facts import state

__all__ = ["Words"]


class Words:
    """What airports.csv and planes.csv know of places and planes."""

    def __init__(self, files: Path) -> None:
        self._zones = zones(files)
        self._airports = {row["faa"]: row["name"] for row in _rows(files / "airports.csv")}
        self._planes = {row["tailnum"]: row for row in _rows(files / "planes.csv")}

    def question(self, plane: str, at: datetime) -> str:
        """With what is known of the plane."""
        known = self._planes.get(plane)
        kind = f" ({known['manufacturer'].title()} {known['model']}, {known['seats']} seats)" if known else ""
        return f"Where was plane {plane}{kind} at {self._when(at, 'JFK')}?"

    def answer(self, msg: hw.Message[Any] | None, following: hw.Message[Any] | None, at: datetime) -> str:
        """msg: its last departure by then; following: its next one."""
        if msg is None:
            return f"Nobody knows: it has not left New York by then{self._later(following)}"
        leg = msg.value
        left = f"{leg.flight} left {leg.origin} at {self._when(msg.timestamp, leg.origin)}"
        match state(msg, at):
            case "in the air":
                said = f"In the air, to {self._place(leg.dest)}: {left} and landed at {self._when(leg.arrival, leg.dest)}"
            case "on the ground":
                said = f"At {self._place(leg.dest)}, or where it went from there: {left} and landed at {self._when(leg.arrival, leg.dest)}"
            case _:
                said = f"On the way to {self._place(leg.dest)}, where no arrival was noted: {left}"
        return said + self._later(following)

    def _later(self, following: hw.Message[Any] | None) -> str:
        if following is None:
            return ". The data hold no later departure from New York."
        return f". It next left New York from {following.value.origin} at {self._when(following.timestamp, following.value.origin)}."

    def _place(self, airport: str) -> str:
        name = self._airports.get(airport)
        return f"{airport} ({name})" if name else airport

    def _when(self, time: datetime, airport: str) -> str:
        there = time.astimezone(self._zones.get(airport, NEW_YORK))
        return f"{there:%Y-%m-%d %H:%M %Z}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
