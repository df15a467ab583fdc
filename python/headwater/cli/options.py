"""The options and arguments that commands share, and how what is typed becomes what the API takes."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import msgspec
import typer

from .. import Checkpoint, Position, UsageError


class CodecName(StrEnum):
    """The codecs that have a name."""

    json = "json"
    msgpack = "msgpack"
    raw = "raw"


class Ordering(StrEnum):
    """The orders of a group."""

    none = "none"
    key = "key"
    total = "total"


Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The engine: local:PATH, memory:NAME. Default: $HEADWATER_URL, else local:./.headwater.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

#: What is sent.
Values = Annotated[list[str], typer.Argument(metavar="VALUE...", help="JSON where it parses, else text; - : each line of stdin.")]
Raw = Annotated[bool, typer.Option("--raw", help="Values are bytes, as they are.")]
Codec = Annotated[CodecName, typer.Option("--codec", help="How values are stored.")]
Key = Annotated[str | None, typer.Option("--key", help="The key.")]
Header = Annotated[list[str] | None, typer.Option("--header", metavar="K=V", help="A header; may be given again.")]
Time = Annotated[str | None, typer.Option("--time", metavar="TIME", help="The event time, as 2026-11-24T18:30Z. Default: now.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no results.")]

#: What is read.
Max = Annotated[int | None, typer.Option("--max", metavar="N", help="End after so many.")]
ShowRaw = Annotated[bool, typer.Option("--raw", help="Print the bytes as they are stored.")]


def value_of(text: str | bytes, raw: bool) -> Any:
    """What is typed, or a line of stdin, as a value: bytes, else JSON where it parses, else text."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    if raw:
        return data
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        pass
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"byte {error.start} of a value is not UTF-8: give --raw to send bytes as they are") from error


def headers_of(given: list[str] | None) -> dict[str, str] | None:
    """`k=v` each."""
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise UsageError(f"--header {each}: write it as NAME=VALUE")
        found[name] = value
    return found or None


def time_of(text: str | None, option: str) -> datetime | None:
    """An ISO 8601 time with a time zone."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: it is a time as 2026-11-24T18:30Z") from None
    if found.tzinfo is None:
        whole = found.isoformat(timespec="auto" if found.second or found.microsecond else "minutes")
        raise UsageError(f"{option} {text} has no time zone: write {whole}Z for UTC, or {whole}+01:00")
    return found


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str | None, option: str) -> float | None:
    """A number of seconds, or one with a unit: 500ms, 90s, 5m, 2h, 1d."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"{option} {text}: it is seconds, or a number with ms, s, m, h or d, as in 90 or 5m")
    return float(found[1]) * _UNITS[found[2] or "s"]


def delay_of(text: str | None) -> float | datetime:
    """Seconds from now, or the time when it is due."""
    if text is None:
        return 0
    if _DURATION.fullmatch(text):
        return cast("float", seconds_of(text, "--delay"))
    return cast("datetime", time_of(text, "--delay"))


def place_of(text: str, option: str) -> Literal["earliest", "latest"] | Position | datetime:
    """A place in a stream: a word, a position or a time."""
    if text == "earliest" or text == "latest":
        return text
    return _place(text, option, "earliest, latest, ")


def stop_of(text: str | None, option: str) -> Position | datetime | None:
    """A position or a time."""
    return None if text is None else _place(text, option, "")


def _place(text: str, option: str, words: str) -> Position | datetime:
    if re.match(r"\d+-\d\d?-\d\d?|\d{8}T", text):
        return cast("datetime", time_of(text, option))
    try:
        return Position.parse(text)
    except UsageError:
        raise UsageError(f"{option} {text}: it is {words}a position as 42 or 42@orders, or a time as 2026-11-24T18:30Z") from None


def checkpoint_of(text: str | None, option: str) -> Checkpoint | None:
    """A position, or one for each shard."""
    if text is None:
        return None
    try:
        found = Checkpoint.parse(text)
        if found.positions:
            return found
    except UsageError:
        pass
    raise UsageError(f"{option} {text}: it is a position as 42 or 42@orders, or a checkpoint as 42.0,17.1@orders")


def expected(text: str | None, option: str, word: str) -> Any:
    """What `expect` and `expect_key` take: a position, or the word."""
    if text is None or text == word:
        return text
    try:
        return Position.parse(text)
    except UsageError:
        raise UsageError(f"{option} {text}: it is {word}, or a position as 42 or 42@orders") from None


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere --yes must have been given. A no ends the command with 1."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Say --yes, since nobody can be asked here")
    typer.confirm(question, abort=True, err=True)
