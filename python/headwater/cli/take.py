"""`headwater take`: jobs of a queue, or messages of a group, taken and done with."""

from __future__ import annotations

import sys
from typing import Annotated, cast

import typer

from .options import Json, ShowRaw, Url, seconds_of
from .output import Printer, warn
from .session import find_source, reading


def take(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A queue, or a group as STREAM/GROUP.")],
    max: Annotated[int, typer.Option("--max", metavar="N", help="At most so many.")] = 100,
    wait: Annotated[str, typer.Option("--wait", metavar="TIME", help="How long to wait for the first: seconds, 500ms, 5m.")] = "1",
    raw: ShowRaw = False,
    url: Url = None,
    json: Json = False,
) -> int:
    """Take messages of a queue or group, print the value of each, one a line, and acknowledge them.

    They are acknowledged once they are printed: where nobody reads the output, they come again. With --json whole deliveries.
    """
    patience = cast("float", seconds_of(wait, "--wait"))
    with reading(url) as conn:
        source = find_source(conn, name)
        printer = Printer(raw, json)
        taken = source.take(max, patience)
        if taken:
            printer.batch(taken)
            sys.stdout.flush()
        for lost in source.ack_many(taken):
            warn(f"{lost.id} is done elsewhere, or comes again: its lease was lost")
            printer.code = 1
        return printer.code
