"""The native module: the embedded engine, and the value types that every backend hands out.

Names without `async` semantics of their own: a method either answers at once, or blocks with the GIL released; the few that return
an awaitable say so. Times are nanoseconds since 1970 UTC where a name ends in `_ns`, seconds elsewhere.

Over 500 lines: one module has one stub.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, final, type_check_only

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

_Headers = Mapping[str, str] | Sequence[tuple[str, bytes]]
_Limits = tuple[float | None, int | None, int | None]  # age in seconds, bytes, records

__all__ = [
    "Appender", "Channel", "Consumer", "Decoding", "Delivery", "Engine", "Handled", "Later", "LoopBell", "Message", "Position", "Queue",
    "Reader", "Ready", "Source", "Stream", "Subscription", "__version__", "backup", "doctor", "drive", "failed",
]  # fmt: skip
__version__: str

# ---------------------------------------------------------------------------------------------------------------- awaiting

@final
class Ready(Coroutine[Any, Any, _T_co]):
    """A coroutine that is done: `await Ready(x)` is x, without a frame and without a turn of the loop."""

    def __new__(cls, value: _T_co = ..., /) -> Ready[_T_co]: ...  # type: ignore[misc]
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any:
        """Raises StopIteration with the value."""
    def send(self, value: Any, /) -> Any:
        """Raises StopIteration with the value."""
    def throw(self, *args: Any) -> Any:
        """Raises the exception given."""
    def close(self) -> None: ...
    def result(self) -> _T_co: ...

@final
class Later:
    """Something that has to wait, for a thread to call: what an operation in an event loop hands to its waiter."""

    def __call__(self) -> Any: ...

def failed(error: BaseException, /) -> Ready[Any]:
    """A coroutine that raises `error` when it is awaited."""

def drive(awaitable: Awaitable[_T], /) -> _T:
    """What `awaitable` comes to when it never suspends: how the synchronous classes run the code of the asynchronous ones.
    RuntimeError when it suspends."""

@type_check_only
class Pull(Protocol):
    """What an iterator of the engine offers to a waiter (reader, consumer and subscription alike)."""

    def poll(self) -> Any | None:
        """The next message, if there is one now; never sleeps."""
    def poll_many(self, max: int, /) -> list[Any]: ...
    def arm(self) -> None:
        """Asks to be rung when there may be something; then poll again before sleeping."""
    def next_due_ns(self) -> int | None:
        """When to look again without being rung."""
    @property
    def ended(self) -> bool:
        """Nothing will ever come again."""

@type_check_only
class Waiting(Protocol):
    """How `async` operations of the engine wait when they must (headwater.embedded.waiter)."""

    def next(self, pull: Any, timeout: float | None = None, /) -> Awaitable[Any]: ...
    def step(self, pull: Any, /) -> Awaitable[Any]:
        """`next`, or StopAsyncIteration."""
    def call(self, function: Callable[..., _T], /, *args: Any) -> Awaitable[_T]: ...
    def durable(self, log: Any, mark: Any, result: _T, /) -> Awaitable[_T]: ...

# ------------------------------------------------------------------------------------------------------------------ values

@final
class Position:
    """A place in one shard of a stream. `str()` and `parse()` are inverse: `42@orders`, or `42.3@orders` in shard 3.
    Ordered within a shard; IncomparableError across. `Position.parse("42")` belongs to no stream in particular."""

    def __new__(cls, stream: str, seq: int, shard: int = 0) -> Position: ...
    @staticmethod
    def parse(text: str, /) -> Position: ...
    @property
    def stream(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def shard(self) -> int: ...
    def __lt__(self, other: Position, /) -> bool: ...
    def __le__(self, other: Position, /) -> bool: ...
    def __gt__(self, other: Position, /) -> bool: ...
    def __ge__(self, other: Position, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Decoding:
    """How the messages of one name become values.

    name: what `.name` says. decode: bytes to value; None: the bytes themselves. content_type: what `decode` is for (a record
    without one has "application/octet-stream"). fallback(message, error): called where the content type is another (error None) or
    `decode` raised; returns the value, or raises DecodeError.
    """

    def __new__(
        cls,
        name: str,
        decode: Callable[[bytes], Any] | None = None,
        content_type: str = ...,  # application/octet-stream
        fallback: Callable[[Message[Any], BaseException | None], Any] | None = None,
    ) -> Decoding: ...
    @property
    def name(self) -> str: ...
    @property
    def content_type(self) -> str: ...

class Message(Generic[_T_co]):
    """One message, read-only. The value is decoded at the first look at `.value`."""

    def __new__(
        cls,
        *,
        raw: bytes,
        decoding: Decoding | None = None,
        name: str = "",
        key: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        raw_headers: Sequence[tuple[str, bytes]] | None = None,
        content_type: str | None = None,
        id: str = "",
        time_ns: int = 0,
        position: Position | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        foreign: bool = False,
        **subclass: Any,
    ) -> Self: ...
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...
    @property
    def value(self) -> _T_co: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def key(self) -> str | None: ...
    @property
    def raw_key(self) -> bytes | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def raw_headers(self) -> tuple[tuple[str, bytes], ...]: ...
    @property
    def content_type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def time_ns(self) -> int: ...
    @property
    def position(self) -> Position | None: ...
    @property
    def reply_to(self) -> str | None: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def foreign(self) -> bool: ...

@type_check_only
class Settling(Protocol):
    """What a Delivery of another backend than the embedded one needs (its `source`): each method gets the delivery."""

    def ack(self, delivery: Any, /) -> Awaitable[None]: ...
    def retry(self, delivery: Any, delay: float | None, /) -> Awaitable[None]: ...
    def reject(self, delivery: Any, reason: str, /) -> Awaitable[None]: ...
    def extend(self, delivery: Any, seconds: float, /) -> Awaitable[None]: ...
    def give_back(self, delivery: Any, /) -> None:
        """Called by the destructor of an unsettled delivery; must not block, lock or raise."""

class Delivery(Message[_T_co]):
    """A message in hand. Dropping the last reference unsettled gives it back.

    `__aenter__`/`__aexit__` and `handled()` settle: without an exception by an ack that never raises (a lost lease is given to
    `on_lost(delivery, error)` of the source), with one by `on_error(delivery, exc, handled)`, an awaitable that says whether the
    exception is to be swallowed.
    """

    def __new__(
        cls, *, source: Any = None, token: Any = None, attempt: int = 1, lease_until_ns: int = 0, raw: bytes = b"", **message: Any
    ) -> Self: ...
    @property
    def attempt(self) -> int: ...
    @property
    def lease_until(self) -> datetime: ...
    @property
    def settled(self) -> bool: ...
    @property
    def token(self) -> Any:
        """What the backend gave at construction (`None` on the embedded engine)."""
    @property
    def source(self) -> Any: ...
    def mark_settled(self) -> bool:
        """For backends: True the first time."""
    def ack(self) -> Coroutine[Any, Any, None]: ...
    def retry(self, delay: float | None = None) -> Coroutine[Any, Any, None]: ...
    def reject(self, reason: str) -> Coroutine[Any, Any, None]: ...
    def extend(self, seconds: float) -> Coroutine[Any, Any, None]: ...
    def handled(self) -> Handled[Self]: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Coroutine[Any, Any, bool | None]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> bool | None: ...

@final
class Handled(Generic[_T]):
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...
    def __aenter__(self) -> Coroutine[Any, Any, _T]: ...
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Coroutine[Any, Any, bool]: ...
    def __enter__(self) -> _T: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> bool: ...

# ------------------------------------------------------------------------------------------------------------------ engine

@final
class LoopBell:
    """One event loop's bell: `fd` turns readable when an armed object rang."""

    @property
    def fd(self) -> int: ...
    def arm(self) -> None: ...
    def drain(self) -> None: ...

