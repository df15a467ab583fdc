"""One message's life: stored, delivered to whom, attempts and errors, when it is due, and why it is still there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from .. import _engine
from .._engine import Engine, Position, Source
from ..errors import NotFoundError, UsageError
from ..url import Url

__all__ = ["Event", "Stored", "Trace", "trace"]

Kind: TypeAlias = Literal["stream", "queue", "group"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stored:
    """The message as it lies in the log. bytes: of its value. due: not before. ttl: seconds, from when it is due."""

    at: datetime
    timestamp: datetime
    key: bytes | None
    bytes: int
    due: datetime | None
    ttl: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to it.

    what: "stored", "delayed", "waiting behind its key", "delivered", "done", "failed", "given back", "expired", "held", "skipped",
    "dead", "redriven", "edited", "purged", "cancelled" or "sought". by: the process that it was delivered to. attempt: which one, None
    where that is not known. due: not before. error: what the handler raised. note: what else is to be said.
    """

    time: datetime
    what: str
    by: str | None
    attempt: int | None
    due: datetime | None
    error: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A message's life in one queue or group.

    source: "queue NAME", "group STREAM/GROUP", or "stream NAME" for a stream that no group reads. state: "waiting" (nobody has come to
    it), "ready", "leased", "delayed", "parked" (behind another of its key), "dead", "done"; of a stream alone "stored". attempts:
    deliveries that counted. holder: who has it in hand. why: why it is still there, or how it left. kept_from: where the group's journal
    does not go back to its beginning, since when it does: what was before is not known.
    """

    source: str
    id: str
    state: str
    why: str
    attempts: int
    due: datetime | None
    holder: str | None
    stored: Stored | None
    events: tuple[Event, ...]
    kept_from: datetime | None


def trace(url: str | None, name: str, id: str | Position, *, kind: Kind | None = None) -> tuple[Trace, ...]:
    """What became of one message, from the journals: one `Trace` for a queue or group, one for each group of a stream.

    Args:
        url: a `local:` URL (default $HEADWATER_URL, else `local:./.headwater`), or `memory:NAME` of this process.
        name: a queue, a stream, or a group as STREAM/GROUP.
        id: a job's id, as in `0-42`; a record's position, as in `42` or `42@orders`.
        kind: which of them is meant, where several have the name.

    Raises:
        NotFoundError: for a name that is not stored, or a message that never was.
        UsageError: for an id that is none, or a name that means several.
        ConnectError: where there is no directory.
        CorruptionError: where a journal cannot be read.
    """
    engine = _opened(url)
    try:
        found, parent = _find(engine, name, kind)
        if found == "queue":
            source = engine.open_queue(name).source
            return (_life(f"queue {name}", source.trace(str(id))),)
        stream = engine.open_stream(parent)
        seq = _seq(id, parent)
        if found == "group":
            group: Source = stream.open_group(name.removeprefix(f"{parent}/"))
            return (_life(f"group {name}", group.trace(str(seq))),)
        groups = stream.groups()
        if groups:
            return tuple(_life(f"group {parent}/{each}", stream.open_group(each).trace(str(seq))) for each in sorted(groups))
        stored = stream.stored(seq)
        if stored is None:
            raise NotFoundError(f"there is no record at position {seq} of stream {parent}", name=str(seq))
        return (_alone(parent, seq, stored),)
    finally:
        engine.close()


def _opened(url: str | None) -> Engine:
    parsed = Url.parse(url)
    if parsed.scheme == "local":
        return Engine.open(parsed.path, create=False, name="trace")
    if parsed.scheme == "memory" and parsed.path:
        return Engine.memory(parsed.path)
    raise UsageError(f"{parsed}: trace is for local:PATH and memory:NAME")


def _find(engine: _engine.Engine, name: str, kind: Kind | None) -> tuple[str, str]:
    """What has the name: its kind, and the stream that it is, or is of."""
    found: list[tuple[str, str]] = []
    for each in engine.objects():
        parent = each["parent"]
        shown = each["name"] if parent is None else f"{parent}/{each['name']}"
        if shown == name and kind in (None, each["kind"]):
            found.append((each["kind"], parent or each["name"]))
    if len(found) > 1:
        raise UsageError(f"{name!r} is {' and '.join(f'a {each}' for each, _ in found)}: say which")
    if not found:
        what = kind or "stream, queue or group"
        raise NotFoundError(f"there is no {what} {name!r} (a group is written STREAM/GROUP)", name=name)
    return found[0]


def _seq(id: str | Position, stream: str) -> int:
    position = id if isinstance(id, Position) else Position.parse(id)
    if position.stream not in ("", stream):
        raise UsageError(f"{position} is a position of stream {position.stream}, not of {stream}")
    return position.seq


def _time(ns: int | None) -> datetime | None:
    return None if ns is None else _EPOCH + timedelta(microseconds=ns // 1000)


def _when(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _stored(found: Mapping[str, Any]) -> Stored:
    ttl = found["ttl_ns"]
    return Stored(
        at=_when(found["append_ns"]),
        timestamp=_when(found["time_ns"]),
        key=found["key"],
        bytes=found["bytes"],
        due=_time(found["due_ns"]),
        ttl=None if ttl is None else ttl / 1e9,
    )


def _event(found: Mapping[str, Any]) -> Event:
    error = found["error"]
    return Event(
        time=_when(found["time_ns"]),
        what=found["what"],
        by=found["by"],
        attempt=found["attempt"],
        due=_time(found["due_ns"]),
        error=None if error is None else ": ".join(part for part in error if part),
        note=found["note"] or None,
    )


def _life(source: str, found: Mapping[str, Any]) -> Trace:
    return Trace(
        source=source,
        id=found["id"],
        state=found["state"],
        why=found["why"],
        attempts=found["attempts"],
        due=_time(found["due_ns"]),
        holder=found["holder"],
        stored=None if found["record"] is None else _stored(found["record"]),
        events=tuple(_event(each) for each in found["events"]),
        kept_from=_time(found["kept_from_ns"]),
    )


def _alone(stream: str, seq: int, found: Mapping[str, Any]) -> Trace:
    stored = _stored(found)
    return Trace(
        source=f"stream {stream}",
        id=str(seq),
        state="stored",
        why="a stream keeps its records; no group reads this one",
        attempts=0,
        due=None,
        holder=None,
        stored=stored,
        events=(Event(stored.at, "stored", None, None, None, None, None),),
        kept_from=None,
    )
