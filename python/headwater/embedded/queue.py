"""Queues of the embedded engine."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal

from .. import _engine
from ..abc import Declared, Headers, Queue, QueueEntry, QueueOptions, Wire
from .link import Link, source_arguments, stored
from .source import EmbeddedSource, refuse_ordering


class EmbeddedQueue(EmbeddedSource, Queue):
    """One queue. Once it is open, `put` and `put_now` are the engine's own functions."""

    def __init__(self, link: Link, name: str, wire: Wire) -> None:
        super().__init__(link, name, wire)
        self._queue: _engine.Queue | None = None

    def _use(self, native: _engine.Queue) -> _engine.Queue:
        wire = self._wire
        bound = native.bind(content_type=wire.content_type, encode=wire.encode, waiting=self._link.waiter)
        self._queue, self._source = bound, bound.source
        # A wrapper round each call would cost more than the call itself.
        self.put = bound.aput  # type: ignore[method-assign]
        self.put_now = bound.put  # type: ignore[method-assign]
        return bound

    async def _native_queue(self) -> _engine.Queue:
        return self._queue or self._use(await self._link.call(self._link.engine.open_queue, self._name))

    def _opened(self) -> _engine.Queue:
        return self._queue or self._use(self._link.engine.open_queue(self._name))

    async def native(self) -> _engine.Source:
        await self._native_queue()
        return self._given()

    async def declare(self, options: QueueOptions) -> Declared:
        arguments = source_arguments(options)
        for name in ("unique_for", "max_length"):
            if getattr(options, name) is not None:
                arguments[name] = getattr(options, name)
        native, before = await self._link.call(lambda: self._link.engine.declare_queue(self._name, **arguments))
        self._use(native)
        after = await self._link.call(native.config)
        refuse_ordering(f"queue {self._name!r}", options.ordering, after)
        return Declared(None if before is None else stored(before), stored(after))

    async def config(self) -> Mapping[str, Any]:
        return stored(await self._link.call((await self._native_queue()).config))

    async def delete(self) -> None:
        await self._link.call(self._link.engine.delete, "queue", self._name)
        self._queue = self._source = None
        for name in ("put", "put_now"):
            vars(self).pop(name, None)

    def put(
        self, value: Any, /, *,
        key: str | bytes | None = None, due_ns: int | None = None, priority: int = 0, ttl: float | None = None,
        unique: str | None = None, on_duplicate: Literal["return", "raise"] = "return",
        headers: Headers | None = None, time_ns: int | None = None, content_type: str | None = None,
    ) -> Coroutine[Any, Any, str]:  # fmt: skip
        return self._opened().aput(
            value, key=key, due_ns=due_ns, priority=priority, ttl=ttl, unique=unique, on_duplicate=on_duplicate,
            headers=headers, time_ns=time_ns, content_type=content_type,
        )  # fmt: skip

    def put_now(
        self, value: Any, /, *,
        key: str | bytes | None = None, due_ns: int | None = None, priority: int = 0, ttl: float | None = None,
        unique: str | None = None, on_duplicate: Literal["return", "raise"] = "return",
        headers: Headers | None = None, time_ns: int | None = None, content_type: str | None = None,
    ) -> str:  # fmt: skip
        return self._opened().put(
            value, key=key, due_ns=due_ns, priority=priority, ttl=ttl, unique=unique, on_duplicate=on_duplicate,
            headers=headers, time_ns=time_ns, content_type=content_type,
        )  # fmt: skip

    async def put_many(self, items: Sequence[QueueEntry], atomic: bool) -> list[str | Exception]:
        return await (await self._native_queue()).aput_many(items, atomic=atomic)

    async def cancel(self, id: str) -> bool:
        return await self._link.call((await self._native_queue()).cancel, id)

    async def purge(self) -> int:
        return await self._link.call((await self._native_queue()).purge)
