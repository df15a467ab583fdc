"""Readers, subscriptions and consumers: classes and context managers over what a backend iterates by.

`async for` runs on the backend's own iterator, so that no Python stands between two messages; what is here opens it, closes it and
answers the questions in between.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from .._engine import Delivery, Message, Position, Ready
from ..abc import Iterating, Source
from ..capabilities import Feature
from ..errors import UsageError
from ..message import ConsumerHealth
from .base import ident
from .checkpoint import Checkpoint
from .context import Context, Gate, Running
from .eager import Started
from .settle import Settler

T = TypeVar("T")
M = TypeVar("M")

__all__ = ["Consumer", "Iterator", "Reader", "Subscription"]


class Open(Running):
    """An open iterator, as `drain`, `close` and `health` know it. Refers to the backend's iterator weakly: a forgotten loop must end."""

    def __init__(self, kind: str, name: str, native: Any, context: Context, settler: Settler | None, source: Source | None) -> None:
        self.kind, self.name = kind, name
        self.settler, self.source = settler, source
        self.entered = False
        self._native = weakref.ref(native, lambda _: context.remove(self))
        self._seen = 0
        self._since = time.monotonic()

    def stop(self) -> None:
        native = self._native()
        if native is not None:
            native.stop()

    def busy(self) -> bool:
        native = self._native()
        return self.entered and native is not None and getattr(native, "in_hand", 0) > 0

    def abandon(self) -> None:
        native = self._native()
        if native is not None:
            native.stop()
            native.close()

    async def examine(self) -> ConsumerHealth | None:
        """Whether it made progress since it was last examined, or has nothing to do."""
        native = self._native()
        if native is None:
            return None
        received = int(getattr(native, "received", 0))
        in_hand = int(getattr(native, "in_hand", 0))
        now = time.monotonic()
        lag, waiting = None, False
        if self.source is not None:
            stats = await self.source.stats()
            lag = await self.source.lag()
            waiting = bool(stats.ready) and not stats.paused
        if received != self._seen or in_hand or not waiting:
            self._seen, self._since = received, now
        idle_for = now - self._since
        error = self.settler.last_error if self.settler is not None else None
        return ConsumerHealth(self.name, self.kind, idle_for < STUCK_AFTER, received, in_hand, idle_for, lag, error)


#: Seconds without progress, though there is something to do and nothing in hand, after which a consumer is not well.
STUCK_AFTER = 5.0


