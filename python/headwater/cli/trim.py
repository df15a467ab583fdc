"""`headwater trim`: the old end of a stream, removed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from .. import Position
from .options import Json, Url, stop_of
from .output import line, objects
from .session import reading


def trim(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")],
    before: Annotated[str, typer.Option("--before", metavar="PLACE", help="Remove what is before this position or time.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Remove the records of a stream before a position, and print the first that is left.

    Records go by whole segments, so that some before it may stay. Groups that had not finished them go on behind. A time stands for
    the first record with an event time at or after it.
    """
    place = stop_of(before, "--before")
    with reading(url) as conn:
        target = conn.stream(stream)
        target.open()
        if isinstance(place, datetime):
            with target.read(place) as reader:
                found = reader.next()
            last = target.info().last
            # Everything is older than the time: the place behind the last record.
            place = found.position if found is not None else None if last is None else Position(stream, last.seq + 1, last.shard)
        if place is not None:
            target.trim(place)
        info = target.info()
    if json:
        objects([info])
    else:
        line("-" if info.first is None else str(info.first))
