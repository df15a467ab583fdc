"""Channels of the embedded engine."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .._engine import Message
from ..abc import Channel, Headers, Overflow, Subscribing, Wire
from .link import Link


class EmbeddedChannel(Channel):
    """One channel, or a pattern of them. `publish` and `publish_now` are the engine's own functions."""

    def __init__(self, link: Link, name: str, wire: Wire) -> None:
        self._link = link
        self._wire = wire
        self._native = link.engine.channel(name).bind(content_type=wire.content_type, encode=wire.encode, waiting=link.waiter)
        # A wrapper round each call would cost more than the call itself.
        self.publish = self._native.apublish  # type: ignore[method-assign]
        self.publish_now = self._native.publish  # type: ignore[method-assign]

    def publish(
        self, value: Any, /, *, key: str | bytes | None = None, headers: Headers | None = None, content_type: str | None = None
    ) -> Coroutine[Any, Any, int | None]:
        return self._native.apublish(value, key=key, headers=headers, content_type=content_type)

    def publish_now(
        self, value: Any, /, *, key: str | bytes | None = None, headers: Headers | None = None, content_type: str | None = None
    ) -> int | None:
        return self._native.publish(value, key=key, headers=headers, content_type=content_type)

    async def subscribe(self, buffer: int, overflow: Overflow) -> Subscribing[Message[Any]]:
        return await self._link.call(self._subscribe, buffer, overflow)

    def _subscribe(self, buffer: int, overflow: Overflow) -> Subscribing[Message[Any]]:
        return self._native.subscribe(self._wire.decoding, buffer=buffer, overflow=overflow, waiting=self._link.waiter)