class Iterator(Generic[M]):
    """What Reader, Subscription and Consumer share.

    Enter it (`async with`), or iterate at once; the cut is taken on entering, else at the first `next`. It ends quietly at `stop`,
    and when its connection drains or closes.
    """

    _kind = "iterator"

    def __init__(
        self,
        context: Context,
        name: str,
        opener: Callable[[], Coroutine[Any, Any, Iterating[M]]],
        idle: float | None = None,
        settler: Settler | None = None,
        source: Source | None = None,
    ) -> None:
        self._context = context
        self._name = name
        self._opener = opener
        self._idle = idle
        self._settler, self._source = settler, source
        self._native: Any = None
        self._open_entry: Open | None = None
        self._opening: Started | None = None
        self._gate: Gate | None = None
        self._stopped = False
        self._thread = context.thread

    def __repr__(self) -> str:
        return f"<headwater {self._kind} of {self._name!r}>"

    async def _open(self) -> Any:
        self._context.check()
        if self._native is None:
            if self._gate is None:
                self._gate = Gate(self._context.sync)
            async with self._gate:
                if self._native is None:
                    native: Any = await self._opener()
                    entry = Open(self._kind, self._name, native, self._context, self._settler, self._source)
                    self._context.add(entry)
                    self._open_entry, self._native = entry, native
                    # Stopped, or the connection closed, while it was being opened.
                    if self._stopped or self._context.closed:
                        native.stop()
        return self._native

    async def __aenter__(self) -> Self:
        await self._open()
        if self._open_entry is not None:
            self._open_entry.entered = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends it and gives back what it holds; unsettled deliveries too. Again: nothing."""
        self._stopped = True
        if self._native is not None:
            self._native.stop()
            self._native.close()
        if self._open_entry is not None:
            self._open_entry.entered = False
            self._context.remove(self._open_entry)

    def stop(self) -> None:
        """Ends the iteration, from any thread or signal handler: who waits in it is woken, and leaves the loop quietly."""
        self._stopped = True
        if self._native is not None:
            self._native.stop()

    def __aiter__(self) -> AsyncIterator[M]:
        if self._native is None and self._opening is None:
            started = Started(self._open())
            if not started.done:
                # The backend has to wait: the first `__anext__` goes on where this stopped.
                self._opening = started
                return self
        if self._idle is None and self._opening is None:
            native: Any = self._native
            iterator: AsyncIterator[M] = native.__aiter__()
            return iterator
        return self

    async def __anext__(self) -> M:
        if self._opening is not None:
            opening, self._opening = self._opening, None
            await opening
        message: M | None = await (await self._open()).anext(self._idle)
        if message is None:
            raise StopAsyncIteration
        return message

    def next(self, timeout: float | None = None) -> Coroutine[Any, Any, M | None]:
        """The next message. A timeout or cancellation loses nothing.

        Args:
            timeout: seconds to wait; None: for as long as it takes.

        Returns:
            None when the time is over, or the iteration has ended.
        """
        if self._native is not None and ident() == self._thread:
            found: Coroutine[Any, Any, M | None] = self._native.anext(timeout)
            return found
        return self._next(timeout)

    async def _next(self, timeout: float | None) -> M | None:
        found: M | None = await (await self._open()).anext(timeout)
        return found

    def next_many(self, max: int = 1000, wait: float = 0.0) -> Coroutine[Any, Any, list[M]]:
        """What is there now, or as soon as something is.

        Args:
            max: at most so many.
            wait: seconds to wait for the first one.
        """
        if max < 0:
            raise UsageError(f"max is a whole number, at least 0, not {max}")
        if self._native is not None and ident() == self._thread:
            batch: list[M] = self._native.poll_many(max)
            if batch or wait <= 0:
                return Ready(batch)
        return self._next_many(max, wait)

    async def _next_many(self, max: int, wait: float) -> list[M]:
        native = await self._open()
        batch: list[M] = native.poll_many(max)
        if batch or wait <= 0:
            return batch
        first: M | None = await native.anext(wait)
        return [] if first is None else [first, *(native.poll_many(max - 1) if max > 1 else ())]

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where it stands; None where that is no place in a stream."""
        return None


class Reader(Iterator[Message[T]]):
    """Reads a stream from any place. Made by `Stream.read`."""

    _kind = "reader"
    _positions: Callable[[Any], tuple[Position, ...]]

    @property
    def checkpoint(self) -> Checkpoint:
        """Behind the last message handed out; give it to `read(after=)` to go on there."""
        if self._native is None:
            raise UsageError("a reader stands nowhere before it is entered or read")
        return Checkpoint(self._positions(self._native))


class Subscription(Iterator[Message[T]]):
    """Hears a channel from the moment it is entered. Made by `Channel.subscribe`."""

    _kind = "subscription"

    @property
    def dropped(self) -> int:
        """Messages lost because they were not taken in time; exact on `local:` and `memory:`."""
        return 0 if self._native is None else int(self._native.dropped)

    @property
    def gaps(self) -> int:
        """Reconnects in which messages may have been missed."""
        return 0 if self._native is None else int(getattr(self._native, "gaps", 0))

    async def ready(self, peers: int = 1, timeout: float | None = None) -> None:
        """Returns when every later publish is heard. Where SUBSCRIBE_CONFIRMED holds, that is so once it is entered; elsewhere
        when `peers` publishers have shown that they know of it.

        Raises:
            OperationTimeoutError: not within `timeout` seconds.
        """
        native = await self._open()
        if not self._context.has("channel", Feature.SUBSCRIBE_CONFIRMED):
            await native.ready(peers, timeout)


class Consumer(Iterator[Delivery[T]]):
    """Takes messages of a queue or group under a lease. Made by `consume`. Leaving it gives back what is not settled."""

    _kind = "consumer"


def ended(iterator: Iterator[Any]) -> bool:
    """Whether it gives nothing more."""
    return iterator._stopped or (iterator._native is not None and bool(iterator._native.ended))


def in_hand(consumer: Consumer[Any]) -> int:
    """Deliveries that it handed out and nobody settled."""
    return 0 if consumer._native is None else int(getattr(consumer._native, "in_hand", 0))
