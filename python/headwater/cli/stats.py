"""`headwater stats`: how much is in everything, or in one."""

from __future__ import annotations

from typing import Annotated

import typer

from .look import look, print_tables, tables
from .options import Json, Url
from .output import objects
from .session import reading


def stats(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A stream (with its groups), a queue, or a group as STREAM/GROUP. Default: all.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print depths, lag, dead letters and the age of the oldest unfinished message (seconds).

    With --json the fields of Info and of StreamInfo or SourceStats, and a group's lag.
    """
    with reading(url) as conn:
        rows = look(conn, name)
    if json:
        objects(row.fields() for row in rows)
    else:
        print_tables(tables(rows))
