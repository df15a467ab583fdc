"""A connection to the embedded engine, wherever it keeps its files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import TypeVar

from .. import abc
from .._engine import Engine, drive
from ..abc import Settings, Wire
from ..capabilities import Capabilities
from ..errors import ClosedError
from ..message import Info
from .channel import EmbeddedChannel
from .link import Link
from .queue import EmbeddedQueue
from .stream import EmbeddedStream
from .waiter import BlockingWaiter, LoopWaiter, Waiter

T = TypeVar("T")


class Embedded(abc.Backend):
    """What `local:` and `memory:` share. A subclass opens the engine, and says what it promises."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._link: Link | None = None

    @abstractmethod
    def open(self) -> Engine:
        """Opens the engine; may block."""

    def probed(self, engine: Engine) -> Capabilities:
        """The capabilities as this opened engine has them."""
        return self.capabilities

    async def connect(self) -> None:
        if self.settings.sync:
            waiter: Waiter = BlockingWaiter()
            engine = self.open()
        else:
            import asyncio

            # Opening waits for locks of other processes; a loop must not.
            engine = await asyncio.get_running_loop().run_in_executor(None, self.open)
            waiter = LoopWaiter(engine)
        self._link = Link(engine, waiter, self.settings.sync, engine.durability == "always")
        self.capabilities = self.probed(engine)

    @property
    def link(self) -> Link:
        if self._link is None:
            raise ClosedError(f"{self.settings.url} is not connected")
        return self._link

    @property
    def native(self) -> Engine:
        return self.link.engine

    async def ping(self) -> None:
        self.link.engine.check()

    async def names(self) -> list[Info]:
        found = await self.link.call(self.link.engine.objects)
        return [Info(each["kind"], each["name"], each["parent"]) for each in found]

    async def flush(self, timeout: float | None) -> None:
        await self.link.call(self.link.engine.flush, timeout)

    async def close(self) -> None:
        link = self._link
        if link is None or link.engine.closed:
            return
        try:
            await link.call(link.engine.close)
        finally:
            link.waiter.close()

    def with_timeout(self, op_timeout: float) -> Embedded:
        other = type(self)(replace(self.settings, op_timeout=op_timeout))
        link = self.link
        other._link = replace(link, engine=link.engine.with_timeout(op_timeout))
        other.capabilities = self.capabilities
        return other

    def drive(self, awaitable: Awaitable[T], /) -> T:
        return drive(awaitable)

    def sleep(self, seconds: float) -> Awaitable[None]:
        return self.link.waiter.sleep(seconds)

    def counters(self) -> Mapping[str, int]:
        return self.link.engine.counters()

    def channel(self, name: str, wire: Wire) -> abc.Channel:
        return EmbeddedChannel(self.link, name, wire)

    def queue(self, name: str, wire: Wire) -> abc.Queue:
        return EmbeddedQueue(self.link, name, wire)

    def stream(self, name: str, wire: Wire) -> abc.Stream:
        return EmbeddedStream(self.link, name, wire)
