"""What queues and groups have in common: messages that are taken under a lease, worked on, and settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .. import abc
from .._engine import Delivery
from ..abc import Iterating
from ..capabilities import Feature
from ..codec import Codec, CodecName
from ..message import SourceStats
from ..retry import Retry
from .arguments import at_least, instance_of, one_of, seconds
from .base import Named, normal
from .context import Context
from .dead import DeadLetters
from .iterate import Consumer, ended, in_hand
from .settle import Settler

if TYPE_CHECKING:
    from .run import Runner

T = TypeVar("T")
R = TypeVar("R", bound="Runner")

OnDecodeError = Literal["dead", "retry"]

__all__ = ["OnDecodeError", "Source"]


class Source(Named[T]):
    """A queue or group, as its consumers see it."""

    _raw: abc.Source
    _origin: str

    def __init__(
        self, context: Context, name: str, type: Any, codec: CodecName | Codec | None, needs: Iterable[Feature | str], policy: Retry | None
    ) -> None:
        super().__init__(context, name, type, codec, needs)
        instance_of(policy, Retry, "retry")
        # The numbers of a policy are stored; its exceptions are this process's.
        self._policy = policy
        self._takers: dict[OnDecodeError, Consumer[T]] = {}
        # Takers that were stopped while something they took was still in hand.
        self._former: list[Consumer[T]] = []

    async def config(self) -> Mapping[str, Any]:
        await self._ready()
        return normal(await self._raw.config())

    async def delete(self) -> None:
        self._context.check()
        for taker in (*self._takers.values(), *self._former):
            taker.close()
        self._takers.clear()
        self._former.clear()
        await self._raw.delete()
        self.forget()

    def consume(self, prefetch: int = 1, idle: float | None = None, on_decode_error: OnDecodeError = "dead") -> Consumer[T]:
        """A consumer: enter it, iterate over its deliveries, settle each.

        ```python
        async with jobs.consume() as consumer:
            async for message in consumer:
                async with message.handled():
                    await work(message.value)
        ```

        Args:
            prefetch: how many may wait claimed beside those in hand.
            idle: end when nothing came for so many seconds.
            on_decode_error: what becomes of a message whose value does not fit: "dead" at once, or "retry".
        """
        at_least(prefetch, 0, "prefetch")
        if idle is not None:
            idle = seconds(idle, "idle")
        settler = self._settler(on_decode_error)

        async def opener() -> Iterating[Delivery[Any]]:
            await self._ready()
            return await self._raw.consumer(prefetch, settler)

        return Consumer(self._context, self._name, opener, idle, settler, self._raw)

    def _settler(self, on_decode_error: OnDecodeError) -> Settler:
        one_of(on_decode_error, ("dead", "retry"), "on_decode_error")
        return Settler(self._context, self._raw, self._label, self._policy, on_decode_error)

    async def take(self, max: int = 100, wait: float = 1.0, on_decode_error: OnDecodeError = "dead") -> list[Delivery[T]]:
        """Takes what is there, or as soon as something is.

        Args:
            max: at most so many.
            wait: seconds to wait for the first one.
            on_decode_error: as in `consume`.
        """
        at_least(max, 1, "max")
        wait = seconds(wait, "wait", zero=True, infinite=True)
        await self._ready()
        return await self._taker(on_decode_error).next_many(max, wait)

    def _taker(self, on_decode_error: OnDecodeError) -> Consumer[T]:
        # It lives as long as this object does: what was taken must not go back when `take` returns.
        taker = self._takers.get(on_decode_error)
        if taker is not None and not ended(taker):
            return taker
        # `stop` and `drain` end what runs; whoever takes again afterwards wants messages, and not nothing for ever.
        self._former = [each for each in self._former if in_hand(each)]
        if taker is not None and in_hand(taker):
            self._former.append(taker)
        taker = self._takers[on_decode_error] = self.consume(0, None, on_decode_error)
        return taker

    async def ack_many(self, messages: Iterable[Delivery[T]]) -> list[Delivery[T]]:
        """Acknowledges a batch. Once it returns, these never come again.

        Returns:
            Those whose lease was lost: they come again, or are done elsewhere.
        """
        await self._ready()
        batch: Sequence[Delivery[T]] = messages if isinstance(messages, (list, tuple)) else list(messages)
        if not batch:
            return []
        lost = await self._raw.ack_many(batch)
        self._context.counters.leases_lost += len(lost)
        return lost

    @overload
    async def run(
        self,
        handler: Callable[[Delivery[T]], Any],
        concurrency: int = 1,
        batch: None = None,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None: ...
    @overload
    async def run(
        self,
        handler: Callable[[list[Delivery[T]]], Any],
        concurrency: int = 1,
        *,
        batch: int,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None: ...
    async def run(
        self,
        handler: Callable[[Any], Any],
        concurrency: int = 1,
        batch: int | None = None,
        timeout: float | None = None,
        on_decode_error: OnDecodeError = "dead",
    ) -> None:
        """Gives every message to `handler`, until `stop`, the connection's drain or close, or cancellation.

        A handler that returns acknowledges; one that raises leaves the message to the retry policy, with an entry in the log. One
        key's messages are handled one at a time, in order. A plain function runs in a thread.

        Args:
            handler: gets a Delivery, or with `batch` a list of them.
            concurrency: how many handlers run at a time.
            batch: at most so many messages a call.
            timeout: seconds for one call; then it is cancelled with TimeoutError, which counts. For coroutine functions only.
            on_decode_error: as in `consume`.
        """
        # Not at the top: asyncio takes longer to import than everything else here, and a synchronous program may never run.
        from .run import Runner

        runner = self._runner(Runner, handler, concurrency, batch, timeout, on_decode_error)
        with runner.known():
            await self._ready()
            await runner.run(await self._raw.consumer(0, runner.settler))

    def _runner(
        self,
        kind: type[R],
        handler: Callable[[Any], Any],
        concurrency: int,
        batch: int | None,
        timeout: float | None,
        on_decode_error: OnDecodeError,
    ) -> R:
        at_least(concurrency, 1, "concurrency")
        at_least(batch, 1, "batch")
        if timeout is not None:
            timeout = seconds(timeout, "timeout")
        return kind(self._context, self._label, self._raw, self._settler(on_decode_error), handler, concurrency, batch, timeout)

    def stop(self) -> None:
        """Ends the `run` calls, consumers and iterations of this object, from any thread or signal handler; what is in hand is
        finished."""
        for each in self._context.now_running():
            if each.source is self._raw:
                each.stop()

    async def stats(self) -> SourceStats:
        """What it holds, now."""
        await self._ready()
        return await self._raw.stats()

    async def pause(self) -> None:
        """Nothing is handed out any more, to anybody, until `resume`. Stored."""
        await self._ready()
        await self._raw.pause()

    async def resume(self) -> None:
        """Ends `pause`."""
        await self._ready()
        await self._raw.resume()

    @property
    def dead(self) -> DeadLetters[T]:
        """The dead letters."""
        return DeadLetters(self._context, self.pattern, self._origin, self._raw, self._coding, self._wire.decoding, self._ready)
