"""`headwater ls`: what is stored."""

from __future__ import annotations

from .options import Json, Url
from .output import columns, objects
from .session import reading, shown_name, stored


def ls(url: Url = None, json: Json = False) -> None:
    """List the streams, groups and queues that are stored. A group is shown as STREAM/GROUP."""
    with reading(url) as conn:
        found = stored(conn)
    if json:
        objects(found)
    else:
        columns((each.kind, shown_name(each)) for each in found)
