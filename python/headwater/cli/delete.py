"""`headwater delete`: a stream, queue or group with all that is in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .options import Json, Url, Yes, confirm
from .session import find_source, reading


class Kind(StrEnum):
    """What can be deleted."""

    stream = "stream"
    queue = "queue"
    group = "group"


def delete(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"{', '.join(Kind)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name; a group's is STREAM/GROUP.")],
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete a stream (with its groups), a queue or a group, with all that is in it."""
    with reading(url) as conn:
        if kind is Kind.stream:
            target = conn.stream(name)
            target.open()
        else:
            target = find_source(conn, name, kind.value)
        confirm(f"Delete {kind} {name!r} at {conn.url} with all that is in it?", yes)
        target.delete()
