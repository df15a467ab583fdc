"""Streams of the embedded engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal

from .. import _engine
from .._engine import Appender, Message, Position
from ..abc import Declared, Group, Headers, Iterating, OwnAppends, ReadOptions, Stream, StreamEntry, StreamOptions, Wire
from ..errors import DeclarationError, UsageError
from ..message import Item, Retention, StreamInfo
from .link import Link, moment
from .source import EmbeddedGroup


class EmbeddedStream(Stream):
    """One stream. Once it is open, `append` and `append_now` are the engine's own functions."""

    def __init__(self, link: Link, name: str, wire: Wire) -> None:
        self._link = link
        self._name = name
        self._wire = wire
        self._native: _engine.Stream | None = None

    def _use(self, native: _engine.Stream) -> _engine.Stream:
        wire = self._wire
        bound = native.bind(content_type=wire.content_type, encode=wire.encode, waiting=self._link.waiter)
        self._native = bound
        # A wrapper round each call would cost more than the append itself.
        self.append = bound.aappend  # type: ignore[method-assign]
        self.append_now = bound.append  # type: ignore[method-assign]
        return bound

    async def native(self) -> _engine.Stream:
        """The engine's stream. NotFoundError where it was never declared."""
        if self._native is None:
            self._use(await self._link.call(self._link.engine.open_stream, self._name))
        assert self._native is not None
        return self._native

    def _opened(self) -> _engine.Stream:
        return self._native or self._use(self._link.engine.open_stream(self._name))

    async def declare(self, options: StreamOptions) -> Declared:
        if options.partitions not in (None, 1):
            raise DeclarationError(
                f"stream {self._name!r}: partitions={options.partitions}; a stream of this engine has one, which keeps the order of all",
                stored=1, asked=options.partitions,
            )  # fmt: skip
        limits = options.retention
        found = await self._link.call(self._declare, None if limits is None else (limits.age, limits.bytes, limits.records))
        native, before = found
        self._use(native)
        after = await self._link.call(native.config)
        return Declared(None if before is None else _config(before), _config(after))

    def _declare(self, limits: Any) -> tuple[_engine.Stream, dict[str, Any] | None]:
        return self._link.engine.declare_stream(self._name, retention=limits)

    async def config(self) -> Mapping[str, Any]:
        return _config(await self._link.call((await self.native()).config))

    async def delete(self) -> None:
        await self._link.call(self._link.engine.delete, "stream", self._name)
        self._native = None
        for name in ("append", "append_now"):
            vars(self).pop(name, None)

    def append(
        self, value: Any, /, *,
        key: str | bytes | None = None, id: str | None = None,
        expect: Position | Literal["empty"] | None = None, expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None, time_ns: int | None = None, content_type: str | None = None,
    ) -> Coroutine[Any, Any, Position]:  # fmt: skip
        return self._opened().aappend(
            value, key=key, id=id, expect=expect, expect_key=expect_key, headers=headers, time_ns=time_ns, content_type=content_type
        )

    def append_now(
        self, value: Any, /, *,
        key: str | bytes | None = None, id: str | None = None,
        expect: Position | Literal["empty"] | None = None, expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None, time_ns: int | None = None, content_type: str | None = None,
    ) -> Position:  # fmt: skip
        return self._opened().append(
            value, key=key, id=id, expect=expect, expect_key=expect_key, headers=headers, time_ns=time_ns, content_type=content_type
        )

    async def append_many(self, items: Sequence[StreamEntry], atomic: bool) -> list[Position | Exception]:
        return await (await self.native()).aappend_many(items, atomic=atomic)

    def shortcuts(self, own: OwnAppends) -> Mapping[str, Callable[..., Any]]:
        native = self._native
        if native is None:
            return {}
        direct = Appender(native, own.append, own.append_many, own.outcomes, item=Item, any=own.any, thread=own.thread)
        if self._link.sync:
            return {"append": direct.append, "append_many": direct.append_many}
        return {"append": direct.aappend, "append_many": direct.aappend_many}

    async def reader(self, options: ReadOptions) -> Iterating[Message[Any]]:
        native = await self.native()
        where: dict[str, Any] = {}
        if options.after:
            where["after"] = self._seq(self._one(options.after))
        elif options.last is not None:
            where["last"] = options.last
        elif isinstance(options.start, Position):
            where["start"] = self._seq(options.start)
        elif isinstance(options.start, int):
            where["time_ns"] = options.start
        else:
            where["start"] = options.start
        if isinstance(options.stop, Position):
            where["stop"] = self._seq(options.stop)
        elif options.stop is not None:
            where["stop_time_ns"] = options.stop
        return native.reader(
            self._wire.decoding, **where, follow=options.follow, key=options.key, skip_trimmed=options.skip_trimmed, waiting=self._link.waiter
        )

    def _one(self, positions: Iterable[Position]) -> Position:
        first, *more = positions
        if more:
            raise UsageError(f"stream {self._name!r} has one shard; the checkpoint names {1 + len(more)}")
        return first

    def _seq(self, position: Position) -> int:
        if position.stream not in ("", self._name) or position.shard:
            raise UsageError(f"{position} is not a position of stream {self._name!r}")
        return position.seq

    def positions(self, reader: Iterating[Message[Any]]) -> tuple[Position, ...]:
        at = reader.position if isinstance(reader, _engine.Reader) else 0
        return (Position(self._name, at),)

    async def info(self) -> StreamInfo:
        native = await self.native()
        found, groups = await self._link.call(_info, native)
        empty = not found["records"]
        return StreamInfo(
            name=self._name,
            first=None if empty else Position(self._name, found["first_seq"]),
            last=None if empty else Position(self._name, found["last_seq"]),
            records=found["records"],
            bytes=found["bytes"],
            first_time=None if empty else moment(found["first_time_ns"]),
            last_time=None if empty else moment(found["last_time_ns"]),
            appended_total=found["appended_total"],
            segments=found["segments"],
            groups=tuple(groups),
        )

    async def trim(self, before: Position) -> None:
        await self._link.call((await self.native()).trim, self._seq(before))

    def group(self, name: str) -> Group:
        return EmbeddedGroup(self._link, self, name, self._wire)


def _info(native: _engine.Stream) -> tuple[dict[str, Any], list[str]]:
    return native.info(), native.groups()


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    limits = config.get("retention")
    return {"retention": None if limits is None else _retention(*limits), "partitions": 1}


def _retention(age: float | None, size: int | None, records: int | None) -> Retention:
    return Retention(age=age, bytes=size, records=records)
