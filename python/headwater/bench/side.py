"""One side of a row, in a process of its own, which runs `main` and is told on stdin what to do.

A line of JSON says what; "ready" is answered once everything is open; the next line lets it begin; the last line out is its outcome.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec


class Spec(msgspec.Struct, frozen=True):
    """sides: the module whose SIDES does it. messages: of `size` bytes each, through the object `name` of the engine at `url`."""

    row: str
    sides: str
    side: Literal["produce", "consume"]
    url: str
    name: str
    messages: int
    size: int


class Outcome(msgspec.Struct, frozen=True):
    """began, ended: by the clock that all processes of a machine share, ns. cpu: seconds of this process in between. latencies: ns.
    error: what went wrong."""

    began: int
    ended: int
    cpu: float
    latencies: list[int]
    error: str | None = None


class Clock:
    """What a side tells about its time."""

    def __init__(self) -> None:
        self.began = self.ended = 0
        self.cpu = 0.0
        #: One way, ns.
        self.latencies: list[int] = []

    def start(self) -> None:
        """Says that everything is open, and waits until both sides may begin."""
        # What is there stays: a collection should only look at what the row makes.
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        sys.stdin.readline()
        self.cpu = -time.process_time()
        self.began = time.monotonic_ns()

    def stop(self) -> None:
        self.ended = time.monotonic_ns()
        self.cpu += time.process_time()


Sides: TypeAlias = Mapping[tuple[str, str], Callable[[Spec, Clock], None]]


def main() -> None:
    """Does one side, and says how it went."""
    spec = msgspec.json.decode(sys.stdin.readline(), type=Spec)
    sides: Sides = importlib.import_module(spec.sides).SIDES
    clock, error = Clock(), None
    try:
        sides[spec.row, spec.side](spec, clock)
    except Exception as failed:
        error = f"{type(failed).__name__}: {failed}"
    print(msgspec.json.encode(Outcome(clock.began, clock.ended, clock.cpu, clock.latencies, error)).decode(), flush=True)
