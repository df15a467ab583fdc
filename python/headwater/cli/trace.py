"""`headwater trace`: one message's life."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Url
from .output import columns, line, objects

if TYPE_CHECKING:
    from datetime import datetime

    from ..doctor import Event, Trace


class Kind(StrEnum):
    """What a name can mean."""

    stream = "stream"
    queue = "queue"
    group = "group"


def trace(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A queue, a stream, or a group as STREAM/GROUP.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="A job's id as 0-42; a record's position as 42 or 42@orders.")],
    kind: Annotated[Kind | None, typer.Option("--kind", help="Where several have the name.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Tell one message's life: stored when, delivered to whom, attempts and errors, when it is due, and why it is still there.

    Of a stream's record, in each of its groups. With --json the fields of Trace, one object for each.
    """
    from ..doctor import trace as look

    found = look(url, name, id, kind=None if kind is None else kind.value)
    if json:
        objects(found)
        return
    for number, each in enumerate(found):
        if number:
            line("")
        _print(each)


def _print(found: Trace) -> None:
    attempts = f", {found.attempts} attempts" if found.attempts > 1 else ""
    line(f"{found.id} of {found.source}: {found.state}{attempts}")
    line(found.why)
    if found.stored is not None:
        key = "" if found.stored.key is None else f", key {found.stored.key.decode(errors='backslashreplace')}"
        line(f"{found.stored.bytes:,} bytes{key}")
    columns(_row(event) for event in found.events)
    if found.kept_from is not None:
        line(f"the journal goes back to {_shown(found.kept_from)}; what was before is not known")


def _row(event: Event) -> tuple[str, str, str]:
    what = event.what if event.attempt is None else f"{event.what}, attempt {event.attempt}"
    said = [event.by, event.error, event.note, None if event.due is None else f"due {_shown(event.due)}"]
    return (_shown(event.time), what, "; ".join(part for part in said if part))


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
