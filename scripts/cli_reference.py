"""Writes docs/reference/cli.md from the commands themselves: `python scripts/cli_reference.py`. A test holds that it is up to date."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from headwater.cli import COMMANDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

HEAD = """\
# The command line

`headwater COMMAND`, or `python -m headwater COMMAND`. This page is what `headwater COMMAND --help` says; the [guide](../guides/cli.md)
shows how the commands go together.

- Where: `--url`, else `$HEADWATER_URL`, else `local:./.headwater`. Commands that only look make no directory.
- `--json` prints the fields of the result classes, one object a line. Positions are texts, times RFC 3339, bytes base64.
- Exit code: 0, 1 after an error, 2 for a wrong command line, 130 after Ctrl-C. An error is one line on stderr.
- Values are JSON where they parse, else text. `-` stands for the lines of stdin.
- A position is `42` or `42@orders`; a time has a zone, as `2026-11-24T18:30Z`; a duration is seconds, or `500ms`, `90s`, `5m`, `2h`, `1d`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in COMMANDS for line in _command(name))]).rstrip() + "\n"


def _command(name: str) -> Iterator[str]:
    function = getattr(importlib.import_module(f"headwater.cli.{name}"), name)
    hints = get_type_hints(function, include_extras=True)
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    for parameter in inspect.signature(function).parameters.values():
        kind, about = get_args(hints[parameter.name])
        if isinstance(about, ArgumentInfo):
            arguments.append((about.metavar or parameter.name.upper(), about.help or ""))
        elif parameter.name not in ("url", "json"):
            # In an annotation, typer takes the first name for the default.
            names = [each for each in (about.default, *about.param_decls) if isinstance(each, str)]
            options.append((f"{', '.join(names)}{_metavar(kind, about.metavar)}", f"{about.help or ''}{_default(parameter.default)}"))
    yield f"## {name}\n"
    yield f"`{' '.join([f'headwater {name}', *(shown for shown, _ in arguments)])}`\n"
    yield f"{inspect.cleandoc(function.__doc__)}\n"
    if arguments or options:
        yield "| argument or option | |"
        yield "|---|---|"
        for shown, text in [*arguments, *options]:
            yield f"| `{shown}` | {text.replace('|', chr(92) + '|')} |"
        yield ""


def _metavar(kind: Any, given: str | None) -> str:
    # What may be left out is of the type and None.
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f" {'/'.join(kind)}"
    return f" {given or ('N' if kind in (int, float) else 'TEXT')}"


def _default(default: Any) -> str:
    return "" if default in (None, False, inspect.Parameter.empty) else f" Default: {default}."


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
