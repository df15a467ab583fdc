"""Measuring: a new name for each run, two processes, the figures."""

from __future__ import annotations

import secrets
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from .. import sync
from ..errors import NotFoundError, UnsupportedError, UsageError
from .pair import PairError, run_pair
from .payloads import MOST
from .report import Report, RowResult, RunResult, load, machine
from .rows import ROWS, Row
from .side import Outcome, Spec
from .work import GROUP

#: Seconds after which a run of whatever length is given up, besides ten times its own.
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """url: None is a directory of its own, removed afterwards. size: bytes of a payload. seconds: a run has the messages that the
    machine this was written on sends in so long; messages: so many instead."""

    url: str | None = None
    rows: Sequence[Row] = ROWS
    size: int = 100
    runs: int = 5
    seconds: float = 1.0
    messages: int | None = None

    def __post_init__(self) -> None:
        least = max((row.least_size for row in self.rows), default=0)
        if not least <= self.size <= MOST:
            raise UsageError(f"size={self.size}: a message of the rows asked for has {least} to {MOST} bytes")
        if self.runs < 1 or self.seconds <= 0 or (self.messages is not None and self.messages < 1):
            raise UsageError("runs, seconds and messages are above 0")
        if _scheme(self.url or "") == "memory":
            raise UsageError(f"{self.url} lives in one process; what is measured goes from one process to another")

    def count(self, row: Row) -> int:
        """Messages of one run."""
        return self.messages if self.messages is not None else max(1, int(row.messages * self.seconds))


def measure(plan: Plan, progress: Callable[[Row, int], None] | None = None, done: Callable[[RowResult], None] | None = None) -> Report:
    """Runs all rows.

    Args:
        progress: is told of the row and the number of the run that begins.
        done: is given each row's result.

    Raises:
        ConnectError: the engine cannot be reached. What goes wrong in a run is in its result.
    """
    before = load()
    rows: list[RowResult] = []
    with place(plan) as (url, directory):
        for row in plan.rows:
            rows.append(_row(plan, row, url, progress))
            if done is not None:
                done(rows[-1])
        facts = machine(directory, before)
    return Report(datetime.now(UTC), sys.argv, plan.url or "a temporary directory", facts, plan.size, plan.runs, plan.seconds, plan.messages, rows)


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


@contextmanager
def place(plan: Plan) -> Generator[tuple[str, str | None]]:
    """The URL to measure at, and the directory if it is one; a temporary one is removed at the end."""
    if plan.url is not None:
        yield plan.url, plan.url.partition(":")[2].partition("?")[0] if _scheme(plan.url) == "local" else None
        return
    directory = tempfile.mkdtemp(prefix="headwater-bench-")
    try:
        yield f"local:{directory}", directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _row(plan: Plan, row: Row, url: str, progress: Callable[[Row, int], None] | None) -> RowResult:
    runs: list[RunResult] = []
    for number in range(1, plan.runs + 1):
        if progress is not None:
            progress(row, number)
        try:
            runs.append(run_once(plan, row, url))
        except UnsupportedError as refused:
            return RowResult.of(row, runs, str(refused))
    return RowResult.of(row, runs)


def run_once(plan: Plan, row: Row, url: str) -> RunResult:
    """One run of the row at `url`; what goes wrong is in the result. UnsupportedError where the engine refuses the pattern."""
    name = f"bench-{secrets.token_hex(6)}"
    with _object(row, url, name):
        return run_sides(plan, row, row.sides, url, name)


def run_sides(plan: Plan, row: Row, sides: str, url: str, name: str) -> RunResult:
    """One run by the sides that the module `sides` has for the row, through `name` at `url`; what goes wrong is in the result."""
    count = plan.count(row)
    consumer = Spec(row.name, sides, "consume", url, name, count, plan.size)
    try:
        heard, sent = run_pair(consumer, msgspec.structs.replace(consumer, side="produce"), TIMEOUT + 10 * plan.seconds)
    except PairError as failed:
        return RunResult(count, error=str(failed))
    return _figures(row, count, heard, sent)


@contextmanager
def _object(row: Row, url: str, name: str) -> Generator[None]:
    """What the row goes through, from its declaration to its end. Connected only then: two processes are all there are in between."""
    with sync.connect(url) as conn:
        if row.pattern in ("stream", "group"):
            stream = conn.stream(name, bytes)
            stream.declare()
            if row.pattern == "group":
                stream.group(GROUP, ordering="key").declare()
        elif row.pattern == "queue":
            conn.queue(name, bytes).declare()
    try:
        yield
    finally:
        with sync.connect(url) as conn:
            try:
                if row.pattern == "queue":
                    conn.queue(name).delete()
                elif row.pattern != "channel":
                    conn.stream(name).delete()
            except NotFoundError:
                pass


def _figures(row: Row, count: int, heard: Outcome, sent: Outcome) -> RunResult:
    seconds = (heard.ended - sent.began) / 1e9
    p50 = p99 = None
    if row.unit == "µs":
        # The first ones find cold caches, and pages that nobody has touched yet.
        warm = sorted(heard.latencies[len(heard.latencies) // 20 :])
        p50 = statistics.median(warm) / 1e3
        p99 = warm[min(len(warm) - 1, len(warm) * 99 // 100)] / 1e3
    return RunResult(
        messages=count,
        seconds=seconds,
        per_second=count / seconds if row.unit == "messages/s" else None,
        producer_seconds=(sent.ended - sent.began) / 1e9,
        producer_cpu=sent.cpu,
        consumer_cpu=heard.cpu,
        p50_us=p50,
        p99_us=p99,
    )
