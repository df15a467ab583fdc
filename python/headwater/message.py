"""The values that go in and come out: messages, deliveries, dead letters, batch items, and what `info`, `stats`, `names` and `health`
answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ._engine import Decoding, Delivery, Message, Position
from .errors import UsageError

if TYPE_CHECKING:
    from .abc import DeadEntry

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

__all__ = [
    "Attempt",
    "ConsumerHealth",
    "DeadLetter",
    "Delivery",
    "Health",
    "Info",
    "Item",
    "Message",
    "Position",
    "QueueStats",
    "Retention",
    "SourceStats",
    "StreamInfo",
]


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One element of `put_many` or `append_many` with options of its own.

    delay: seconds, timedelta or aware datetime; ttl: seconds or timedelta, from when it is due; time: the event time, aware.
    `id` is for streams; `delay`, `priority`, `ttl` and `unique` are for queues.
    """

    value: T
    key: str | bytes | None = None
    id: str | None = None
    headers: Mapping[str, str] | Sequence[tuple[str, bytes]] | None = None
    time: datetime | None = None
    delay: float | timedelta | datetime = 0
    priority: int = 0
    ttl: float | timedelta | None = None
    unique: str | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What a stream keeps: records younger than `age` (seconds or timedelta), at most `bytes`, at most `records`. None: no such
    limit; `Retention()` keeps everything. Records go by whole segments, so somewhat more may be there."""

    age: float | timedelta | None = None
    bytes: int | None = None
    records: int | None = None

    def __post_init__(self) -> None:
        age = self.age
        if isinstance(age, timedelta):
            object.__setattr__(self, "age", age.total_seconds())
        for name in ("age", "bytes", "records"):
            value = getattr(self, name)
            kinds = (int, float) if name == "age" else (int,)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value > 0):
                raise UsageError(f"Retention.{name} must be a {'' if name == 'age' else 'whole '}number above 0, not {value!r}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery of a dead letter. attempt: from 1. time: when it ended. error: "ValueError: …", where a handler raised."""

    attempt: int
    time: datetime
    error: str | None = None
    traceback: str | None = None


class DeadLetter(Message[T_co]):
    """A message that nobody will be given any more, until `redrive`.

    reason: "max_attempts", "rejected: …", "undecodable: …", "not retried: …" (what the policy gives up on). error: the last handler's.
    history: its attempts, oldest first (the most recent ones, where there were many). origin: the queue, or "stream/group". attempt:
    how often it was delivered.
    """

    reason: str
    error: str | None
    history: tuple[Attempt, ...]
    died_at: datetime
    origin: str
    attempt: int

    @classmethod
    def of(cls, entry: DeadEntry, decoding: Decoding, origin: str) -> DeadLetter[Any]:
        """From what a backend found; for patterns."""
        message = entry.message
        self: DeadLetter[Any] = cls.__new__(
            cls,
            raw=message.raw,
            decoding=decoding,
            name=message.name,
            key=message.raw_key,
            raw_headers=message.raw_headers,
            content_type=message.content_type,
            id=entry.id,
            time_ns=message.time_ns,
            position=message.position,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            foreign=message.foreign,
        )
        self.reason = entry.reason
        self.error = entry.error
        self.history = tuple(_attempt(each) for each in entry.history)
        self.died_at = at(entry.died_ns)
        self.origin = origin
        self.attempt = max((each.attempt for each in self.history), default=0)
        return self


def _attempt(entry: Mapping[str, Any]) -> Attempt:
    kind, message = entry.get("kind"), entry.get("message")
    error = f"{kind}: {message}" if kind and message else kind or message or entry.get("error")
    return Attempt(int(entry["attempt"]), at(int(entry["time_ns"])), error, entry.get("traceback") or None)


def at(time_ns: int) -> datetime:
    """A time of the engine as an aware one, cut to microseconds (integers: a float would round them)."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC) + timedelta(microseconds=time_ns % 1_000_000_000 // 1000)


@dataclass(frozen=True, slots=True)
class Info:
    """One object that is stored. parent: a group's stream."""

    kind: Literal["stream", "queue", "group", "table", "entity"]
    name: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream. first, last: the ends of what is kept (None: empty). bytes: on disk. appended_total: ever, also what is trimmed.
    What the engine can't know is None."""

    name: str
    first: Position | None
    last: Position | None
    records: int | None
    bytes: int | None
    first_time: datetime | None = None
    last_time: datetime | None = None
    appended_total: int | None = None
    segments: int | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceStats:
    """What a queue or group holds. ready: could be delivered now; delayed: due later, retries too; leased: in hand.
    oldest_age: seconds since the oldest unfinished one was stored; oldest_lease: seconds since the oldest claim in hand.
    put_total, acked_total: ever. What the engine can't know is None, never 0."""

    ready: int | None
    delayed: int | None
    leased: int | None
    dead: int | None
    oldest_age: float | None = None
    oldest_lease: float | None = None
    put_total: int | None = None
    acked_total: int | None = None
    paused: bool = False


#: The same, by the name that fits a queue.
QueueStats = SourceStats


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """One consumer, reader or subscription of this connection. ok: it made progress within the last `idle_for` seconds, or was
    found waiting with nothing there to give it."""

    name: str
    kind: str
    ok: bool
    received: int
    in_hand: int
    idle_for: float
    lag: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the engine answers and every consumer makes progress or is idle."""

    ok: bool
    engine: str
    error: str | None
    consumers: tuple[ConsumerHealth, ...]
