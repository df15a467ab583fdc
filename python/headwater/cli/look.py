"""What `stats` and `top` show: every stream, queue and group with its numbers, at one moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

from .. import Info, NotFoundError, SourceStats, StreamInfo, sync
from .output import columns, line
from .session import shown_name, stored


@dataclass(frozen=True, slots=True)
class Row:
    """One object. lag: a group's, and None where the engine can't know. seen: when, in seconds of a clock that only rises."""

    info: Info
    stats: StreamInfo | SourceStats
    lag: int | None
    seen: float

    def fields(self) -> dict[str, Any]:
        """The fields of Info and of StreamInfo or SourceStats; a group's lag besides."""
        found = {each.name: getattr(self.info, each.name) for each in fields(self.info)}
        found.update({each.name: getattr(self.stats, each.name) for each in fields(self.stats)})
        return {**found, "lag": self.lag} if self.info.kind == "group" else found


def look(conn: sync.Connection, name: str | None = None) -> list[Row]:
    """All that is stored, or what has this name: a stream with its groups, a queue, a group as STREAM/GROUP."""
    found: list[Row] = []
    for info in stored(conn):
        if name is None or shown_name(info) == name or info.parent == name:
            try:
                row = _look_at(conn, info)
            except NotFoundError:
                # Deleted since it was listed.
                continue
            if row is not None:
                found.append(row)
    if name is not None and not found:
        raise NotFoundError(f"there is no stream, queue or group {name!r} at {conn.url} (headwater ls shows all)", name=name)
    return found


def _look_at(conn: sync.Connection, info: Info) -> Row | None:
    if info.kind == "stream":
        stream = conn.stream(info.name)
        stream.open()
        return Row(info, stream.info(), None, time.monotonic())
    if info.kind == "queue":
        queue = conn.queue(info.name)
        queue.open()
        return Row(info, queue.stats(), None, time.monotonic())
    if info.kind == "group" and info.parent is not None:
        group = conn.stream(info.parent).group(info.name)
        group.open()
        return Row(info, group.stats(), group.lag(), time.monotonic())
    return None


def rate(now: float | None, before: float | None, seconds: float) -> float | None:
    """So many a second between two looks; None where one of them does not know."""
    return None if now is None or before is None or seconds <= 0 else max(now - before, 0) / seconds


Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def tables(rows: list[Row], before: list[Row] | None = None) -> list[Table]:
    """Streams, groups and queues as tables (header, rows); with an earlier look, with rates."""
    old = {(row.info.kind, row.info.parent, row.info.name): row for row in before or ()}
    found: dict[str, list[tuple[Any, ...]]] = {"stream": [], "group": [], "queue": []}
    for row in rows:
        earlier = old.get((row.info.kind, row.info.parent, row.info.name))
        found[row.info.kind].append(_cells(row, earlier, before is not None))
    rated = before is not None
    headers: dict[str, tuple[str, ...]] = {
        "stream": ("STREAM", "RECORDS", *(("IN/S",) if rated else ()), "BYTES", "FIRST", "LAST", "GROUPS"),
        "group": ("GROUP", "LAG", *(("DONE/S",) if rated else ()), "READY", "DELAYED", "LEASED", "DEAD", "OLDEST", "PAUSED"),
        "queue": ("QUEUE", *(("IN/S", "DONE/S") if rated else ()), "READY", "DELAYED", "LEASED", "DEAD", "OLDEST", "PAUSED"),
    }
    return [(headers[kind], cells) for kind, cells in found.items() if cells]


def _cells(row: Row, earlier: Row | None, rated: bool) -> tuple[Any, ...]:
    name, stats = shown_name(row.info), row.stats
    old = None if earlier is None else earlier.stats
    took = 0.0 if earlier is None else row.seen - earlier.seen
    if isinstance(stats, StreamInfo):
        came = rate(stats.appended_total, old.appended_total if isinstance(old, StreamInfo) else None, took)
        ends = [None if place is None else place.seq for place in (stats.first, stats.last)]
        return (name, stats.records, *((came,) if rated else ()), stats.bytes, *ends, len(stats.groups))
    before = old if isinstance(old, SourceStats) else None
    came = rate(stats.put_total, before and before.put_total, took)
    done = rate(stats.acked_total, before and before.acked_total, took)
    held = (stats.ready, stats.delayed, stats.leased, stats.dead, stats.oldest_age, stats.paused)
    if row.info.kind == "group":
        return (name, row.lag, *((done,) if rated else ()), *held)
    return (name, *((came, done) if rated else ()), *held)


def print_tables(found: list[Table]) -> None:
    """One below the other, as plain columns."""
    for at, (header, rows) in enumerate(found):
        if at:
            line("")
        columns(rows, header)
