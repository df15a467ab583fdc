"""`headwater read`: a stream's records, from any place."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .. import sync
from .options import Json, Max, ShowRaw, Url, checkpoint_of, place_of, stop_of
from .output import Printer
from .session import reading


class Trimmed(StrEnum):
    """What to do where the stream no longer has what is asked for."""

    raised = "raise"
    skip = "skip"


def read(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")],
    start: Annotated[str, typer.Option("--start", metavar="PLACE", help="earliest, latest, a position, or a time.")] = "earliest",
    after: Annotated[str | None, typer.Option("--after", metavar="POSITION", help="Behind this position or checkpoint.")] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", help="The last N.")] = None,
    stop: Annotated[str | None, typer.Option("--stop", metavar="PLACE", help="Before this position or time.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="Records with this key alone.")] = None,
    trimmed: Annotated[
        Trimmed, typer.Option("--trimmed", help="Where the records asked for are gone: an error, or go on with the first there is.")
    ] = Trimmed.raised,
    max: Max = None,
    raw: ShowRaw = False,
    url: Url = None,
    json: Json = False,
) -> int:
    """Print the values of a stream, one a line: text and bytes as they are, everything else as compact JSON.

    With --json whole messages. Times are event times.
    """
    begin, behind, end = place_of(start, "--start"), checkpoint_of(after, "--after"), stop_of(stop, "--stop")
    with reading(url) as conn:
        source = conn.stream(stream)
        source.open()
        reader = source.read(
            begin,
            after=behind,
            last=last,
            stop=end,
            follow=follow,
            key=key,
            trimmed="skip" if trimmed is Trimmed.skip else "raise",
        )
        with reader:
            return print_all(reader, Printer(raw, json), max)


def print_all(messages: sync.Reader[object] | sync.Subscription[object], printer: Printer, most: int | None) -> int:
    """Prints what comes until the end, Ctrl-C or `most`; answers the exit code."""
    while most is None or printer.printed < most:
        first = messages.next()
        if first is None:
            break
        room = BATCH if most is None else min(BATCH, most - printer.printed)
        printer.batch([first, *messages.next_many(room - 1)] if room > 1 else [first])
    return printer.code


#: Messages printed by one write.
BATCH = 1000
