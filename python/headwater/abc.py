"""What a backend provides, with the promise on each method. Patterns are written against this page alone.

A backend moves bytes: types and codecs arrive as a `Wire` (encode, content type, decoding), messages leave as the native `Message`
and `Delivery`, errors as `headwater.errors`. A backend is made for an asynchronous or for a synchronous connection
(`Settings.sync`): for the latter `drive` runs its coroutines to the end on the calling thread, and any thread may call.

Promises of every method: it is cancellation-safe (nothing lost, nothing left half-done); it waits at most `op_timeout`, then raises
OperationTimeoutError; a refused option raises UnsupportedError before anything is sent. Options that are None were not given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from ._engine import Decoding, Delivery, Message, Position

if TYPE_CHECKING:
    from .capabilities import Capabilities
    from .message import Info, Retention, SourceStats, StreamInfo
    from .retry import Retry
    from .url import Url

T = TypeVar("T")

Headers = Mapping[str, str] | Sequence[tuple[str, bytes]]
Ordering = Literal["none", "key", "total"]
Overflow = Literal["drop_oldest", "drop_newest", "block", "error"]

#: One element of append_many: a plain value, or (value, key, id, headers, time_ns, content_type).
StreamEntry = Any
#: One element of put_many: a plain value, or (value, key, headers, time_ns, due_ns, priority, ttl, unique, content_type).
QueueEntry = Any


@dataclass(frozen=True, slots=True)
class Wire:
    """How values of one name travel. encode: value to bytes (None: the value is bytes already). Where a call gives a
    `content_type` of its own, its value is bytes already encoded as that, and `encode` is not called."""

    content_type: str
    encode: Callable[[Any], bytes] | None
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect. Times in seconds."""

    url: Url
    name: str
    max_message_bytes: int
    connect_timeout: float
    op_timeout: float
    options: Mapping[str, Any]
    sync: bool


@dataclass(frozen=True, slots=True)
class Declared:
    """What a declaration found and left: `before` is None where it made the object, else the options stored until now."""

    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    retention: Retention | None = None
    partitions: int | None = None


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """start: applies when the group is made, once (int: a time, ns). Times in seconds; infinity: no bound."""

    ordering: Ordering | None = None
    start: Literal["earliest", "latest"] | Position | int | None = None
    lease: float | None = None
    retry: Retry | None = None
    max_hold: float | None = None


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Times in seconds; infinity: no bound, and for unique_for: while the first is unfinished."""

    ordering: Ordering | None = None
    lease: float | None = None
    retry: Retry | None = None
    max_hold: float | None = None
    unique_for: float | None = None
    max_length: float | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """start, stop: an int is a time in ns. after: one position a shard. The end without `follow` is the tail at the call."""

    start: Literal["earliest", "latest"] | Position | int = "earliest"
    after: tuple[Position, ...] = ()
    last: int | None = None
    stop: Position | int | None = None
    follow: bool = False
    key: str | bytes | None = None
    skip_trimmed: bool = False


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """A handler's exception, as it is stored with an attempt. kind: the class's qualified name."""

    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """A dead letter. history: one mapping an attempt {attempt, time_ns, kind, message, traceback}."""

    message: Message[Any]
    id: str
    reason: str
    error: str | None
    died_ns: int
    history: Sequence[Mapping[str, Any]] = field(default=())


class Iterating(Protocol[T]):
    """What readers, subscriptions and consumers offer. The native ones of `_engine` are such; a server's may be Python.

    A timeout or cancellation in `anext` loses nothing. After `stop` what is there already may still come; then it ends. They take
    weak references. Optional: `received` (messages handed out so far), and for consumers `in_hand` (handed out, not settled).
    """

    def poll_many(self, max: int, /) -> list[T]:
        """What is there now, at most `max`; never sleeps."""
        ...

    def anext(self, timeout: float | None = None) -> Coroutine[Any, Any, T | None]:
        """The next one. None: the time (seconds) is over, or it ended."""
        ...

    def __aiter__(self) -> AsyncIterator[T]: ...

    def next(self, timeout: float | None = None) -> T | None:
        """`anext` for a synchronous connection: blocks."""
        ...

    def __iter__(self) -> Iterator[T]: ...

    @property
    def ended(self) -> bool: ...

    def stop(self) -> None:
        """Ends it and wakes who waits; from any thread or signal handler."""
        ...

    def close(self) -> None:
        """Lets go of what it holds; never blocks. Unsettled deliveries that it handed out or claimed ahead are given back."""
        ...


class Subscribing(Iterating[T], Protocol[T]):
    @property
    def dropped(self) -> int:
        """Messages lost to a full buffer, so far."""
        ...

    def ready(self, peers: int, timeout: float | None, /) -> Awaitable[None]:
        """Waits until `peers` publishers know of it. Asked only where SUBSCRIBE_CONFIRMED is refused."""
        ...


class Hooks(Protocol):
    """What a consumer's deliveries ask of the pattern above (headwater.patterns.settle)."""

    def on_error(self, delivery: Delivery[Any], error: BaseException, handled: bool, /) -> Awaitable[bool]:
        """Leaving the block of `delivery` by an exception: settles; True swallows the exception."""
        ...

    def on_lost(self, delivery: Delivery[Any], error: Exception, /) -> None:
        """The acknowledgement at a block's end failed."""
        ...

    def on_undecodable(self, delivery: Delivery[Any], error: Exception, /) -> Any:
        """The delivery's value did not decode; it will not be handed out, so this settles it (an awaitable, or None)."""
        ...


