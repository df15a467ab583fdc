"""A connection to the embedded engine."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import ClassVar, TypeVar

from ... import abc
from ..._engine import Engine, drive
from ...abc import Settings, Wire
from ...capabilities import Acknowledged, Capabilities, Survives
from ...errors import ClosedError, ConnectError
from ...message import Info
from ...url import DEFAULT_URL
from .capabilities import CAPABILITIES
from .channel import LocalChannel
from .config import QUERY_KEYS, LocalConfig
from .link import Link
from .queue import LocalQueue
from .stream import LocalStream
from .waiter import BlockingWaiter, LoopWaiter, Waiter

T = TypeVar("T")

#: What an acknowledgement means, and what it survives, in each mode.
_PROMISES: Mapping[str, tuple[Acknowledged, frozenset[Survives]]] = {
    "never": ("page-cache", frozenset({"process"})),
    "interval": ("page-cache", frozenset({"process"})),
    "always": ("fsync", frozenset({"process", "power"})),
}


class Backend(abc.Backend):
    """local:PATH"""

    query_keys: ClassVar[frozenset[str]] = QUERY_KEYS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._config = LocalConfig.of(settings.url, settings.options)
        self._link: Link | None = None
        self.capabilities = self._static()

    def _static(self) -> Capabilities:
        return CAPABILITIES

    def _engine(self) -> Engine:
        config, settings = self._config, self.settings
        try:
            return Engine.open(
                config.path,
                create=config.create,
                durability=config.durability,
                interval=config.interval,
                connect_timeout=settings.connect_timeout,
                op_timeout=settings.op_timeout,
                max_message_bytes=settings.max_message_bytes,
                name=settings.name,
                allow_network_fs=config.allow_network_fs,
            )
        except ConnectError as error:
            if config.create or os.path.lexists(os.path.join(config.path, "headwater.json")):
                raise
            raise ConnectError(
                f"{os.path.abspath(config.path)} is no directory of headwater's, and none is made only to look: "
                f"check the URL {settings.url} (default: $HEADWATER_URL, else {DEFAULT_URL}), or write something there first"
            ) from error

    async def connect(self) -> None:
        if self.settings.sync:
            waiter: Waiter = BlockingWaiter()
            engine = self._engine()
        else:
            import asyncio

            # Opening waits for locks of other processes; a loop must not.
            engine = await asyncio.get_running_loop().run_in_executor(None, self._engine)
            waiter = LoopWaiter(engine)
        self._link = Link(engine, waiter, self.settings.sync, engine.durability == "always")
        self.capabilities = self._probed(engine)

    def _probed(self, engine: Engine) -> Capabilities:
        acknowledged, survives = _PROMISES[engine.durability]
        return replace(self.capabilities, acknowledged=acknowledged, survives=survives)

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

    def with_timeout(self, op_timeout: float) -> Backend:
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
        return LocalChannel(self.link, name, wire)

    def queue(self, name: str, wire: Wire) -> abc.Queue:
        return LocalQueue(self.link, name, wire)

    def stream(self, name: str, wire: Wire) -> abc.Stream:
        return LocalStream(self.link, name, wire)
