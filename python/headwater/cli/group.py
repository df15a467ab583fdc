"""`headwater group`: the progress of a group, and where it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .. import Info, Retry, UsageError
from .look import look, print_tables, tables
from .options import Json, Ordering, Url, Yes, confirm, place_of, seconds_of
from .output import columns, encode, line, objects
from .session import reading, shown_name, writing


class Action(StrEnum):
    """What to do with a group."""

    stats = "stats"
    lag = "lag"
    config = "config"
    create = "create"
    seek = "seek"
    pause = "pause"
    resume = "resume"
    delete = "delete"


def group(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group.")],
    action: Annotated[Action, typer.Argument(metavar="[ACTION]", help=f"{', '.join(Action)}. Default: stats.")] = Action.stats,
    place: Annotated[str | None, typer.Argument(metavar="[PLACE]", help="For seek: earliest, latest, a position, or a time.")] = None,
    ordering: Annotated[Ordering | None, typer.Option("--ordering", help="For create: of which messages the order is kept.")] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="PLACE", help="For create: earliest (default), latest, a position, or a time.")
    ] = None,
    lease: Annotated[str | None, typer.Option("--lease", metavar="TIME", help="For create: how long a hanging consumer keeps a message.")] = None,
    max_hold: Annotated[str | None, typer.Option("--max-hold", metavar="TIME", help="For create: how long any consumer keeps one.")] = None,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", metavar="N", help="For create: after so many a message is a dead letter.")
    ] = None,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Look at a group of a stream, make it, move it, pause it or delete it.

    seek moves it for all of its consumers: what they have in hand is lost to them. pause holds until resume.
    """
    if (place is None) is (action is Action.seek):
        raise UsageError("seek needs a place: earliest, latest, a position, or a time" if place is None else f"{action} takes no place")
    to = None if place is None else place_of(place, "seek")
    options = (ordering, start, lease, max_hold, max_attempts)
    if action is not Action.create and any(option is not None for option in options):
        raise UsageError("--ordering, --start, --lease, --max-hold and --max-attempts go with create")
    with writing(url) if action is Action.create else reading(url) as conn:
        if action is Action.create:
            made = conn.stream(stream).group(
                name,
                ordering=None if ordering is None else ordering.value,
                start=None if start is None else place_of(start, "--start"),
                lease=seconds_of(lease, "--lease"),
                max_hold=seconds_of(max_hold, "--max-hold"),
                retry=None if max_attempts is None else Retry(max_attempts=max_attempts),
            )
            made.declare()
            return
        target = conn.stream(stream).group(name)
        target.open()
        if to is not None:
            target.seek(to)
        elif action is Action.pause:
            target.pause()
        elif action is Action.resume:
            target.resume()
        elif action is Action.delete:
            confirm(f"Delete group {name!r} of stream {stream!r}, with its progress and dead letters?", yes)
            target.delete()
        elif action is Action.config:
            config = target.config()
            if json:
                objects([config])
            else:
                columns((option, None if value is None else encode(value).decode().strip('"')) for option, value in config.items())
        elif action is Action.lag:
            lag = target.lag()
            if json:
                objects([{"lag": lag}])
            else:
                line("-" if lag is None else str(lag))
        else:
            rows = look(conn, shown_name(Info("group", name, stream)))
            if json:
                objects(row.fields() for row in rows)
            else:
                print_tables(tables(rows))
