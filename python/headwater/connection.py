"""Connecting, and what a connection offers."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from .abc import Backend, Ordering, Settings
from .capabilities import Capabilities, Feature
from .codec import Codec, CodecContext, CodecName, coding_for
from .errors import UnsupportedError, UsageError
from .message import ConsumerHealth, Health, Info, Retention
from .patterns.arguments import at_least, instance_of, seconds
from .patterns.channel import Channel
from .patterns.context import Context
from .patterns.later import later
from .patterns.queue import Queue
from .patterns.stream import Stream
from .retry import Retry
from .url import Url

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

__all__ = ["Connecting", "Connection", "connect"]

#: Which package of headwater.backends serves a scheme.
_ENGINES = {"local": "local", "memory": "memory"}

#: Schemes of engines that a later version has.
LATER_ENGINES = frozenset({"redis", "amqp", "kafka", "pulsar", "zmq", "nng"})

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

#: Seconds that leaving `async with conn` waits for what is in hand.
DRAIN = 10.0


def connect(
    url: str | None = None,
    *,
    name: str | None = None,
    codec: CodecName | Codec = "json",
    max_message_bytes: int = 16 * 2**20,
    connect_timeout: float = 10.0,
    op_timeout: float = 30.0,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Connecting:
    """Connects to an engine: `async with connect(url) as conn`, or `conn = await connect(url)`.

    Args:
        url: which engine, and where; default $HEADWATER_URL, else `local:./.headwater`.
        name: of this connection, in errors of others and in `doctor`.
        codec: "json", "msgpack", "raw", or an object of the protocol `Codec`.
        max_message_bytes: a larger message is a TooLargeError before anything is sent.
        connect_timeout: seconds.
        op_timeout: seconds that an operation waits at most, for a lock or a server that is away.
        options: for the client library, unchanged.

    Raises:
        UsageError: at once, for a URL, codec or option that is wrong.
        UnsupportedError: at once, for an engine that this version has not.
        ConnectError, AuthenticationError, IncompatibleError: when awaited or entered.
    """
    return Connecting(prepare(url, name, codec, max_message_bytes, connect_timeout, op_timeout, options, sync=False), codec)


def prepare(
    url: str | None,
    name: str | None,
    codec: CodecName | Codec,
    max_message_bytes: int,
    connect_timeout: float,
    op_timeout: float,
    options: Mapping[str, Any],
    *,
    sync: bool,
) -> Backend:
    """The backend of a URL, not yet connected."""
    given: tuple[tuple[Any, type, str], ...] = ((url, str, "url"), (name, str, "name"), (options, Mapping, "options"))
    for value, wanted, what in given:
        instance_of(value, wanted, what)
    parsed = Url.parse(url)
    known = ", ".join(f"{each}:" for each in _ENGINES)
    if parsed.scheme in LATER_ENGINES:
        how, instead = "this version has no such engine yet", f"{known} (memory:?as={parsed.scheme} refuses what that engine refuses)"
        raise UnsupportedError(f"{parsed} cannot be connected to: {how}; instead: {instead}", engine=parsed.scheme, how=how, instead=instead)
    engine = _ENGINES.get(parsed.scheme)
    if engine is None or parsed.modifiers:
        raise UsageError(f"unknown URL scheme in {parsed}: this version knows {known}")
    # Also checks the name of the codec.
    coding_for(codec, bytes, CodecContext("", "stream"))
    at_least(max_message_bytes, 1, "max_message_bytes")
    settings = Settings(
        parsed,
        name if name is not None else f"{os.path.basename(sys.argv[0]) or 'python'}-{os.getpid()}",
        max_message_bytes,
        seconds(connect_timeout, "connect_timeout"),
        seconds(op_timeout, "op_timeout"),
        MappingProxyType(dict(options)),
        sync,
    )
    module = importlib.import_module(f"headwater.backends.{engine}")
    kind: type[Backend] = module.Backend
    parsed.check_query(kind.query_keys)
    return kind(settings)


class Connecting:
    """What `connect` returns: await it, or enter it."""

    def __init__(self, backend: Backend, codec: CodecName | Codec) -> None:
        self._backend = backend
        self._codec: CodecName | Codec = codec
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        return f"<headwater connecting to {self._backend.settings.url}>"

    async def _connect(self) -> Connection:
        if self._connection is not None:
            raise UsageError("this connect() was awaited or entered before: call connect() again for another connection")
        await self._backend.connect()
        self._connection = Connection(Context(self._backend, self._codec))
        return self._connection

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._connect().__await__()

    async def __aenter__(self) -> Connection:
        return await (await self._connect()).__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection is not None:
            await self._connection.__aexit__(kind, error, trace)


class Connection:
    """A connection to one engine. Belongs to the event loop it was made in.

    Leaving `async with` drains it for 10 s and closes it; after an exception or cancellation, what is in hand is given back at once.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._backend = context.backend

    def __repr__(self) -> str:
        return f"<headwater connection to {self.url}{' (closed)' if self._context.closed else ''}>"

    @property
    def url(self) -> str:
        """The URL, without password."""
        return str(self._backend.settings.url)

    @property
    def name(self) -> str:
        """The connection's name."""
        return self._backend.settings.name

    @property
    def capabilities(self) -> Capabilities:
        """What this engine guarantees, as found at connect."""
        return self._backend.capabilities

    @property
    def native(self) -> Any:
        """The client itself, outside every guarantee."""
        return self._backend.native

    @overload
    def channel(self, name: str, *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[Any]: ...
    @overload
    def channel(self, name: str, type: TypeForm[T], *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[T]: ...
    def channel(self, name: str, type: Any = Any, *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()) -> Channel[Any]:
        """Declares a channel, or a pattern to subscribe to (`*` one word, `**` last: one or more). Does no I/O.

        Args:
            type: what it carries; default anything.
            codec: default the connection's.
            needs: features without which the program cannot do: UnsupportedError now.
        """
        return Channel(self._context, name, type, codec=codec, needs=needs)

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
        """Declares a queue. Does no I/O; an option left None means as stored, else the default.

        Args:
            type: the jobs; default anything.
            lease: seconds for which a job belongs to a consumer that hangs; default 30.
            retry: default `Retry()`.
            ordering: "key": one key's jobs one at a time, in order; "total": one at a time; "none" (default).
            unique_for: seconds for which `unique` blocks; infinity: while the first is unfinished (default).
            max_length: unfinished jobs at most, else FullError; infinity: no limit (default).
            max_hold: seconds after which a job in hand comes again, however alive its holder; infinity: never (default).
            codec: default the connection's.
            needs: features without which the program cannot do: UnsupportedError now.
        """
        return Queue(
            self._context, name, type, lease=lease, retry=retry, ordering=ordering, unique_for=unique_for, max_length=max_length,
            max_hold=max_hold, codec=codec, needs=needs,
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
        """Declares a stream. Does no I/O; an option left None means as stored, else the default.

        Args:
            type: the records' values; default anything.
            retention: what is kept; default everything.
            partitions: shards, where the engine has them; never changes.
            codec: default the connection's.
            needs: features without which the program cannot do: UnsupportedError now.
        """
        return Stream(self._context, name, type, retention=retention, partitions=partitions, codec=codec, needs=needs)

    if not TYPE_CHECKING:
        # Not for type checkers, who shall know these names for missing.

        def __getattr__(self, name: str) -> Any:
            return later(self, name)

    async def names(self) -> list[Info]:
        """Every queue, stream and group that is stored."""
        self._context.check()
        return await self._backend.names()

    async def health(self) -> Health:
        """Whether the engine answers, and every consumer makes progress or has nothing to do. Raises nothing but ClosedError."""
        self._context.check()
        error: str | None = None
        try:
            await self._backend.ping()
        except Exception as failed:
            error = f"{type(failed).__name__}: {failed}"
        consumers: list[ConsumerHealth] = []
        for each in self._context.now_running() if error is None else ():
            found = await each.examine()
            if found is not None:
                consumers.append(found)
        ok = error is None and all(each.ok for each in consumers)
        return Health(ok, self.capabilities.engine, error, tuple(consumers))

    def metrics(self) -> dict[str, int]:
        """What this connection did since it was made, by name; and `open`, the iterators and runs there are now."""
        counts = self._context.counters.as_dict()
        for name, count in self._backend.counters().items():
            counts[name] = counts.get(name, 0) + count
        counts["open"] = len(self._context.now_running())
        return counts

    async def flush(self) -> None:
        """Everything acknowledged before is now as durable as this engine can make it."""
        self._context.check()
        await self._backend.flush(None)

    def with_timeout(self, op_timeout: float) -> Connection:
        """This connection with another `op_timeout` (seconds). What is declared on it uses that; closing either closes both."""
        return Connection(self._context.view(self._backend.with_timeout(seconds(op_timeout, "op_timeout"))))

    async def drain(self, timeout: float = DRAIN) -> bool:
        """Stops every iterator and `run` of this connection, and waits until what other tasks have in hand is settled.

        Args:
            timeout: seconds.

        Returns:
            Whether all was settled in time.
        """
        self._context.check()
        return await self._context.drain(seconds(timeout, "timeout", zero=True))

    async def close(self) -> None:
        """Flushes, gives back what is in hand, and lets go. Afterwards everything raises ClosedError. Again: nothing."""
        context = self._context
        if context.closed:
            return
        context.check_closing()
        try:
            await context.abandon()
        finally:
            context.close()
            await self._backend.close()

    async def __aenter__(self) -> Self:
        self._context.check()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._context.closed:
            return
        try:
            if error is None:
                await self._context.drain(DRAIN)
        finally:
            await self.close()
