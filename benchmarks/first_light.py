"""The bars of the first release: each row of `headwater bench`, with its floor and goal, and beside it, run by run, what the machine
allows: the same by a bare C extension over a mapped log (limit.c, compiled here), whose sleepers are woken by a futex or a FIFO.

    python benchmarks/first_light.py [--rows append,queue] [--runs 5] [--seconds 1] [--quiet 0.3] [--json]

It reports and asserts nothing: figures drift with the machine and with who else uses it, so look at the ratios. With --quiet, runs in
which others kept more than so many processors busy are made again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from headwater.bench import Plan, Report, Row, RowResult, RunResult, chosen
from headwater.bench.report import load, machine
from headwater.bench.run import place, run_once, run_sides
from quiet import undisturbed

HERE = Path(__file__).parent

#: Floor and goal of each row, in its unit.
BARS = {
    "append": (2_000_000, 5_000_000),
    "append-await": (1_000_000, 3_000_000),
    "append-many": (6_000_000, 15_000_000),
    "append-typed": (500_000, 1_500_000),
    "group": (150_000, 400_000),
    "group-batch": (500_000, 2_000_000),
    "queue": (100_000, 300_000),
    "queue-batch": (400_000, 1_500_000),
    "channel": (1_500_000, 5_000_000),
    "latency": (30, 18),
    "latency-asyncio": (60, 25),
    "latency-spin": (5, 3),
}


class Compared(msgspec.Struct, frozen=True):
    """A row beside its limit. ratio: of the medians; above 1 headwater is faster than the bare extension."""

    floor: float
    goal: float
    measured: RowResult
    limit: RowResult
    ratio: float | None


class FirstLight(msgspec.Struct, frozen=True):
    """report: as of `headwater bench --json`, without its rows. fdatasync_us: median of one record of 100 bytes, and the greatest.
    quiet: processors that others might keep busy; left_out: attempts that they spoiled."""

    report: Report
    quiet: float | None
    left_out: int
    fdatasync_us: tuple[float, float]
    rows: list[Compared]


def compile_limit(directory: str) -> None:
    """Makes the extension there, and has both sides of a run find it."""
    compiler = os.environ.get("CC", "cc")
    crc = ["-msse4.2"] if platform.machine() in ("x86_64", "AMD64") else []
    if not crc:
        sys.exit("limit.c knows the CRC32C instruction of x86-64 only; `headwater bench` runs without a limit beside it")
    target = os.path.join(directory, f"limit{sysconfig.get_config_var('EXT_SUFFIX')}")
    include = sysconfig.get_paths()["include"]
    subprocess.run([*shlex.split(compiler), "-O3", "-shared", "-fPIC", *crc, f"-I{include}", "-o", target, str(HERE / "limit.c")], check=True)
    paths = [directory, str(HERE), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)


def run_limit(plan: Plan, row: Row, directory: str) -> RunResult:
    with tempfile.TemporaryDirectory(dir=directory) as log:
        return run_sides(plan, row, "limits", log, "")


def fdatasync_us(directory: str) -> tuple[float, float]:
    """What it costs to have one record of 100 bytes on the disk, in a file whose pages are there."""
    took: list[float] = []
    with open(os.path.join(directory, "synced"), "w+b", buffering=0) as file:
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        for number in range(200):
            begin = time.perf_counter_ns()
            os.pwrite(file.fileno(), b"x" * 100, number * 128)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter_ns() - begin) / 1e3)
    return statistics.median(took), max(took)


def compare(plan: Plan, quiet: float | None, say: bool) -> FirstLight:
    before, rows, left_out = load(), list[Compared](), 0

    def run(work: Callable[[], RunResult]) -> RunResult:
        nonlocal left_out
        if quiet is None:
            return work()
        result, spoiled = undisturbed(work, quiet)
        left_out += spoiled
        return result

    with place(plan) as (url, found), tempfile.TemporaryDirectory() as built:
        compile_limit(built)
        for row in plan.rows:
            measured: list[RunResult] = []
            limits: list[RunResult] = []
            for _ in range(plan.runs):
                # In turns, so that what others do meets both.
                measured.append(run(partial(run_once, plan, row, url)))
                limits.append(run(partial(run_limit, plan, row, built)))
            rows.append(_compared(row, RowResult.of(row, measured), RowResult.of(row, limits)))
            if say:
                print(line(rows[-1]), flush=True)
        synced = fdatasync_us(built)
        facts = machine(found, before)
    report = Report(datetime.now(UTC), sys.argv, "a temporary directory", facts, plan.size, plan.runs, plan.seconds, plan.messages, [])
    return FirstLight(report, quiet, left_out, synced, rows)


def _compared(row: Row, measured: RowResult, limit: RowResult) -> Compared:
    floor, goal = BARS[row.name]
    ratio = None
    if measured.median and limit.median:
        ratio = measured.median / limit.median if row.unit == "messages/s" else limit.median / measured.median
    return Compared(floor, goal, measured, limit, ratio)


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, word in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{word}"
    return f"{value:.3g}"


def spread(row: RowResult) -> str:
    return "failed" if row.median is None else f"{shown(row.median)} ({shown(row.min)}–{shown(row.max)})"


HEADER = "| row | floor | goal | measured: median (least–greatest) | limit, in the same run | of the limit |\n|---|---|---|---|---|---|"


def line(row: Compared) -> str:
    """One line of a Markdown table."""
    unit = "/s" if row.measured.unit == "messages/s" else " µs"
    p99 = "" if row.measured.p99_us is None else f", p99 {shown(row.measured.p99_us)}"
    measured = f"{spread(row.measured)}{p99}" if row.measured.refused is None else f"refused: {row.measured.refused}"
    failed = "".join(f"; {text}" for text in [*row.measured.failed[:1], *row.limit.failed[:1]])
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return f"| {row.measured.title} | {shown(row.floor)}{unit} | {shown(row.goal)}{unit} | {measured}{failed} | {spread(row.limit)} | {ratio} |"


def main() -> int:
    ask = argparse.ArgumentParser(description="The bars of the first release beside what the machine allows.")
    ask.add_argument("--rows", default="", help="names of rows or patterns, with commas between; default all")
    ask.add_argument("--size", type=int, default=100, help="bytes of a message")
    ask.add_argument("--runs", type=int, default=5)
    ask.add_argument("--seconds", type=float, default=1.0, help="about so long for a run")
    ask.add_argument("--messages", type=int, default=None, help="so many messages in a run, instead")
    ask.add_argument("--quiet", type=float, default=None, metavar="PROCESSORS", help="make a run again in which others kept more busy")
    ask.add_argument("--json", action="store_true", help="one object with the machine, the parameters and every run")
    given = ask.parse_args()
    rows = chosen(word.strip() for word in given.rows.split(",") if word.strip())
    if not given.json:
        print(HEADER, flush=True)
    found = compare(Plan(None, rows, given.size, given.runs, given.seconds, given.messages), given.quiet, not given.json)
    if given.json:
        print(msgspec.json.encode(found).decode())
    else:
        facts, (synced, most) = found.report.machine, found.fdatasync_us
        print(f"\n{facts.processors} × {facts.processor}, {facts.system}, {facts.file_system}, CPython {facts.python}", end="; ")
        if given.quiet is not None:
            print(f"others kept at most {given.quiet:g} processors busy; {found.left_out} attempts left out", end="; ")
        print(f"load {facts.load_before:.1f} before, {facts.load_after:.1f} after; fdatasync of a record {synced:.0f} µs, at most {most:.0f}")
    return 1 if any(row.measured.failed or row.limit.failed for row in found.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
