"""`Source.run`: every message to a handler, so many at a time, one key's in order.

Workers fetch one after the other and handle side by side. Each settles what it handled by `Delivery.handled`, so that a handler
under `run` and a block in a loop mean the same.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .. import abc
from .._engine import Delivery
from ..errors import HeadwaterError, UsageError
from .context import Context, Running
from .settle import Settler

__all__ = ["Keys", "Runner"]

Work = list[Delivery[Any]]


class Keys:
    """Which keys are being handled, and what waits for them. A message of a busy key is parked with it, and handed to the worker
    that is at that key; so no two handlers ever have one key, and nobody waits for a key but its own messages."""

    def __init__(self) -> None:
        self._parked: dict[bytes, deque[Delivery[Any]]] = {}

    def begin(self, message: Delivery[Any]) -> bool:
        """Whether the caller may handle it now; else it is parked."""
        key = message.raw_key
        if key is None:
            return True
        parked = self._parked.get(key)
        if parked is not None:
            parked.append(message)
            return False
        self._parked[key] = deque()
        return True

    def end(self, message: Delivery[Any]) -> Delivery[Any] | None:
        """It is handled: the next one of its key, for the caller to handle."""
        key = message.raw_key
        if key is None:
            return None
        parked = self._parked[key]
        if parked:
            return parked.popleft()
        del self._parked[key]
        return None

    def parked(self) -> list[Delivery[Any]]:
        """Takes all out that nobody has begun."""
        found = [message for parked in self._parked.values() for message in parked]
        for parked in self._parked.values():
            parked.clear()
        return found


class Runner(Running):
    """One call of `run`."""

    def __init__(
        self,
        context: Context,
        label: str,
        source: abc.Source,
        settler: Settler,
        handler: Callable[[Any], Any],
        concurrency: int,
        batch: int | None,
        timeout: float | None,
    ) -> None:
        if not callable(handler):
            raise UsageError(f"the handler of {label} is no function: {handler!r}")
        self.source = source
        self.settler = settler
        self._context = context
        self._label = label
        self._handler = handler
        self._concurrency = concurrency
        self._batch = batch
        self._timeout = timeout
        self._is_async = _is_async(handler)
        if timeout is not None and not self._is_async:
            raise UsageError("timeout= is for coroutine functions: a thread cannot be interrupted")
        self._native: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False
        self._stopped = False
        self._keys = Keys()

    @contextmanager
    def known(self) -> Generator[None]:
        """From here on `stop` and the connection's end reach it, also while it still opens what it takes from."""
        self._context.add(self)
        try:
            yield
        finally:
            self._context.remove(self)

    def _takes_from(self, native: Any) -> None:
        self._native = native
        self._running = True
        if self._stopped:
            native.stop()

    def stop(self) -> None:
        self._stopped = True
        if self._native is not None:
            self._native.stop()

    def busy(self) -> bool:
        return self._running

    def abandon(self) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()

    async def run(self, native: Any) -> None:
        """Until the iterator `native` ends. A failure of the source itself ends it too."""
        self._takes_from(native)
        # Handlers in hand, and as many again that wait for a busy key.
        self._room = asyncio.Semaphore(2 * self._concurrency)
        self._turn = asyncio.Lock()
        self._freed = asyncio.Condition()
        self._busy: set[bytes] = set()
        self._threads = None if self._is_async else ThreadPoolExecutor(self._concurrency, f"headwater-run-{self._label}")
        work = self._work if self._batch is None else self._work_batches
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work()) for _ in range(self._concurrency)]
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()
        finally:
            try:
                await self._end()
            finally:
                self._running = False

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        # Each settles what it has in hand; none is left behind.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        unbegun = [message for message in self._keys.parked() if not message.settled]
        try:
            if unbegun:
                await self.source.release(unbegun)
        finally:
            self._native.stop()
            self._native.close()
            if self._threads is not None:
                self._threads.shutdown(wait=False)

    async def _work(self) -> None:
        keys, native = self._keys, self._native
        while True:
            await self._room.acquire()
            async with self._turn:
                found: Delivery[Any] | None = await native.anext()
                mine = found is not None and keys.begin(found)
            if found is None:
                self._room.release()
                return
            message = found if mine else None
            while message is not None:
                try:
                    async with message.handled():
                        await self._call(message)
                finally:
                    self._room.release()
                message = keys.end(message)

    async def _work_batches(self) -> None:
        size = self._batch or 1
        native = self._native
        while True:
            async with self._turn:
                first: Delivery[Any] | None = await native.anext()
                if first is None:
                    return
                batch: Work = [first, *(native.poll_many(size - 1) if size > 1 else ())]
                keys = {message.raw_key for message in batch if message.raw_key is not None}
                async with self._freed:
                    # The order of keys comes before concurrency: a batch waits until none of its keys is in another handler.
                    await self._freed.wait_for(functools.partial(self._busy.isdisjoint, keys))
                    self._busy |= keys
            try:
                await self._handle_batch(batch)
            finally:
                async with self._freed:
                    self._busy -= keys
                    self._freed.notify_all()

    async def _handle_batch(self, batch: Work) -> None:
        try:
            await self._call(batch)
        except BaseException as error:
            swallowed = True
            for message in batch:
                swallowed = await self.settler.on_error(message, error, True) and swallowed
            if not swallowed:
                raise
            return
        unsettled = [message for message in batch if not message.settled]
        try:
            for message in await self.source.ack_many(unsettled):
                self.settler.lost(message)
        except HeadwaterError as lost:
            for message in unsettled:
                self.settler.on_lost(message, lost)

    async def _call(self, work: Any) -> None:
        if self._threads is not None:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, self._handler, work)
            if inspect.isawaitable(result):
                await result
        elif self._timeout is None:
            await self._handler(work)
        else:
            async with asyncio.timeout(self._timeout):
                await self._handler(work)


def _is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling `handler` gives an awaitable at once: a coroutine function, also behind a partial or as `__call__`."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004 - the method itself is asked for