_Durability = Literal["never", "interval", "always"]

@final
class Engine:
    @staticmethod
    def open(
        path: str,
        *,
        create: bool = True,
        durability: _Durability | None = None,
        interval: float | None = None,
        connect_timeout: float = 10.0,
        op_timeout: float = 30.0,
        max_message_bytes: int = ...,
        name: str = "",
        allow_network_fs: bool = False,
    ) -> Engine: ...
    @staticmethod
    def memory(name: str | None, *, op_timeout: float = 30.0, max_message_bytes: int = ...) -> Engine:
        """An engine over anonymous memory; all opens of one name in this process share it, None is private."""
    @property
    def closed(self) -> bool: ...
    @property
    def durability(self) -> _Durability:
        """When this opening acknowledges."""
    def check(self) -> None:
        """Raises ClosedError or ForkedError where the engine cannot be used."""
    def counters(self) -> dict[str, int]:
        """{appended, received, acked}, of this opening; appended: by Appender alone."""
    def with_timeout(self, op_timeout: float, /) -> Engine: ...
    def close(self) -> None: ...
    def flush(self, timeout: float | None = None) -> None: ...
    def info(self) -> dict[str, Any]: ...
    def objects(self) -> list[dict[str, Any]]: ...
    def processes(self) -> list[dict[str, Any]]: ...
    def delete(self, kind: str, name: str, /) -> None: ...
    def loop_bell(self) -> LoopBell: ...
    def ring(self) -> None:
        """Wakes this process's own waiters: something that only Python knows has changed (a stop, a drain)."""
    def bell(self) -> int: ...
    def wait_bell(self, seen: int, timeout: float | None, /) -> bool:
        """Blocks until the bell is not `seen` (True), or the time is over; runs Python's signal handlers."""
    def declare_stream(
        self, name: str, /, *, retention: _Limits | None = None, partitions: int | None = None
    ) -> tuple[Stream, dict[str, Any] | None]:
        """The stream, and the options stored before (None: it is new)."""
    def open_stream(self, name: str, /) -> Stream: ...
    def declare_queue(self, name: str, /, **options: Any) -> tuple[Queue, dict[str, Any] | None]:
        """The queue, and the options stored before (None: it is new). options: those of groups, `unique_for` and `max_length`."""
    def open_queue(self, name: str, /) -> Queue: ...
    def channel(self, name: str, /) -> Channel: ...

