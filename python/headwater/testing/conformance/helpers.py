"""What the topics share: draining a source, handlers that record, and asking for an error."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import headwater as hw


async def drain(source: Any, count: int, timeout: float = 20.0) -> list[Any]:
    """Takes `count` messages one by one and acknowledges each; fewer when none came for `timeout` seconds."""
    taken: list[Any] = []
    async with source.consume() as consumer:
        while len(taken) < count and (message := await consumer.next(timeout=timeout)) is not None:
            await message.ack()
            taken.append(message)
    return taken


async def nothing_from(source: Any, seconds: float) -> None:
    """Asserts that a consumer gets nothing for a while."""
    async with source.consume() as consumer:
        message = await consumer.next(timeout=seconds)
        assert message is None, f"got {message.raw!r}, attempt {message.attempt}"


async def everything(stream: Any, **options: Any) -> list[Any]:
    """All messages of a reader that ends."""
    async with stream.read(**options) as reader:
        return [message async for message in reader]


class Journal:
    """What handlers did: the start and end of each handling, by the clock of this process."""

    def __init__(self) -> None:
        self.began: list[tuple[float, Any]] = []
        self.done: list[tuple[float, Any]] = []

    def start(self, message: Any) -> None:
        self.began.append((time.monotonic(), message))

    def end(self, message: Any) -> None:
        self.done.append((time.monotonic(), message))

    def values(self) -> Counter[bytes]:
        return Counter(message.raw for _, message in self.done)

    def by_key(self) -> dict[str, list[int]]:
        """The numbers (the values) of each key in the order in which their handling began."""
        keys: dict[str, list[int]] = defaultdict(list)
        for _, message in self.began:
            keys[message.key].append(int(message.raw))
        return keys

    async def until(self, done: int, timeout: float = 30.0) -> None:
        await until(lambda: len(self.done) >= done, timeout, lambda: f"{len(self.done)} of {done} handled")


async def until(condition: Callable[[], bool], timeout: float = 30.0, what: Callable[[], str] = lambda: "condition") -> None:
    """Waits for a condition of this process, looking every 10 ms."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        await asyncio.sleep(0.01)


async def until_stats(source: Any, timeout: float = 10.0, **expected: Any) -> Any:
    """Waits until `stats()` says so."""
    deadline = time.monotonic() + timeout
    while True:
        stats = await source.stats()
        if all(getattr(stats, name) == value for name, value in expected.items()):
            return stats
        if time.monotonic() > deadline:
            raise TimeoutError(f"{stats}, expected {expected}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Runs things beside the body, and cancels them after it; one that failed fails the body."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield tasks
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def numbers(count: int) -> list[bytes]:
    return [str(i).encode() for i in range(count)]


def strictly_rising(values: Iterable[int]) -> bool:
    listed = list(values)
    return all(a < b for a, b in pairwise(listed))


NOW = hw.Retry(max_attempts=None, delay=0.0, jitter=0.0)
"""Again at once and for ever."""
