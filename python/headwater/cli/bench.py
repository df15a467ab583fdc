"""`headwater bench`: throughput and latency between two processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from .. import UsageError
from .options import Json
from .output import columns, line, objects
from .progress import Progress

if TYPE_CHECKING:
    from ..bench import RowResult

Where = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The engine. Default: $HEADWATER_URL, else a temporary directory, removed afterwards.")
]


def bench(
    url: Where = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="ROW,...", help="Names of rows, or of patterns for all of theirs. Default: all rows.")
    ] = None,
    size: Annotated[int, typer.Option("--size", metavar="BYTES", help="Bytes of a message.")] = 100,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs of each row.")] = 5,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="S", help="About so long for a run, by a fixed count of messages a second. Default: 1.")
    ] = None,
    messages: Annotated[int | None, typer.Option("--messages", metavar="N", help="So many messages in a run, instead.")] = None,
    json: Json = False,
) -> int:
    """Measure throughput and latency from one process to another: median, least and greatest of several runs.

    A producer and a consumer are started for each run; every message is delivered, and compared with what was sent. What is made at
    the URL for it is deleted again. With --json one object: the machine, the parameters, and every run.
    """
    from ..bench import Plan, Row, chosen, measure

    if seconds is not None and messages is not None:
        raise UsageError("give --seconds or --messages, not both")
    plan = Plan(
        url or os.environ.get("HEADWATER_URL") or None,
        chosen([] if rows is None else [word.strip() for word in rows.split(",") if word.strip()]),
        size, runs, 1.0 if seconds is None else seconds, messages,
    )  # fmt: skip
    with Progress("bench, runs", len(plan.rows) * plan.runs) as progress:
        begun = 0

        def begins(_row: Row, _run: int) -> None:
            nonlocal begun
            progress.advance(1 if begun else 0)
            begun += 1

        report = measure(plan, begins)
    if json:
        objects([report])
    else:
        header = ("row", "what", "median", "least", "greatest", "p99", "unit")
        columns((_cells(each) for each in report.rows), header)
        line(f"{report.size} bytes, {report.runs} runs; {report.machine.processors} processors, {report.machine.processor}")
        for each in report.rows:
            if each.refused is not None:
                line(f"{each.row}: refused: {each.refused}")
            for text in each.failed[:1]:
                line(f"{each.row}: {len(each.failed)} of {len(each.runs)} runs failed: {text}")
    return 1 if any(each.failed for each in report.rows) else 0


def _cells(row: RowResult) -> tuple[object, ...]:
    return (row.row, row.title, row.median, row.min, row.max, row.p99_us, row.unit)
