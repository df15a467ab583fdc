"""`headwater backup`: a consistent copy of a directory while it is in use."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import UsageError
from .options import Json, Url
from .output import line, objects


def backup(
    places: Annotated[
        list[str], typer.Argument(metavar="[DIR] OUT", help="The directory (default: the URL's), and the place of the copy, not there or empty.")
    ],
    url: Url = None,
    json: Json = False,
) -> None:
    """Copy a directory while it is in use: everything acknowledged before, each stream in its order, no group ahead of its stream.

    With --json one object: out, objects, files, bytes.
    """
    from ..doctor import backup as copy
    from ..doctor import directory_of

    if len(places) > 2:
        raise UsageError("backup takes a directory and the place of the copy: headwater backup DIR OUT")
    if len(places) == 2 and url is not None:
        raise UsageError("give a directory or --url, not both")
    source = places[0] if len(places) == 2 else directory_of(url)
    done = copy(source, places[-1])
    if json:
        objects([done])
    else:
        line(f"{done.objects:,} objects, {done.files:,} files, {done.bytes / 2**20:,.1f} MiB: {done.out}")
