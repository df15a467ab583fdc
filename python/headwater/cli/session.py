"""The connection of a command."""

from __future__ import annotations

import os
from typing import Any

from .. import sync

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
