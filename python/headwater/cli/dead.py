"""`headwater dead`: the dead letters of a queue or group."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from .. import DeadLetter, DecodeError, NotFoundError, UsageError, sync
from .options import Json, Raw, Url, Yes, confirm, value_of
from .output import columns, encode, letter_fields, line, objects, value_bytes
from .progress import Progress
from .session import find_source, reading

#: Letters looked at, printed or put back at a time.
PAGE = 200


class Action(StrEnum):
    """What to do with dead letters."""

    list = "list"
    show = "show"
    errors = "errors"
    edit = "edit"
    redrive = "redrive"
    purge = "purge"


class Kind(StrEnum):
    """What has dead letters."""

    queue = "queue"
    group = "group"


def dead(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A queue, or a group as STREAM/GROUP.")],
    action: Annotated[Action, typer.Argument(metavar="[ACTION]", help=f"{', '.join(Action)}. Default: list.")] = Action.list,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="For show, edit (ID VALUE) and redrive: ids of letters.")] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", metavar="TEXT", help="For list, show and redrive: whose reason or error has this text.")
    ] = None,
    max: Annotated[int | None, typer.Option("--max", metavar="N", help="For list, show and redrive: at most so many.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", help="For redrive: at most so many a second.")] = None,
    raw: Raw = False,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Where a queue and a group are meant alike.")] = None,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the dead letters of a queue or group, show them whole, count them by error, change the value of one, put them back, or
    delete them all.

    list is one line a letter; show has every attempt. redrive prints how many were put back, purge how many were deleted.
    """
    ids = arguments or []
    _check(action, ids, filter, max, rate)
    with reading(url) as conn:
        letters = find_source(conn, name, kind).dead
        if action is Action.edit:
            value = value_of(sys.stdin.buffer.read() if ids[1] == "-" else ids[1], raw)
            letters.edit(ids[0], value)
        elif action is Action.redrive:
            count = _redrive(letters, name, ids, filter, max, rate)
            objects([{"redriven": count}]) if json else line(str(count))
        elif action is Action.purge:
            confirm(f"Delete all dead letters of {name!r}?", yes)
            count = letters.purge()
            objects([{"purged": count}]) if json else line(str(count))
        elif action is Action.errors:
            found = sorted(letters.by_error().items(), key=lambda each: -each[1])
            objects({"error": error, "count": count} for error, count in found) if json else columns((count, error) for error, count in found)
        else:
            _print(_chosen(letters, ids, filter, max), whole=action is Action.show, json=json)


def _check(action: Action, ids: list[str], filter: str | None, max: int | None, rate: float | None) -> None:
    if max is not None and max < 1:
        raise UsageError(f"--max {max}: it is at least 1")
    if action is Action.edit and len(ids) != 2:
        raise UsageError("edit takes an id and the new value (- : all of stdin)")
    if action in (Action.list, Action.errors, Action.purge) and ids:
        raise UsageError(f"{action} takes no ids")
    if action not in (Action.list, Action.show, Action.redrive) and (filter is not None or max is not None):
        raise UsageError("--filter and --max go with list, show and redrive")
    if action is not Action.redrive and rate is not None:
        raise UsageError("--rate goes with redrive")


def _chosen(letters: sync.DeadLetters[Any], ids: list[str], filter: str | None, most: int | None) -> Iterator[DeadLetter[Any]]:
    """Those with these ids (all, where none are given) and this text in their reason or error; NotFoundError for an id without one."""
    wanted, left = set(ids), most
    text = (filter or "").lower()
    for letter in letters.read():
        if left == 0:
            return
        if ids and letter.id not in wanted:
            continue
        wanted.discard(letter.id)
        if text in f"{letter.reason} {letter.error or ''}".lower():
            left = None if left is None else left - 1
            yield letter
    if wanted:
        raise NotFoundError(f"there is no dead letter {min(wanted)} of {letters!r}")


def _print(chosen: Iterator[DeadLetter[Any]], *, whole: bool, json: bool) -> None:
    page: list[DeadLetter[Any]] = []
    for letter in chosen:
        if json:
            objects([letter_fields(letter)])
        elif whole:
            _show(letter)
        else:
            page.append(letter)
            if len(page) == PAGE:
                columns(map(_cells, page))
                page = []
    columns(map(_cells, page))


def _cells(letter: DeadLetter[Any]) -> tuple[str, ...]:
    return (letter.id, f"{letter.died_at:%Y-%m-%dT%H:%M:%SZ}", f"{letter.attempt}x", letter.reason, letter.error or "-", _text(letter))


def _text(letter: DeadLetter[Any]) -> str:
    """The value as one line that does nothing to a terminal."""
    try:
        data = value_bytes(letter.value)
    except DecodeError:
        data = letter.raw
    text = " ".join(data.decode(errors="backslashreplace").split())
    return text if text.isprintable() else "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _show(letter: DeadLetter[Any]) -> None:
    found = letter_fields(letter)
    for name in ("id", "origin", "reason", "error", "attempt", "died_at", "key", "timestamp", "position"):
        if found[name] is not None:
            line(f"{name:<11}{found[name]}")
    if letter.headers:
        line(f"{'headers':<11}{encode(dict(letter.headers)).decode()}")
    line(f"{'value':<11}{_text(letter)}")
    for each in letter.history:
        line(f"{'attempt':<11}{each.attempt} at {each.time}{'' if each.error is None else f': {each.error}'}")
        for row in (each.traceback or "").rstrip().splitlines():
            line(f"{'':<11}{row}")
    line("")


def _redrive(letters: sync.DeadLetters[Any], name: str, ids: list[str], filter: str | None, most: int | None, rate: float | None) -> int:
    if rate is not None and not rate > 0:
        raise UsageError(f"--rate {rate}: it is above 0, letters a second")
    if filter is None and rate is None:
        return letters.redrive(ids or None, most)
    chosen = [letter.id for letter in _chosen(letters, ids, filter, most)]
    done = 0
    # In steps, so that the bar moves: about ten a second, but one letter at least.
    step = PAGE if rate is None else min(PAGE, int(rate / 10) or 1)
    due = time.monotonic()
    with Progress(f"redrive {name}", len(chosen)) as progress:
        for at in range(0, len(chosen), step):
            some = chosen[at : at + step]
            if rate is not None:
                time.sleep(max(due - time.monotonic(), 0))
                due += len(some) / rate
            done += letters.redrive(some)
            progress.advance(len(some))
    return done
