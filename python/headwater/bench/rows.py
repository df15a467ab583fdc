"""What is measured: a row for each way of using a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

Unit = Literal["messages/s", "µs"]


@dataclass(frozen=True, slots=True)
class Row:
    """name: how it is asked for. pattern: "stream", "group", "queue" or "channel". sides: the module with both sides.
    messages: of one run, for each of its seconds. least_size: bytes that a payload needs to be told from others."""

    name: str
    title: str
    pattern: str
    sides: str
    unit: Unit
    messages: int
    least_size: int = 8


_STREAMS, _WORK, _CHANNELS, _LATENCY = (f"{__package__}.{name}" for name in ("streams", "work", "channels", "latency"))

ROWS = (
    Row("append", "append one by one, sync, bytes → read in batches", "stream", _STREAMS, "messages/s", 1_000_000),
    Row("append-await", "await append one by one → async for", "stream", _STREAMS, "messages/s", 1_000_000),
    Row("append-many", "append_many of 1000 → batched read", "stream", _STREAMS, "messages/s", 2_000_000),
    Row("append-typed", "typed (msgspec.Struct, JSON) one by one → typed read", "stream", _STREAMS, "messages/s", 500_000, 60),
    Row("group", 'group, ordering="key", 1000 keys: consume and ack one by one', "group", _WORK, "messages/s", 150_000),
    Row("group-batch", 'group, ordering="key", 1000 keys: consume and ack in batches', "group", _WORK, "messages/s", 500_000),
    Row("queue", "queue: put → take → ack one by one", "queue", _WORK, "messages/s", 100_000),
    Row("queue-batch", "queue: put → take → ack in batches of 100", "queue", _WORK, "messages/s", 400_000),
    Row("channel", "channel: publish → subscriber", "channel", _CHANNELS, "messages/s", 1_000_000),
    Row("latency", "one way, a sleeping sync reader", "stream", _LATENCY, "µs", 500, 16),
    Row("latency-asyncio", "one way, a sleeping asyncio reader", "stream", _LATENCY, "µs", 500, 16),
    Row("latency-spin", "one way, a spinning reader", "stream", _LATENCY, "µs", 500, 16),
)


def chosen(words: Iterable[str]) -> tuple[Row, ...]:
    """The rows of these names; the name of a pattern stands for all of its rows, no word for all there are.

    Raises:
        UsageError: no row has such a name.
    """
    wanted = tuple(words)
    names = {row.name for row in ROWS} | {row.pattern for row in ROWS}
    unknown = [word for word in wanted if word not in names]
    if unknown:
        raise UsageError(f"no row is named {unknown[0]!r}; there are {', '.join(row.name for row in ROWS)}, and the names of patterns")
    return tuple(row for row in ROWS if not wanted or row.name in wanted or row.pattern in wanted)
