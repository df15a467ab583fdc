"""What is printed while it runs: plain lines, or a live dashboard on a terminal."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol, Self, TextIO

from .watch import GROUPS, Watch

__all__ = ["Plain", "Screen", "screen_for"]

#: Seconds between two lines of progress.
PAUSE = 1.0


class Screen(Protocol):
    """Where a run is shown."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def say(self, text: str) -> None:
        """A line that stays."""
        ...

    def show(self, watch: Watch) -> None:
        """What the watch has seen by now; called at every look."""
        ...


class Plain:
    """Lines that compose with `grep`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._told = 0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    def show(self, watch: Watch) -> None:
        for at, text in watch.events[self._told :]:
            self.say(f"{at:6.1f} s  {text}")
        self._told = len(watch.events)
        now = time.monotonic()
        if watch.seconds and now >= self._next:
            self._next = now + PAUSE
            sample = watch.samples[-1]
            lags = "  ".join(f"{name} {sample.done[name]:,} done, {sample.lag[name]:,} behind" for name in GROUPS if name in sample.done)
            jobs = f"jobs {sample.booked:,} booked, {sample.open:,} open, {sample.failed:,} failures, {sample.dead:,} dead"
            self.say(f"{sample.at:6.1f} s  {sample.fed:,} departures  {lags}  {jobs}  alerts {sample.heard + sample.dropped:,}")


def screen_for(out: TextIO, plain: bool) -> Screen:
    """The dashboard where `out` is a terminal that can show it, and nobody asked for lines."""
    reconfigure: Any = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        # A terminal that has no ✓ shall not end the run.
        reconfigure(errors="replace")
    if plain or not out.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return Plain(out)
    # rich takes longer to import than a plain run needs to start.
    from rich.console import Console

    from .dashboard import Dashboard

    return Dashboard(Console(file=out))
