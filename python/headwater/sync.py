"""The same names without `async`: `with headwater.sync.connect(url) as conn`.

Over 500 lines: every signature stands here a second time, for readers and type checkers, and nothing else does. Each class holds one
of the asynchronous API and drives its coroutines to the end on the calling thread (`Backend.drive`); on `local:` and `memory:` they
never suspend, so there is no event loop. A connection may be used from any thread. A test holds every signature equal.
"""

# The two faces of one package: this module sees what the asynchronous classes keep from others.
# pyright: reportPrivateUsage=none

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from . import connection as _connection
from ._engine import Delivery as _Delivery
from ._engine import Message, Position
from .abc import Headers, Ordering, Overflow
from .capabilities import Capabilities, Feature
from .codec import Codec, CodecName
from .errors import UsageError
from .message import DeadLetter, Health, Info, Item, Retention, SourceStats, StreamInfo
from .patterns import base as _base
from .patterns import channel as _channel
from .patterns import dead as _dead
from .patterns import group as _group
from .patterns import iterate as _iterate
from .patterns import queue as _queue
from .patterns import source as _source
from .patterns import stream as _stream
from .patterns.checkpoint import Checkpoint
from .patterns.context import Context
from .patterns.later import later
from .patterns.source import OnDecodeError
from .retry import Retry

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)

__all__ = [
    "Channel",
    "Connection",
    "Consumer",
    "DeadLetters",
    "DeadReader",
    "Delivery",
    "Group",
    "Queue",
    "Reader",
    "Source",
    "Stream",
    "Subscription",
    "connect",
]

if TYPE_CHECKING:

    class Delivery(Message[T_co]):
        """A message in hand, of a synchronous connection."""

        @property
        def attempt(self) -> int: ...
        @property
        def lease_until(self) -> datetime: ...
        @property
        def settled(self) -> bool: ...
        def ack(self) -> None: ...
        def retry(self, delay: float | None = None) -> None: ...
        def reject(self, reason: str) -> None: ...
        def extend(self, seconds: float) -> None: ...
        def handled(self) -> _Handled[Self]: ...
        def __enter__(self) -> Self: ...
        # None: it never swallows, so that code behind the block knows that the block was left at its end.
        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...

    class _Handled(Generic[T_co]):
        def __enter__(self) -> T_co: ...
        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> bool: ...
else:
    # One class for both: the consumer that hands it out decides whether its methods are awaited.
    Delivery = _Delivery


def connect(
    url: str | None = None,
    *,
    name: str | None = None,
    codec: CodecName | Codec = "json",
    max_message_bytes: int = 16 * 2**20,
    connect_timeout: float = 10.0,
    op_timeout: float = 30.0,
    options: Mapping[str, Any] = _connection.NO_OPTIONS,
) -> Connection:
    """As `headwater.connect`, and connected when it returns: `with headwater.sync.connect(url) as conn`."""
    backend = _connection.prepare(url, name, codec, max_message_bytes, connect_timeout, op_timeout, options, sync=True)
    backend.drive(backend.connect())
    return Connection(_connection.Connection(Context(backend, codec)))


