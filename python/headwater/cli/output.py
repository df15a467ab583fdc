"""What commands print to stdout: values as they are, JSON objects one a line, or columns that `grep` and `cut` understand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from .. import Checkpoint, DeadLetter, DecodeError, Delivery, Message, Position

__all__ = ["Printer", "columns", "encode", "letter_fields", "line", "message_fields", "objects", "shown", "warn"]


def encode(value: Any) -> bytes:
    """`value` as compact JSON. Positions as their text, times as RFC 3339, bytes as base64."""
    return _encoder.encode(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Position | Checkpoint):
        return str(value)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if isinstance(value, type):
        return value.__name__
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def line(text: str) -> None:
    """One line. What is no UTF-8 in it, as in an argument, goes out as it came in."""
    sys.stdout.buffer.write(text.encode(errors="surrogateescape") + b"\n")


def warn(text: str) -> None:
    """One line on stderr; the command goes on."""
    sys.stderr.write(f"headwater: {' '.join(text.split())}\n")


def objects(values: Iterable[Any]) -> None:
    """JSON, one object a line."""
    for value in values:
        sys.stdout.buffer.write(encode(value) + b"\n")


class Printer:
    """Prints messages as they come. Whoever reads the pipe gets each as soon as no more are there.

    raw: the bytes as they are stored. json: the whole messages. A value that does not decode is named on stderr and left out; then
    `code` is 1.
    """

    def __init__(self, raw: bool, json: bool) -> None:
        self._form = _whole if json else _raw if raw else _value
        self.code = 0
        self.printed = 0

    def batch(self, messages: Sequence[Message[Any]]) -> None:
        """Prints them, and passes them on at once."""
        lines: list[bytes] = []
        for message in messages:
            try:
                lines.append(self._form(message))
            except DecodeError as error:
                warn(f"{message.position or message.id}: {error}")
                self.code = 1
        self.printed += len(messages)
        if lines:
            sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
            sys.stdout.buffer.flush()


def _raw(message: Message[Any]) -> bytes:
    return message.raw


def _value(message: Message[Any]) -> bytes:
    return value_bytes(message.value)


def value_bytes(value: Any) -> bytes:
    """A value as commands print it: bytes and text as they are, everything else as compact JSON."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else encode(value)


def _whole(message: Message[Any]) -> bytes:
    return encode(message_fields(message, message.value))


def message_fields(message: Message[Any], value: Any) -> dict[str, Any]:
    """A message's fields with this value; without the raw ones, which say the same in bytes."""
    names = ("key", "headers", "id", "name", "timestamp", "position", "reply_to", "correlation_id", "foreign")
    found = {"value": value, **{name: getattr(message, name) for name in names}}
    found["headers"] = dict(message.headers)
    if isinstance(message, Delivery):
        found |= {name: getattr(message, name) for name in ("attempt", "lease_until", "settled")}
    return found


def letter_fields(letter: DeadLetter[Any]) -> dict[str, Any]:
    """A dead letter's fields. A value that does not decode, which may be what it died of, is None."""
    try:
        value = letter.value
    except DecodeError:
        value = None
    names = ("reason", "error", "history", "died_at", "origin", "attempt")
    return {**message_fields(letter, value), **{name: getattr(letter, name) for name in names}}


def columns(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> None:
    """A table of aligned columns: texts to the left, numbers to the right, `-` for what is not known."""
    body = [list(row) for row in rows]
    if not body:
        return
    numeric = [any(isinstance(cell, int | float) for cell in column) for column in zip(*body, strict=True)]
    cells = [[shown(cell) for cell in row] for row in ([header] if header else []) + body]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line("  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(row, widths, numeric, strict=True)).rstrip())


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
