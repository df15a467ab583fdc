"""How operations on the embedded engine wait: in the engine on the calling thread, or in an event loop by a descriptor it watches.

Both have the methods of `_engine.Waiting`. The thread's never suspend, so that `drive` runs them to the end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import ClosedError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from .._engine import Engine, LoopBell

T = TypeVar("T")


class Waiter(Protocol):
    """What a connection waits by."""

    def next(self, pull: Any, timeout: float | None = None, /) -> Awaitable[Any]:
        """The next message of an iterator; None: the time (seconds) is over, or it ended."""
        ...

    def step(self, pull: Any, /) -> Awaitable[Any]:
        """`next`, or StopAsyncIteration."""
        ...

    def call(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Something that may block for long."""
        ...

    def durable(self, log: Any, mark: Any, result: T, /) -> Awaitable[T]:
        """`result`, once the log is on the disk up to `mark`."""
        ...

    def sleep(self, seconds: float, /) -> Awaitable[None]: ...

    def close(self) -> None: ...


class BlockingWaiter:
    """For a synchronous connection: blocks, with the GIL released."""

    async def next(self, pull: Any, timeout: float | None = None, /) -> Any:
        return pull.next(timeout)

    async def step(self, pull: Any, /) -> Any:
        found = pull.next()
        if found is None:
            raise StopAsyncIteration
        return found

    async def call(self, function: Callable[..., T], /, *args: Any) -> T:
        return function(*args)

    async def durable(self, log: Any, mark: Any, result: T, /) -> T:
        log.wait_durable(mark)
        return result

    async def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - no loop runs here: a synchronous connection blocks

    def close(self) -> None:
        pass


class LoopWaiter:
    """For an asynchronous connection: parks a future until the engine's bell makes a descriptor readable.

    One bell a loop and engine, whatever number of tasks wait; each looks again at every ring. Threads are for what blocks for
    longer (the disk, the creation of files); they start at the first need.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: LoopBell | None = None
        self._parked: set[asyncio.Future[None]] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._syncing: dict[int, asyncio.Future[None]] = {}
        self._closed = False

    def _open(self) -> LoopBell:
        if self._closed:
            raise ClosedError("the connection is closed")
        if self._bell is None:
            import asyncio

            self._loop = asyncio.get_running_loop()
            self._bell = self._engine.loop_bell()
            self._loop.add_reader(self._bell.fd, self._rung)
        return self._bell

    def _rung(self) -> None:
        if self._bell is not None:
            self._bell.drain()
        parked, self._parked = self._parked, set()
        for future in parked:
            _wake(future)

    async def next(self, pull: Any, timeout: float | None = None, /) -> Any:
        bell = self._open()
        loop = self._loop
        assert loop is not None
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            # Armed first, looked at then: what comes in between rings.
            bell.arm()
            pull.arm()
            found = pull.poll()
            if found is not None or pull.ended:
                return found
            if self._closed:
                raise ClosedError("the connection was closed")
            pause = None if deadline is None else deadline - loop.time()
            if pause is not None and pause <= 0:
                return None
            due = pull.next_due_ns()
            if due is not None:
                # A little late rather than a busy loop before something that is due in a moment.
                until = max((due - time.time_ns()) / 1e9, 0.0001)
                pause = until if pause is None else min(pause, until)
            future: asyncio.Future[None] = loop.create_future()
            self._parked.add(future)
            timer = None if pause is None else loop.call_later(pause, _wake, future)
            try:
                await future
            finally:
                self._parked.discard(future)
                if timer is not None:
                    timer.cancel()

    async def step(self, pull: Any, /) -> Any:
        found = await self.next(pull)
        if found is None:
            raise StopAsyncIteration
        return found

    async def call(self, function: Callable[..., T], /, *args: Any) -> T:
        import asyncio

        if self._closed:
            # The connection went while the caller waited for something else of it.
            raise ClosedError("the connection was closed")
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(8, "headwater")
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def durable(self, log: Any, mark: Any, result: T, /) -> T:
        import asyncio

        key = id(log)
        while not log.durable(mark):
            running = self._syncing.get(key)
            if running is None:
                # One thread at a time syncs a log, up to whatever was appended before it began; the others share it.
                running = self._syncing[key] = asyncio.ensure_future(self.call(log.wait_durable, mark))
                running.add_done_callback(lambda _: self._syncing.pop(key, None))
            await asyncio.shield(running)
        return result

    async def sleep(self, seconds: float, /) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Lets go of the descriptor; who still waits is woken."""
        self._closed = True
        if self._bell is not None and self._loop is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._bell.fd)
                self._rung()
            self._bell = None
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
