"""The options that commands share, and how what is typed becomes what the API takes."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The engine: local:PATH, memory:NAME. Default: $HEADWATER_URL, else local:./.headwater.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