class Channel(ABC):
    @abstractmethod
    def publish(
        self, value: Any, /, *, key: str | bytes | None = None, headers: Headers | None = None, content_type: str | None = None
    ) -> Coroutine[Any, Any, int | None]:
        """Hands one message to whoever listens now. Answers the subscribers reached, None where the engine can't know."""

    @abstractmethod
    def publish_now(
        self, value: Any, /, *, key: str | bytes | None = None, headers: Headers | None = None, content_type: str | None = None
    ) -> int | None:
        """`publish` for a synchronous connection."""

    @abstractmethod
    async def subscribe(self, buffer: int, overflow: Overflow) -> Subscribing[Message[Any]]:
        """Listens to the name, which may be a pattern. When it returns, every later publish is heard (SUBSCRIBE_CONFIRMED).
        buffer: messages."""


class Source(ABC):
    """A group, or a queue as its consumers see it. What is said of one engine's lease holds here: a delivery belongs to its
    consumer while its object is alive and its process lives; a late settlement raises LeaseLostError and changes nothing."""

    @abstractmethod
    async def config(self) -> Mapping[str, Any]:
        """The stored options, by the names of GroupOptions or QueueOptions. NotFoundError where it was never declared."""

    @abstractmethod
    async def delete(self) -> None: ...

    @abstractmethod
    async def consumer(self, prefetch: int, hooks: Hooks, eager: bool = True) -> Iterating[Delivery[Any]]:
        """Deliveries in the source's order. prefetch: how many may wait claimed beside those in hand; 0 claims only when asked.
        eager: decode before handing out."""

    @abstractmethod
    async def ack_many(self, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
        """Acknowledges; once it returns, they never come again. Answers those whose lease was lost."""

    @abstractmethod
    async def retry(self, delivery: Delivery[Any], delay: float | None, counted: bool, error: ErrorNote | None) -> Literal["retry", "dead"]:
        """Gives it back for another attempt. delay: seconds; None: by the stored policy, which at its last attempt makes it
        "dead". counted=False: the attempt does not count."""

    @abstractmethod
    async def reject(self, delivery: Delivery[Any], reason: str, error: ErrorNote | None) -> None:
        """Makes it a dead letter at once."""

    @abstractmethod
    async def release(self, deliveries: Sequence[Delivery[Any]]) -> None:
        """Gives them back at once, no attempt counted. A lost lease is no error here."""

    @abstractmethod
    async def stats(self) -> SourceStats: ...

    @abstractmethod
    async def lag(self) -> int | None:
        """Messages not finished; None where the engine can't know."""

    @abstractmethod
    async def seek(self, to: Literal["earliest", "latest"] | Position | int) -> None:
        """Moves the group (int: a time, ns). What is in hand is lost to its holders."""

    @abstractmethod
    async def pause(self) -> None:
        """Nothing is delivered any more, to anybody, until `resume`. Stored."""

    @abstractmethod
    async def resume(self) -> None: ...

    @abstractmethod
    async def dead_read(self, after: str | None, max: int) -> list[DeadEntry]:
        """Dead letters in the order of their death, behind the one with id `after`."""

    @abstractmethod
    async def dead_by_error(self) -> Mapping[str, int]: ...

    @abstractmethod
    async def dead_edit(self, id: str, data: bytes, content_type: str) -> None: ...

    @abstractmethod
    async def dead_redrive(self, ids: Sequence[str] | None, max: int | None) -> int:
        """Puts them back, each once, attempts from 1. Answers how many."""

    @abstractmethod
    async def dead_purge(self) -> int: ...


class Group(Source):
    @abstractmethod
    async def declare(self, options: GroupOptions) -> Declared:
        """Makes the group (and its stream) or changes what is given; DeclarationError where `ordering` differs."""


class Queue(Source):
    @abstractmethod
    async def declare(self, options: QueueOptions) -> Declared:
        """Makes the queue or changes what is given; DeclarationError where `ordering` differs."""

    @abstractmethod
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
        headers: Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Coroutine[Any, Any, str]:
        """Stores one job and answers its id, once it is as safe as `Capabilities.acknowledged` says."""

    @abstractmethod
    def put_now(
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
        headers: Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> str:
        """`put` for a synchronous connection."""

    @abstractmethod
    async def put_many(self, items: Sequence[QueueEntry], atomic: bool) -> list[str | Exception]:
        """One outcome for each, in order. atomic: all or (raising) none."""

    @abstractmethod
    async def cancel(self, id: str) -> bool:
        """True: it will not be done. False: it is done, dead or in a consumer's hands."""

    @abstractmethod
    async def purge(self) -> int:
        """Forgets all that is not in a consumer's hands; answers how many."""


@dataclass(frozen=True, slots=True)
class OwnAppends:
    """A pattern's own methods, for `Stream.shortcuts`. outcomes: what `append_many` makes of a batch and its results. any: values of any
    type may come, and bytes among them go as they are. thread: the only one that may call them; None: every one."""

    append: Callable[..., Any]
    append_many: Callable[..., Any]
    outcomes: Callable[[list[Any], list[Any]], list[Any]]
    any: bool
    thread: int | None


class Stream(ABC):
    @abstractmethod
    async def declare(self, options: StreamOptions) -> Declared:
        """Makes the stream or changes what is given; DeclarationError where `partitions` differs. `append` and `append_now` may be
        replaced by native functions here: look them up afterwards."""

    @abstractmethod
    async def config(self) -> Mapping[str, Any]:
        """The stored options, by the names of StreamOptions. NotFoundError where it was never declared."""

    @abstractmethod
    async def delete(self) -> None:
        """The stream and its groups."""

    @abstractmethod
    def append(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Coroutine[Any, Any, Position]:
        """Appends one record and answers its position, once it is as safe as `Capabilities.acknowledged` says. Positions rise
        and are never used twice."""

    @abstractmethod
    def append_now(
        self,
        value: Any,
        /,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None,
        time_ns: int | None = None,
        content_type: str | None = None,
    ) -> Position:
        """`append` for a synchronous connection."""

    @abstractmethod
    async def append_many(self, items: Sequence[StreamEntry], atomic: bool) -> list[Position | Exception]:
        """One outcome for each, in order. atomic: all or (raising) none."""

    def shortcuts(self, own: OwnAppends) -> Mapping[str, Callable[..., Any]]:
        """By name, functions that a program may call in the place of the pattern's `append` and `append_many`, with the same arguments;
        what they do not do themselves they hand to those. Asked for once it is declared; none by default."""
        return {}

    @abstractmethod
    async def reader(self, options: ReadOptions) -> Iterating[Message[Any]]:
        """Every record of the range in order, none twice, none silently left out; TrimmedError where some are gone."""

    @abstractmethod
    def positions(self, reader: Iterating[Message[Any]]) -> tuple[Position, ...]:
        """Where a reader stands, a position for each shard: the last handed out, else the one before its first."""

    @abstractmethod
    async def info(self) -> StreamInfo: ...

    @abstractmethod
    async def trim(self, before: Position) -> None:
        """Removes the records below `before`, at least in so far as whole files or nodes hold none at or above it."""

    @abstractmethod
    def group(self, name: str) -> Group: ...


class Backend(ABC):
    """One engine, connected. `CAPABILITIES` and a subclass named `Backend` are what headwater.backends.<engine> exports."""

    #: The keys of the URL's query that the engine knows.
    query_keys: ClassVar[frozenset[str]] = frozenset()

    settings: Settings
    #: As the probe at connect found them.
    capabilities: Capabilities

    def __init__(self, settings: Settings) -> None:
        """No I/O. UsageError where the URL or the options are wrong."""
        self.settings = settings

    @abstractmethod
    async def connect(self) -> None:
        """Opens and probes, within `connect_timeout`: ConnectError, AuthenticationError, IncompatibleError."""

    @property
    @abstractmethod
    def native(self) -> Any:
        """The client itself, outside every guarantee."""

    @abstractmethod
    async def ping(self) -> None:
        """Proves that the engine answers, or raises why it does not."""

    @abstractmethod
    async def names(self) -> list[Info]:
        """All objects that are stored, groups too."""

    @abstractmethod
    async def flush(self, timeout: float | None) -> None:
        """Everything acknowledged before is now as durable as this engine can make it."""

    @abstractmethod
    async def close(self) -> None:
        """Flushes, gives back what is in hand, lets go. Afterwards everything raises ClosedError. Again: nothing."""

    @abstractmethod
    def with_timeout(self, op_timeout: float) -> Backend:
        """The same connection with another `op_timeout`."""

    @abstractmethod
    def drive(self, awaitable: Awaitable[T], /) -> T:
        """For a synchronous connection: what `awaitable` comes to."""

    @abstractmethod
    def sleep(self, seconds: float) -> Awaitable[None]:
        """A pause that `drive` can run."""

    def counters(self) -> Mapping[str, int]:
        """What the backend counted on this connection since it was made: "received" (messages handed out), "acked",
        and what its `shortcuts` did, under the names of `metrics`."""
        return {}

    @abstractmethod
    def channel(self, name: str, wire: Wire) -> Channel: ...

    @abstractmethod
    def queue(self, name: str, wire: Wire) -> Queue: ...

    @abstractmethod
    def stream(self, name: str, wire: Wire) -> Stream: ...