class Connection:
    """A connection to one engine, for any thread. Leaving `with` drains it for 10 s and closes it; after an exception, what is in
    hand is given back at once."""

    def __init__(self, inner: _connection.Connection) -> None:
        self._inner = inner
        self._drive = inner._context.backend.drive

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def native(self) -> Any:
        return self._inner.native

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return later(self, name)

    @overload
    def channel(self, name: str, *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[Any]: ...
    @overload
    def channel(self, name: str, type: TypeForm[T], *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[T]: ...
    def channel(self, name: str, type: Any = Any, *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[Any]:
        return Channel(self._inner.channel(name, type, codec=codec, needs=needs))

    @overload
    def queue(
        self,
        name: str,
        *,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        ordering: Ordering | None = None,
        unique_for: float | timedelta | None = None,
        max_length: float | None = None,
        max_hold: float | timedelta | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Queue[Any]: ...
    @overload
    def queue(
        self,
        name: str,
        type: TypeForm[T],
        *,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        ordering: Ordering | None = None,
        unique_for: float | timedelta | None = None,
        max_length: float | None = None,
        max_hold: float | timedelta | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Queue[T]: ...
    def queue(
        self,
        name: str,
        type: Any = Any,
        *,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        ordering: Ordering | None = None,
        unique_for: float | timedelta | None = None,
        max_length: float | None = None,
        max_hold: float | timedelta | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Queue[Any]:
        return Queue(
            self._inner.queue(
                name, type, lease=lease, retry=retry, ordering=ordering, unique_for=unique_for, max_length=max_length, max_hold=max_hold,
                codec=codec, needs=needs,
            )
        )  # fmt: skip

    @overload
    def stream(
        self,
        name: str,
        *,
        retention: Retention | None = None,
        partitions: int | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Stream[Any]: ...
    @overload
    def stream(
        self,
        name: str,
        type: TypeForm[T],
        *,
        retention: Retention | None = None,
        partitions: int | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Stream[T]: ...
    def stream(
        self,
        name: str,
        type: Any = Any,
        *,
        retention: Retention | None = None,
        partitions: int | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Stream[Any]:
        return Stream(self._inner.stream(name, type, retention=retention, partitions=partitions, codec=codec, needs=needs))

    def names(self) -> list[Info]:
        return self._drive(self._inner.names())

    def health(self) -> Health:
        return self._drive(self._inner.health())

    def metrics(self) -> dict[str, int]:
        return self._inner.metrics()

    def flush(self) -> None:
        self._drive(self._inner.flush())

    def with_timeout(self, op_timeout: float) -> Connection:
        return Connection(self._inner.with_timeout(op_timeout))

    def drain(self, timeout: float = _connection.DRAIN) -> bool:
        return self._drive(self._inner.drain(timeout))

    def close(self) -> None:
        self._drive(self._inner.close())

    def __enter__(self) -> Self:
        self._drive(self._inner.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._drive(self._inner.__aexit__(kind, error, trace))


class _Named(Generic[T]):
    """What all declared names have."""

    _named: _base.Named[T]

    def __repr__(self) -> str:
        return repr(self._named)

    def _drive(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return self._named._context.backend.drive(coroutine)

    @property
    def name(self) -> str:
        return self._named.name

    @property
    def type(self) -> Any:
        return self._named.type

    def declare(self) -> None:
        self._drive(self._named.declare())

    def open(self) -> None:
        self._drive(self._named.open())

    def delete(self) -> None:
        self._drive(self._named.delete())

    def config(self) -> Mapping[str, Any]:
        return self._drive(self._named.config())


class Channel(_Named[T]):
    """Messages of type T to whoever listens now, without async. See `headwater.Channel`."""

    _inner: _channel.Channel[T]

    def __init__(self, inner: _channel.Channel[T]) -> None:
        self._named = self._inner = inner

    def publish(self, value: T, *, key: str | bytes | None = None, headers: Headers | None = None) -> int | None:
        inner = self._inner
        plain = inner._plain
        reached: int | None
        if plain is not None and key is None and headers is None:
            inner._counters.published += 1
            try:
                reached = plain(value)
                return reached
            except Exception as error:
                told = inner._explained(error, value)
                raise told from told.__cause__
        if not inner._declared:
            self._drive(inner._ready())
        reached = inner._publish(value, key, headers)
        return reached

    def subscribe(self, buffer: int = 1024, overflow: Overflow = "drop_oldest") -> Subscription[T]:
        return Subscription(self._inner.subscribe(buffer, overflow))


class Stream(_Named[T]):
    """An append-only log of T, without async. See `headwater.Stream`."""

    _inner: _stream.Stream[T]

    def __init__(self, inner: _stream.Stream[T]) -> None:
        self._named = self._inner = inner
        inner.face = self

    def append(
        self,
        value: T,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None,
        time: datetime | None = None,
    ) -> Position:
        inner = self._inner
        plain = inner._plain
        position: Position
        if plain is not None and key is None and id is None and expect is None and expect_key is None and headers is None and time is None:
            inner._counters.appended += 1
            try:
                position = plain(value)
                return position
            except Exception as error:
                told = inner._explained(error, value)
                raise told from told.__cause__
        if not inner._declared:
            self._drive(inner._ready())
        position = inner._append(value, key, id, expect, expect_key, headers, time)
        return position

    def append_many(self, items: Iterable[T | Item[T]], *, atomic: bool = False) -> list[Position]:
        return self._drive(self._inner.append_many(items, atomic=atomic))

    def read(
        self,
        start: Literal["earliest", "latest"] | Position | datetime = "earliest",
        after: Position | Checkpoint | None = None,
        last: int | None = None,
        stop: Position | datetime | None = None,
        follow: bool = False,
        key: str | bytes | None = None,
        trimmed: Literal["raise", "skip"] = "raise",
    ) -> Reader[T]:
        return Reader(self._inner.read(start, after, last, stop, follow, key, trimmed))

    def info(self) -> StreamInfo:
        return self._drive(self._inner.info())

    def trim(self, before: Position) -> None:
        self._drive(self._inner.trim(before))

    def group(
        self,
        name: str,
        *,
        ordering: Ordering | None = None,
        start: Literal["earliest", "latest"] | Position | datetime | None = None,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        max_hold: float | timedelta | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Group[T]:
        return Group(self._inner.group(name, ordering=ordering, start=start, lease=lease, retry=retry, max_hold=max_hold, needs=needs))


class Source(_Named[T]):
    """A queue or group, as its consumers see it, without async. See `headwater.Source`."""

    _inner: _source.Source[T]

    def consume(self, prefetch: int = 1, idle: float | None = None, on_decode_error: OnDecodeError = "dead") -> Consumer[T]:
        return Consumer(self._inner.consume(prefetch, idle, on_decode_error))

    def take(self, max: int = 100, wait: float = 1.0, on_decode_error: OnDecodeError = "dead") -> list[Delivery[T]]:
        taken: Any = self._drive(self._inner.take(max, wait, on_decode_error))
        found: list[Delivery[T]] = taken
        return found

    def ack_many(self, messages: Iterable[Delivery[T]]) -> list[Delivery[T]]:
        # At run time a delivery of either API is one class.
        batch: Any = messages
        found: Any = self._drive(self._inner.ack_many(batch))
        lost: list[Delivery[T]] = found
        return lost

    @overload
    def run(
        self,
        handler: Callable[[Delivery[T]], Any],
        concurrency: int = 1,
        batch: None = None,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None: ...
    @overload
    def run(
        self,
        handler: Callable[[list[Delivery[T]]], Any],
        concurrency: int = 1,
        *,
        batch: int,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None: ...
    def run(
        self,
        handler: Callable[[Any], Any],
        concurrency: int = 1,
        batch: int | None = None,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None:
        # Not at the top: asyncio comes with it, which a program that never runs a handler can do without.
        from .patterns.run_threads import ThreadRunner

        inner = self._inner
        runner = inner._runner(ThreadRunner, handler, concurrency, batch, timeout, on_decode_error)
        with runner.known():
            self._drive(inner._ready())
            runner.run_here(self._drive(inner._raw.consumer(0, runner.settler)))

    def stop(self) -> None:
        self._inner.stop()

    def stats(self) -> SourceStats:
        return self._drive(self._inner.stats())

    def pause(self) -> None:
        self._drive(self._inner.pause())

    def resume(self) -> None:
        self._drive(self._inner.resume())

    @property
    def dead(self) -> DeadLetters[T]:
        return DeadLetters(self._inner.dead)


class Queue(Source[T]):
    """Work of type T, without async. See `headwater.Queue`."""

    def __init__(self, inner: _queue.Queue[T]) -> None:
        self._named = self._inner = self._queue = inner

    def put(
        self,
        value: T,
        *,
        key: str | bytes | None = None,
        delay: float | timedelta | datetime = 0,
        priority: int = 0,
        ttl: float | timedelta | None = None,
        unique: str | None = None,
        on_duplicate: Literal["return", "raise"] = "return",
        headers: Headers | None = None,
        time: datetime | None = None,
    ) -> str:
        inner = self._queue
        plain = inner._plain
        job: str
        if (
            plain is not None and key is None and delay == 0 and priority == 0 and ttl is None and unique is None and headers is None
            and time is None and on_duplicate == "return"
        ):  # fmt: skip
            inner._counters.put += 1
            try:
                job = plain(value)
                return job
            except Exception as error:
                told = inner._explained(error, value)
                raise told from told.__cause__
        if not inner._declared:
            self._drive(inner._ready())
        job = inner._put(value, key, delay, priority, ttl, unique, on_duplicate, headers, time)
        return job

    def put_many(self, items: Iterable[T | Item[T]], *, atomic: bool = False) -> list[str]:
        return self._drive(self._queue.put_many(items, atomic=atomic))

    def cancel(self, job_id: str) -> bool:
        return self._drive(self._queue.cancel(job_id))

    def purge(self) -> int:
        return self._drive(self._queue.purge())


class Group(Source[T]):
    """Consumers of one name that share a stream, without async. See `headwater.Group`."""

    def __init__(self, inner: _group.Group[T]) -> None:
        self._named = self._inner = self._group = inner

    @property
    def stream(self) -> Stream[T]:
        return Stream(self._group.stream)

    def lag(self) -> int | None:
        return self._drive(self._group.lag())

    def seek(self, to: Literal["earliest", "latest"] | Position | datetime) -> None:
        self._drive(self._group.seek(to))


class DeadLetters(Generic[T]):
    """The dead letters of a queue or group, without async. See `headwater.DeadLetters`."""

    def __init__(self, inner: _dead.DeadLetters[T]) -> None:
        self._inner = inner
        self._drive = inner._context.backend.drive

    def __repr__(self) -> str:
        return repr(self._inner)

    def read(self) -> DeadReader[T]:
        return DeadReader(self._inner.read(), self._drive)

    def by_error(self) -> Mapping[str, int]:
        return self._drive(self._inner.by_error())

    def edit(self, id: str, value: T) -> None:
        self._drive(self._inner.edit(id, value))

    def redrive(self, ids: Iterable[str] | None = None, max: int | None = None, rate: float | None = None) -> int:
        return self._drive(self._inner.redrive(ids, max, rate))

    def purge(self) -> int:
        return self._drive(self._inner.purge())


class DeadReader(Generic[T]):
    """Iterates over dead letters, without async. See `headwater.DeadReader`."""

    def __init__(self, inner: _dead.DeadReader[T], drive: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._inner = inner
        self._drive = drive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inner.stop()

    def __iter__(self) -> Iterator[DeadLetter[T]]:
        return self

    def __next__(self) -> DeadLetter[T]:
        letter = self.next()
        if letter is None:
            raise StopIteration
        return letter

    def next(self, timeout: float | None = None) -> DeadLetter[T] | None:
        letter: DeadLetter[T] | None = self._drive(self._inner.next(timeout))
        return letter

    def next_many(self, max: int = 1000, wait: float = 0.0) -> list[DeadLetter[T]]:
        letters: list[DeadLetter[T]] = self._drive(self._inner.next_many(max, wait))
        return letters

    def stop(self) -> None:
        self._inner.stop()


class _Iterating(Generic[M]):
    """What readers, subscriptions and consumers share."""

    def __init__(self, inner: _iterate.Iterator[Any]) -> None:
        self._inner: Any = inner
        self._drive = inner._context.backend.drive

    def __repr__(self) -> str:
        return repr(self._inner)

    def _open(self) -> Any:
        native = self._inner._native
        return self._drive(self._inner._open()) if native is None else native

    def __enter__(self) -> Self:
        self._drive(self._inner.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inner.close()

    def __iter__(self) -> Iterator[M]:
        if self._inner._idle is None:
            # The backend's own: no Python stands between two messages.
            native: Iterator[M] = iter(self._open())
            return native
        return self

    def __next__(self) -> M:
        message = self.next(self._inner._idle)
        if message is None:
            raise StopIteration
        return message

    def next(self, timeout: float | None = None) -> M | None:
        message: M | None = self._open().next(timeout)
        return message

    def next_many(self, max: int = 1000, wait: float = 0.0) -> list[M]:
        if max < 0:
            raise UsageError(f"max is a whole number, at least 0, not {max}")
        messages: list[M] = self._open().next_many(max, wait)
        return messages

    def stop(self) -> None:
        self._inner.stop()

    def close(self) -> None:
        self._inner.close()


class Reader(_Iterating[Message[T]]):
    """Reads a stream from any place, without async. See `headwater.Reader`."""

    @property
    def checkpoint(self) -> Checkpoint:
        found: Checkpoint = self._inner.checkpoint
        return found


class Subscription(_Iterating[Message[T]]):
    """Hears a channel, without async. See `headwater.Subscription`."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        return None

    @property
    def dropped(self) -> int:
        found: int = self._inner.dropped
        return found

    @property
    def gaps(self) -> int:
        found: int = self._inner.gaps
        return found

    def ready(self, peers: int = 1, timeout: float | None = None) -> None:
        self._drive(self._inner.ready(peers, timeout))


class Consumer(_Iterating[Delivery[T]]):
    """Takes messages of a queue or group under a lease, without async. See `headwater.Consumer`."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        return None


def _document() -> None:
    """What a method does is said once, at the asynchronous one of the same name."""
    pairs: list[tuple[Any, Any]] = [
        (Connection, _connection.Connection),
        (_Named, _base.Named),
        (Channel, _channel.Channel),
        (Stream, _stream.Stream),
        (Source, _source.Source),
        (Queue, _queue.Queue),
        (Group, _group.Group),
        (DeadLetters, _dead.DeadLetters),
        (DeadReader, _dead.DeadReader),
        (_Iterating, _iterate.Iterator),
        (Reader, _iterate.Reader),
        (Subscription, _iterate.Subscription),
        (Consumer, _iterate.Consumer),
    ]
    for ours, theirs in pairs:
        for name, value in cast("dict[str, Any]", vars(ours)).items():
            if not name.startswith("_") and value.__doc__ is None:
                value.__doc__ = inspect.getdoc(getattr(theirs, name))


_document()
