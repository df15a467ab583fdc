"""The connection of a command, and the names that are stored there."""

from __future__ import annotations

import os
from typing import Any

from .. import Info, NotFoundError, UsageError, sync

#: As `headwater.connect` has it.
DEFAULT_URL = "local:./.headwater"


def reading(url: str | None, **arguments: Any) -> sync.Connection:
    """Connects for a command that looks: a directory that is not there is an error, and not made."""
    effective = url or os.environ.get("HEADWATER_URL") or DEFAULT_URL
    options = {"create": False} if effective.lower().startswith("local:") else {}
    return sync.connect(effective, options=options, **arguments)


def writing(url: str | None, **arguments: Any) -> sync.Connection:
    """Connects for a command that stores something: a directory that is not there is made."""
    return sync.connect(url, **arguments)


def stored(conn: sync.Connection) -> list[Info]:
    """All that is stored: streams by name, each with its groups behind it, then the rest."""
    return sorted(
        conn.names(),
        key=lambda each: (each.kind not in ("stream", "group"), each.kind == "queue", each.parent or each.name, each.parent is not None, each.name),
    )


def shown_name(info: Info) -> str:
    """A name as commands take it: a group's is STREAM/GROUP."""
    return info.name if info.parent is None else f"{info.parent}/{info.name}"


def find_source(conn: sync.Connection, name: str, kind: str | None = None) -> sync.Queue[Any] | sync.Group[Any]:
    """The stored queue or group (STREAM/GROUP) of this name, opened."""
    found = [each for each in stored(conn) if each.kind in ("queue", "group") and shown_name(each) == name and kind in (None, each.kind)]
    # A stream's name may hold a slash too, so that several may be meant.
    if len(found) > 1:
        raise UsageError(f"{name!r} is {' and '.join(f'a {each.kind}' for each in found)}: say which with --kind")
    if not found:
        raise NotFoundError(f"there is no queue or group {name!r} at {conn.url} (a group is written STREAM/GROUP; headwater ls shows all)", name=name)
    source = conn.queue(found[0].name) if found[0].parent is None else conn.stream(found[0].parent).group(found[0].name)
    source.open()
    return source
