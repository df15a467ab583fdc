"""What commands print to stdout: JSON objects, one a line, or plain columns that `grep` and `cut` understand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from .. import Checkpoint, Position

__all__ = ["columns", "encode", "line", "objects"]


def encode(value: Any) -> bytes:
    """`value` as compact JSON. Positions as their text, times as RFC 3339, bytes as base64."""
    return _encoder.encode(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Position | Checkpoint):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def line(text: str) -> None:
    """One line. What is no UTF-8 in it, as in an argument, goes out as it came in."""
    sys.stdout.buffer.write(text.encode(errors="surrogateescape") + b"\n")


def objects(values: Iterable[Any]) -> None:
    """JSON, one object a line."""
    for value in values:
        sys.stdout.buffer.write(encode(value) + b"\n")


def columns(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> None:
    """A table of aligned columns: texts to the left, numbers to the right, `-` for what is not known."""
    cells = [[shown(cell) for cell in row] for row in ([header] if header else [])]
    numeric: list[bool] = []
    for row in rows:
        numeric = [isinstance(cell, int | float) or (bool(numeric) and numeric[at]) for at, cell in enumerate(row)]
        cells.append([shown(cell) for cell in row])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line("  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(row, widths, numeric, strict=True)).rstrip())


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
