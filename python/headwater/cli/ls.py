"""`headwater ls`: what is stored."""

from __future__ import annotations

from .options import Json, Url
from .output import columns, objects
from .session import reading


def ls(url: Url = None, json: Json = False) -> None:
    """List the streams, groups and queues that are stored. A group is shown as STREAM/GROUP."""
    with reading(url) as conn:
        found = conn.names()
    if json:
        objects(found)
    else:
        columns((each.kind, each.name if each.parent is None else f"{each.parent}/{each.name}") for each in found)
