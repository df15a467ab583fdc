"""Channels: who listens now, hears."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from .._engine import failed
from ..abc import Headers, Overflow, Subscribing
from ..capabilities import Feature
from ..codec import BYTES, Codec, CodecName
from ..errors import UsageError
from ..message import Message
from ..names import check_pattern, is_pattern
from .arguments import BYTES_LIKE, at_least, headers_of, key_of, one_of
from .base import Named, ident
from .context import Context
from .iterate import Subscription

T = TypeVar("T")

__all__ = ["Channel"]


class Channel(Named[T]):
    """Messages of type T to whoever listens now. Made by `Connection.channel`.

    ```python
    chat = conn.channel("chat.lobby", ChatLine)
    async with chat.subscribe() as lines:
        await chat.publish(ChatLine("ada", "hello"))
        async for message in lines:
            print(message.value)
    ```
    """

    pattern = "channel"

    def __init__(
        self, context: Context, name: str, type: Any, *, codec: CodecName | Codec | None = None, needs: Iterable[Feature | str] = ()
    ) -> None:
        super().__init__(context, check_pattern(name), type, codec, needs)
        self._is_pattern = is_pattern(name)
        if self._is_pattern:
            context.refuse("channel", Feature.WILDCARDS)
        self._raw = context.backend.channel(name, self._wire)
        self._counters = context.counters

    async def _declare(self) -> None:
        # A channel is nowhere stored: there is nothing to make.
        self._plain = None if self._is_pattern else self._sender(self._raw.publish_now if self._context.sync else self._raw.publish)

    async def _open(self) -> None:
        await self._declare()

    async def delete(self) -> None:
        await self._ready()

    async def config(self) -> dict[str, Any]:
        await self._ready()
        return {}

    def publish(self, value: T, *, key: str | bytes | None = None, headers: Headers | None = None) -> Coroutine[Any, Any, int | None]:
        """Hands one message to whoever listens now.

        Args:
            key: travels with it.
            headers: str to str.

        Returns:
            The subscribers reached; None where the engine can't know.

        Raises:
            UsageError: this is a pattern, and a pattern can only be subscribed to.
            OperationTimeoutError: a subscriber with `overflow="block"` did not make room in `op_timeout`.
        """
        plain = self._plain
        if plain is not None and key is None and headers is None and ident() == self._thread:
            self._counters.published += 1
            try:
                found: Coroutine[Any, Any, int | None] = plain(value)
                return found
            except Exception as error:
                return failed(self._explained(error, value))
        if self._declared and ident() == self._thread:
            try:
                sent: Coroutine[Any, Any, int | None] = self._publish(value, key, headers)
                return sent
            except Exception as error:
                return failed(error)
        return self._publish_later(value, key, headers)

    async def _publish_later(self, *arguments: Any) -> int | None:
        await self._ready()
        reached: int | None = await self._publish(*arguments)
        return reached

    def _publish(self, value: T, key: str | bytes | None, headers: Headers | None) -> Any:
        """With options: an awaitable on an asynchronous connection, the number on a synchronous one."""
        if self._is_pattern:
            raise UsageError(f"{self._name!r} is a pattern: publish to one name")
        content_type = BYTES if self._coding.any and isinstance(value, BYTES_LIKE) else None
        send: Any = self._raw.publish_now if self._context.sync else self._raw.publish
        self._counters.published += 1
        try:
            return send(value, key=key_of(key), headers=headers_of(headers), content_type=content_type)
        except Exception as error:
            told = self._explained(error, value)
            raise told from told.__cause__

    def subscribe(self, buffer: int = 1024, overflow: Overflow = "drop_oldest") -> Subscription[T]:
        """Listens. Once it is entered, every later publish is heard.

        Args:
            buffer: messages that may wait to be taken.
            overflow: when it is full: "drop_oldest", "drop_newest", "block" (holds publishers, for at most their `op_timeout`), or
                "error" (the iteration raises SlowConsumerError once).
        """
        at_least(buffer, 1, "buffer")
        one_of(overflow, ("drop_oldest", "drop_newest", "block", "error"), "overflow")

        async def opener() -> Subscribing[Message[Any]]:
            await self._ready()
            return await self._raw.subscribe(buffer, overflow)

        return Subscription(self._context, self._name, opener)
