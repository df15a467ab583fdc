"""What was measured, with everything one needs to judge it."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import msgspec

from .rows import Row, Unit


class RunResult(msgspec.Struct, frozen=True):
    """One run of two processes; every message was delivered and compared.

    seconds: from the producer's start to the last message at the consumer. producer_seconds: the producer's part of it. *_cpu: seconds
    of processor time of each. p50_us, p99_us: one way, of the rows of latency. error: the run failed, and has no figures.
    """

    messages: int
    seconds: float = 0.0
    per_second: float | None = None
    producer_seconds: float = 0.0
    producer_cpu: float = 0.0
    consumer_cpu: float = 0.0
    p50_us: float | None = None
    p99_us: float | None = None
    error: str | None = None

    def figure(self, unit: Unit) -> float | None:
        return self.per_second if unit == "messages/s" else self.p50_us


class RowResult(msgspec.Struct, frozen=True):
    """A row: the median of its runs, and the least and greatest. refused: why the engine cannot do it."""

    row: str
    title: str
    unit: Unit
    median: float | None
    min: float | None
    max: float | None
    p99_us: float | None
    refused: str | None
    runs: list[RunResult]

    @classmethod
    def of(cls, row: Row, runs: Sequence[RunResult], refused: str | None = None) -> RowResult:
        """The result of these runs."""
        figures = [each for run in runs if (each := run.figure(row.unit)) is not None]
        tails = [run.p99_us for run in runs if run.p99_us is not None]
        return cls(
            row.name, row.title, row.unit,
            statistics.median(figures) if figures else None, min(figures, default=None), max(figures, default=None),
            statistics.median(tails) if tails else None, refused, list(runs),
        )  # fmt: skip

    @property
    def failed(self) -> list[str]:
        """What went wrong in its runs."""
        return [run.error for run in self.runs if run.error is not None]


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured. load: of the last minute, when it began and ended: others' work is in the figures."""

    system: str
    processor: str
    processors: int
    memory_bytes: int
    file_system: str | None
    load_before: float
    load_after: float
    python: str
    headwater: str
    msgspec: str


class Report(msgspec.Struct, frozen=True):
    """`headwater bench --json`."""

    when: datetime
    command: list[str]
    url: str
    machine: Machine
    size: int
    runs: int
    seconds: float
    messages: int | None
    rows: list[RowResult]


def machine(directory: str | None, load_before: float) -> Machine:
    """The facts. directory: where the messages are kept, if that is known."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_first_line("/proc/cpuinfo", "model name") or platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        file_system=None if directory is None else _file_system(directory),
        load_before=load_before,
        load_after=load(),
        python=sys.version.split()[0],
        headwater=_version("headwater"),
        msgspec=_version("msgspec"),
    )


def load() -> float:
    """How many processes wanted to run, over the last minute."""
    return os.getloadavg()[0]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(path: str, name: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
    except OSError:
        return None


def _file_system(directory: str) -> str | None:
    """Type of the mount that holds it."""
    found: tuple[int, str] | None = None
    path = os.path.realpath(directory)
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for mount in mounts:
                _, point, kind, *_ = mount.split(" ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and (found is None or len(point) >= found[0]):
                    found = (len(point), kind)
    except OSError:
        return None
    return None if found is None else found[1]