@final
class Appender:
    """A stream's `append` and `append_many` as programs call them. What has options, would have to wait or fails before anything is
    appended goes to the pattern's own methods, which are given."""

    def __new__(
        cls,
        stream: Stream,
        append: Callable[..., Any],
        append_many: Callable[..., Any],
        outcomes: Callable[[list[Any], list[Any]], list[Any]],
        *,
        item: type,
        any: bool,
        thread: int | None = None,
    ) -> Appender:
        """outcomes: answers what `append_many` does of a batch and its results, where one is an exception. item: the class of elements
        with options. any: bytes go as they are. thread: what get_ident() is where it may be called; None: everywhere."""
    def append(
        self, value: Any, *, key: Any = None, id: Any = None, expect: Any = None, expect_key: Any = None, headers: Any = None, time: Any = None
    ) -> Position: ...
    def aappend(
        self, value: Any, *, key: Any = None, id: Any = None, expect: Any = None, expect_key: Any = None, headers: Any = None, time: Any = None
    ) -> Coroutine[Any, Any, Position]: ...
    def append_many(self, items: Any, *, atomic: bool = False) -> list[Position]: ...
    def aappend_many(self, items: Any, *, atomic: bool = False) -> Coroutine[Any, Any, list[Position]]: ...

@final
class Stream:
    """The fast entry is `append(data)`; `append` returns a Position, `aappend` the awaitable of one."""

    @property
    def name(self) -> str: ...
    def bind(self, *, content_type: str = ..., encode: Callable[[Any], bytes] | None = None, waiting: Waiting | None = None) -> Stream:
        """The same stream, with the content type and encoder of what is appended, and the waiter of `aappend`."""
    def append(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: _Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Position: ...
    def aappend(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: _Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Coroutine[Any, Any, Position]: ...
    def append_many(self, items: Sequence[Any], /, *, atomic: bool = False) -> list[Any]:
        """items: values, or tuples (value, key, id, headers, time_ns, content_type). Answers a Position, or an exception, for each."""
    def aappend_many(self, items: Sequence[Any], /, *, atomic: bool = False) -> Coroutine[Any, Any, list[Any]]: ...
    def durable(self, mark: int, /) -> bool:
        """Whether everything below `mark` is on the disk."""
    def wait_durable(self, mark: int, /) -> None:
        """Blocks until it is."""
    def reader(
        self,
        decoding: Decoding,
        *,
        start: Literal["earliest", "latest"] | int | None = None,
        after: int | None = None,
        last: int | None = None,
        time_ns: int | None = None,
        stop: int | None = None,
        stop_time_ns: int | None = None,
        follow: bool = False,
        key: str | bytes | None = None,
        skip_trimmed: bool = False,
        waiting: Waiting | None = None,
    ) -> Reader: ...
    def info(self) -> dict[str, Any]: ...
    def trim(self, before: int, /) -> int:
        """Answers the first position that is kept."""
    def config(self) -> dict[str, Any]: ...
    def alter(self, *, retention: _Limits | None = None, partitions: int | None = None) -> None: ...
    def declare_group(self, name: str, /, **options: Any) -> tuple[Source, dict[str, Any] | None]:
        """The group, and the options stored before (None: it is new).

        options: `ordering`, `lease` and `max_hold` (seconds; infinity: no bound), `retry` (a dictionary of its numbers), and where it
        begins: `start` ("earliest", "latest"), `start_seq` or `start_time_ns`.
        """
    def open_group(self, name: str, /) -> Source: ...
    def stored(self, seq: int, /) -> dict[str, Any] | None:
        """What lies at a position, without its value: append_ns, time_ns, key, bytes, due_ns, ttl_ns."""
    def groups(self) -> list[str]: ...
    def delete_group(self, name: str, /) -> None: ...

@type_check_only
class _Iterating(Generic[_T]):
    def poll(self) -> _T | None: ...
    def poll_many(self, max: int, /) -> list[_T]: ...
    def arm(self) -> None: ...
    def next_due_ns(self) -> int | None: ...
    @property
    def ended(self) -> bool: ...
    @property
    def received(self) -> int:
        """Messages handed out."""
    def close(self) -> None:
        """Ends it, and gives back what it holds."""
    def stop(self) -> None:
        """Ends it, from any thread or signal handler; who waits is woken."""
    def next(self, timeout: float | None = None) -> _T | None:
        """Blocks. None: the time is over, or `ended`."""
    def next_many(self, max: int = 1000, wait: float = 0.0) -> list[_T]: ...
    def anext(self, timeout: float | None = None) -> Coroutine[Any, Any, _T | None]: ...
    def __iter__(self) -> Iterator[_T]: ...
    def __next__(self) -> _T: ...
    def __aiter__(self) -> AsyncIterator[_T]: ...
    def __anext__(self) -> Coroutine[Any, Any, _T]: ...

@final
class Reader(_Iterating[Message[Any]]):
    @property
    def position(self) -> int:
        """The seq of the last message handed out, else the one before its first."""

@final
class Source:
    """A group, or a queue's one group."""

    @property
    def name(self) -> str: ...
    def consumer(
        self,
        decoding: Decoding,
        *,
        prefetch: int = 1,
        waiting: Waiting | None = None,
        hooks: Any = None,
        eager: bool = True,
        sync: bool = False,
    ) -> Consumer:
        """eager: a value is decoded before its delivery is handed out; a failure goes to `hooks.on_undecodable(delivery, error)`.
        hooks: also `on_lost(delivery, error)` and `on_error(delivery, exc, handled)`, see Delivery. sync: the deliveries' methods do
        their work and return plain results."""
    def ack_many(self, deliveries: Sequence[Delivery[Any]], /) -> list[Delivery[Any]]:
        """Acknowledges; returns those whose lease was lost."""
    def ack(self, delivery: Delivery[Any], /) -> None: ...
    def retry(
        self,
        delivery: Delivery[Any],
        /,
        *,
        delay: float | None = None,
        counted: bool = True,
        error: tuple[str, str, str] | None = None,
    ) -> Literal["retry", "dead"]:
        """error: (kind, message, traceback)."""
    def reject(self, delivery: Delivery[Any], reason: str, /, error: tuple[str, str, str] | None = None) -> None: ...
    def release(self, deliveries: Sequence[Delivery[Any]], /) -> None:
        """Gives back without counting an attempt."""
    def stats(self) -> dict[str, Any]: ...
    def trace(self, id: str, /) -> dict[str, Any]:
        """One message's life: id, state, why, attempts, due_ns, holder, record ({append_ns, time_ns, key, bytes, due_ns, ttl_ns}), events
        ({time_ns, what, by, attempt, due_ns, error, note}), kept_from_ns."""
    def lag(self) -> int: ...
    def seek(self, to: Literal["earliest", "latest"] | int, /) -> None: ...
    def seek_time(self, time_ns: int, /) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def config(self) -> dict[str, Any]: ...
    def alter(self, **options: Any) -> None: ...
    def dead_list(self, decoding: Decoding, after: str | None = None, max: int = 1000) -> list[tuple[Message[Any], dict[str, Any]]]:
        """Each dead letter with {id, reason, error, history: [{attempt, time_ns, error, ...}], died_ns}."""
    def dead_by_error(self) -> dict[str, int]: ...
    def dead_redrive(self, ids: Sequence[str] | None = None, max: int | None = None) -> int: ...
    def dead_edit(self, id: str, value: bytes, /, content_type: str) -> None: ...
    def dead_purge(self) -> int: ...

@final
class Consumer(_Iterating[Delivery[Any]]):
    @property
    def in_hand(self) -> int:
        """Deliveries handed out and not settled."""

@final
class Queue:
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...
    def bind(self, *, content_type: str = ..., encode: Callable[[Any], bytes] | None = None, waiting: Waiting | None = None) -> Queue: ...
    def put(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        due_ns: int | None = None,
        priority: int = 0,
        ttl: float | None = None,
        unique: str | None = None,
        on_duplicate: Literal["return", "raise"] = "return",
        headers: _Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> str: ...
    def aput(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        due_ns: int | None = None,
        priority: int = 0,
        ttl: float | None = None,
        unique: str | None = None,
        on_duplicate: Literal["return", "raise"] = "return",
        headers: _Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Coroutine[Any, Any, str]: ...
    def put_many(self, items: Sequence[Any], /, *, atomic: bool = False) -> list[Any]:
        """items: values, or tuples (value, key, headers, time_ns, due_ns, priority, ttl, unique, content_type)."""
    def aput_many(self, items: Sequence[Any], /, *, atomic: bool = False) -> Coroutine[Any, Any, list[Any]]: ...
    def durable(self, mark: Sequence[tuple[int, int]], /) -> bool:
        """Whether everything below `mark`, a place in each lane, is on the disk."""
    def wait_durable(self, mark: Sequence[tuple[int, int]], /) -> None:
        """Blocks until it is."""
    def cancel(self, id: str, /) -> bool: ...
    def purge(self) -> int: ...
    def config(self) -> dict[str, Any]: ...
    def alter(self, **options: Any) -> None: ...

@final
class Channel:
    """A channel, or a pattern of them, which can only be subscribed to. The fast entry is `publish(data)`."""

    @property
    def name(self) -> str: ...
    def bind(self, *, content_type: str = ..., encode: Callable[[Any], bytes] | None = None, waiting: Waiting | None = None) -> Channel:
        """The same channel, with the content type and encoder of what is published, and the waiter of `apublish`."""
    def publish(self, value: Any, /, *, key: str | bytes | None = None, headers: _Headers | None = None, content_type: str | None = None) -> int:
        """Answers the subscriptions reached. Blocks where one of them holds its publishers and has no room."""
    def apublish(
        self, value: Any, /, *, key: str | bytes | None = None, headers: _Headers | None = None, content_type: str | None = None
    ) -> Coroutine[Any, Any, int]: ...
    def subscribe(
        self,
        decoding: Decoding,
        *,
        buffer: int = 1024,
        overflow: Literal["drop_oldest", "drop_newest", "block", "error"] = "drop_oldest",
        waiting: Waiting | None = None,
    ) -> Subscription: ...

@final
class Subscription(_Iterating[Message[Any]]):
    @property
    def dropped(self) -> int:
        """Messages published to it for which there was no room. Exact."""
    @property
    def gaps(self) -> int: ...
    @property
    def received(self) -> int: ...
    def ready(self, peers: int, timeout: float | None, /) -> Coroutine[Any, Any, None]: ...

# ------------------------------------------------------------------------------------------------------------ whole directories

def doctor(path: str, /) -> dict[str, Any]:
    """path, findings ({level, what, file, offset, advice}), processes ({pid, name, state, leases, janitor}), objects, files, bytes,
    records, seconds. Reads only."""

def backup(source: str, out: str, /) -> dict[str, int]:
    """Copies a directory while it is in use: objects, files, bytes."""
