"""`headwater tail`: what a channel says now, or the end of a stream."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from .. import UsageError
from .options import Json, Max, ShowRaw, Url
from .output import Printer, warn
from .read import print_all
from .session import reading


class Overflow(StrEnum):
    """What happens when the buffer is full."""

    drop_oldest = "drop_oldest"
    drop_newest = "drop_newest"
    block = "block"
    error = "error"


def tail(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A channel, a pattern as chat.* or chat.**, or a stream.")],
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", help="Of a stream, the last N first. Default: 10.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Of a stream, wait for more. A channel is always waited for.")] = False,
    channel: Annotated[bool, typer.Option("--channel", help="The channel, though a stream has the name too.")] = False,
    buffer: Annotated[int, typer.Option("--buffer", metavar="N", help="Messages of a channel that may wait to be printed.")] = 1024,
    overflow: Annotated[Overflow, typer.Option("--overflow", help="What happens when the buffer is full.")] = Overflow.drop_oldest,
    max: Max = None,
    raw: ShowRaw = False,
    url: Url = None,
    json: Json = False,
) -> int:
    """Print what is published on a channel until Ctrl-C, or the last records of a stream; one value a line.

    NAME is a stream where one is stored under it, else a channel. With --json whole messages.
    """
    printer = Printer(raw, json)
    with reading(url) as conn:
        if not channel and any(each.kind == "stream" and each.name == name for each in conn.names()):
            stream = conn.stream(name)
            stream.open()
            with stream.read(last=10 if last is None else last, follow=follow) as reader:
                return print_all(reader, printer, max)
        if last is not None:
            raise UsageError(f"there is no stream {name!r} at {conn.url}, and a channel keeps nothing that --last could show")
        with conn.channel(name).subscribe(buffer, overflow.value) as subscription:
            if sys.stderr.isatty():
                sys.stderr.write(f"listening to channel {name}; Ctrl-C ends\n")
            try:
                return print_all(subscription, printer, max)
            finally:
                if subscription.dropped:
                    warn(f"{subscription.dropped:,} messages were lost: they came faster than they were printed (see --buffer, --overflow)")
