"""A consistent copy of a directory while it is in use."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .. import _engine

__all__ = ["Backup", "backup"]


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied, to where. bytes: of messages and of what is known about them."""

    out: str
    objects: int
    files: int
    bytes: int


def backup(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> Backup:
    """Copies a directory to `out` while processes go on writing to it.

    Everything acknowledged before the call is in the copy. Of what comes meanwhile a part is: each stream and queue up to some moment in
    its order, and no group ahead of its stream. The copy is synced, private to the user (0700), and opens as a directory of its own whose
    processes were killed: positions jump once. It is made as `OUT.unfinished` and renamed when it is whole; a failure removes it.

    Args:
        source: the directory.
        out: must not be there, or be an empty directory; not inside `source`.

    Raises:
        UsageError: where `out` is in the way or inside the directory.
        ConnectError, IncompatibleError: for a source that cannot be opened.
        StorageFullError, StorageError: for a copy that cannot be written.
        CorruptionError: for an object whose metadata cannot be read; `check` says which.
    """
    found = _engine.backup(os.fspath(source), os.fspath(out))
    return Backup(os.path.abspath(out), found["objects"], found["files"], found["bytes"])
