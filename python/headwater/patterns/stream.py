"""Streams: an append-only log that any number of readers and groups read from any place, at their own pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeVar

from .. import abc
from .._engine import Position, failed
from ..abc import Headers, Iterating, Ordering, OwnAppends, ReadOptions, StreamOptions, Wire
from ..capabilities import Feature
from ..codec import BYTES, Codec, CodecName
from ..errors import UsageError
from ..message import Item, Message, Retention, StreamInfo
from ..names import check_name
from ..retry import Retry
from .arguments import BYTES_LIKE, at_least, headers_of, instance_of, is_plain, items_of, key_of, one_of, place_of, position_of, text_of, time_ns
from .base import Named, ident, normal
from .checkpoint import Checkpoint
from .context import Context
from .group import Group
from .iterate import Reader

T = TypeVar("T")

__all__ = ["Stream"]

#: Records looked at together.
PAGE = 1000


class Stream(Named[T]):
    """An append-only log of T. Made by `Connection.stream`.

    ```python
    orders = conn.stream("orders", Order)
    position = await orders.append(Order(7, "tea"))
    async for message in orders.read(start="earliest"):
        print(message.position, message.value)
    ```
    """

    pattern = "stream"

    def __init__(
        self,
        context: Context,
        name: str,
        type: Any,
        *,
        retention: Retention | None = None,
        partitions: int | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> None:
        super().__init__(context, check_name(name), type, codec, needs)
        instance_of(retention, Retention, "retention")
        if retention is not None:
            context.refuse("stream", Feature.RETENTION)
        self._options = StreamOptions(retention, at_least(partitions, 1, "partitions"))
        self._raw: abc.Stream = context.backend.stream(name, self._wire)
        self._codec: CodecName | Codec | None = codec
        self._counters = context.counters
        #: The object that programs have: this one, or the synchronous API's.
        self.face: Any = self

    async def _declare(self) -> None:
        self._note(self._options, await self._raw.declare(self._options))
        self._found()

    async def _open(self) -> None:
        await self._raw.config()
        self._found()

    def _found(self) -> None:
        sync = self._context.sync
        self._plain = self._sender(self._raw.append_now if sync else self._raw.append)
        self._without_shortcuts()
        own = OwnAppends(
            self.face.append, self.face.append_many, partial(self._outcomes, what="records"), self._coding.any, None if sync else self._thread
        )
        # On the object itself they come before the methods of its class.
        self.face.__dict__.update(self._raw.shortcuts(own))

    def forget(self) -> None:
        """Declares anew at the next use."""
        super().forget()
        self._without_shortcuts()

    def _without_shortcuts(self) -> None:
        for name in ("append", "append_many"):
            self.face.__dict__.pop(name, None)

    @property
    def codec(self) -> CodecName | Codec | None:
        """The codec it was declared with; None: the connection's."""
        return self._codec

    @property
    def raw(self) -> abc.Stream:
        """The backend's stream, for groups."""
        return self._raw

    @property
    def wire(self) -> Wire:
        """How its values travel, for groups."""
        return self._wire

    async def made(self) -> None:
        """Makes sure that it is there, for groups."""
        await self._ready()

    async def delete(self) -> None:
        self._context.check()
        await self._raw.delete()
        self.forget()

    async def config(self) -> Mapping[str, Any]:
        await self._ready()
        return normal(await self._raw.config())

    def append(
        self,
        value: T,
        *,
        key: str | bytes | None = None,
        id: str | None = None,
        expect: Position | Literal["empty"] | None = None,
        expect_key: Position | Literal["absent"] | None = None,
        headers: Headers | None = None,
        time: datetime | None = None,
    ) -> Coroutine[Any, Any, Position]:
        """Appends one record.

        Args:
            key: groups with `ordering="key"` and `read(key=)` go by it.
            id: appended once in the window (10 minutes or 1M ids on `local:`): again, the first position comes back.
            expect: append only if the last record is at this position, or the stream is "empty".
            expect_key: append only if the key's last record is at this position, or "absent".
            headers: str to str.
            time: the event time, aware; default: the engine's clock.

        Returns:
            Where it stands, once it is as safe as `capabilities.acknowledged` says.

        Raises:
            ConflictError: `expect` or `expect_key` did not hold; nothing was appended.
            EncodeError, TooLargeError, StorageFullError, UnsupportedError: nothing was appended.
        """
        plain = self._plain
        if (
            plain is not None and key is None and id is None and expect is None and expect_key is None and headers is None and time is None
            and ident() == self._thread
        ):  # fmt: skip
            self._counters.appended += 1
            try:
                found: Coroutine[Any, Any, Position] = plain(value)
                return found
            except Exception as error:
                return failed(self._explained(error, value))
        if self._declared and ident() == self._thread:
            try:
                sent: Coroutine[Any, Any, Position] = self._append(value, key, id, expect, expect_key, headers, time)
                return sent
            except Exception as error:
                return failed(error)
        return self._append_later(value, key, id, expect, expect_key, headers, time)

    async def _append_later(self, *arguments: Any) -> Position:
        await self._ready()
        position: Position = await self._append(*arguments)
        return position

    def _append(
        self,
        value: T,
        key: str | bytes | None,
        id: str | None,
        expect: Position | Literal["empty"] | None,
        expect_key: Position | Literal["absent"] | None,
        headers: Headers | None,
        time: datetime | None,
    ) -> Any:
        """With options, declared: an awaitable on an asynchronous connection, the position on a synchronous one."""
        refuse = self._context.refuse
        if id is not None:
            refuse("stream", Feature.IDEMPOTENT_APPEND)
            text_of(id, "id")
        if expect is not None:
            refuse("stream", Feature.EXPECT)
            if expect != "empty":
                position_of(expect, "expect", self._name)
        if expect_key is not None:
            refuse("stream", Feature.EXPECT_KEY)
            if expect_key != "absent":
                position_of(expect_key, "expect_key", self._name)
            if key is None:
                raise UsageError("expect_key asks about a key: give key= too")
        if time is not None:
            refuse("stream", Feature.SET_TIME)
        if key is not None:
            key_of(key)
        when = None if time is None else time_ns(time)
        content_type = BYTES if self._coding.any and isinstance(value, BYTES_LIKE) else None
        send: Any = self._raw.append_now if self._context.sync else self._raw.append
        self._counters.appended += 1
        try:
            return send(
                value, key=key, id=id, expect=expect, expect_key=expect_key,
                headers=None if headers is None else headers_of(headers), time_ns=when, content_type=content_type,
            )  # fmt: skip
        except Exception as error:
            told = self._explained(error, value)
            raise told from told.__cause__

    async def append_many(self, items: Iterable[T | Item[T]], *, atomic: bool = False) -> list[Position]:
        """Appends a batch, in order.

        Args:
            items: values, or `Item`s with a key, id, headers or time of their own.
            atomic: all or none, and readers see all at once.

        Returns:
            A position for each.

        Raises:
            BatchError: some failed; `.results` has a position or an exception for each. With `atomic` nothing was appended.
        """
        await self._ready()
        if atomic:
            self._context.refuse("stream", Feature.ATOMIC_BATCH)
        values = items_of(items)
        if not values:
            return []
        plain = is_plain(values, self._coding.any)
        self._counters.appended += len(values)
        try:
            results = await self._raw.append_many(values if plain else [self._entry_of(value) for value in values], atomic)
        except Exception as error:
            told = self._first_explained(error, values)
            raise told from told.__cause__
        return self._outcomes(values, results, "records")

    def _entry_of(self, value: Any) -> Any:
        key = id = headers = when = None
        if isinstance(value, Item):
            item: Item[Any] = value  # pyright: ignore[reportUnknownVariableType] - of any T, which is all that is wanted
            if item.delay or item.priority or item.ttl is not None or item.unique is not None:
                raise UsageError("delay, priority, ttl and unique are for queues, not for a stream's items")
            if item.id is not None:
                self._context.refuse("stream", Feature.IDEMPOTENT_APPEND)
            if item.time is not None:
                self._context.refuse("stream", Feature.SET_TIME)
                when = time_ns(item.time)
            value, key, id, headers = item.value, key_of(item.key), text_of(item.id, "id"), headers_of(item.headers)
        content_type = BYTES if self._coding.any and isinstance(value, BYTES_LIKE) else None
        return (value, key, id, headers, when, content_type)

    def read(
        self,
        start: Literal["earliest", "latest"] | Position | datetime = "earliest",
        after: Position | Checkpoint | None = None,
        last: int | None = None,
        stop: Position | datetime | None = None,
        follow: bool = False,
        key: str | bytes | None = None,
        trimmed: Literal["raise", "skip"] = "raise",
    ) -> Reader[T]:
        """Reads [start, stop).

        Args:
            start: "earliest", "latest" (what is appended from now on), a position, or an aware time (event time).
            after: go on behind a position or a checkpoint, instead of `start`.
            last: begin so many records before the end, instead of `start`; with `key`, so many of that key, for which the whole
                stream is looked through once more.
            stop: a position or an aware time, itself not read.
            follow: wait for new records; without, the end is the tail at the call.
            key: the records with this key alone.
            trimmed: what to do below the retention floor: TrimmedError, or go on with the first that is kept.
        """
        capabilities = self._context.capabilities
        needs = [Feature.REPLAY]
        if isinstance(start, datetime) or isinstance(stop, datetime):
            needs.append(Feature.REPLAY_FROM_TIME)
        if key is not None:
            needs.append(Feature.READ_BY_KEY)
        capabilities.require("stream", needs)
        one_of(trimmed, ("raise", "skip"), "trimmed")
        if (after is not None) + (last is not None) + (start != "earliest") > 1:
            raise UsageError("give one of start, after and last")
        options = ReadOptions(
            start=place_of(start, "start", self._name),
            after=() if after is None else after.positions if isinstance(after, Checkpoint) else (position_of(after, "after", self._name),),
            last=at_least(last, 0, "last"),
            stop=None if stop is None else time_ns(stop, "stop") if isinstance(stop, datetime) else position_of(stop, "stop", self._name),
            follow=follow,
            key=key_of(key),
            skip_trimmed=trimmed == "skip",
        )

        async def opener() -> Iterating[Message[Any]]:
            await self._ready()
            return await self._raw.reader(await self._with_last_of_key(options) if options.last and options.key is not None else options)

        reader: Reader[T] = Reader(self._context, self._name, opener)
        reader._positions = self._raw.positions  # pyright: ignore[reportPrivateUsage] - one module's two classes
        return reader

    async def _with_last_of_key(self, options: ReadOptions) -> ReadOptions:
        """The same, from the place where the last so many records of the key begin: backends count records of every key."""
        places: deque[Position | None] = deque(maxlen=options.last)
        native = await self._raw.reader(replace(options, last=None, follow=False, skip_trimmed=True))
        try:
            while (first := await native.anext(None)) is not None:
                places.append(first.position)
                places.extend(message.position for message in native.poll_many(PAGE))
        finally:
            native.close()
        return replace(options, last=None, start=places[0]) if places and places[0] is not None else replace(options, last=0)

    async def info(self) -> StreamInfo:
        """Its ends, sizes and groups, now."""
        await self._ready()
        return await self._raw.info()

    async def trim(self, before: Position) -> None:
        """Removes the records below `before`. Groups that had not finished them go on behind."""
        await self._ready()
        self._context.refuse("stream", Feature.RETENTION)
        await self._raw.trim(position_of(before, "before", self._name))

    def group(
        self,
        name: str,
        *,
        ordering: Ordering | None = None,
        start: Literal["earliest", "latest"] | Position | datetime | None = None,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        max_hold: float | timedelta | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> Group[T]:
        """Declares a group: consumers that share this stream, with progress that outlives them. Does no I/O.

        Args:
            ordering: "key": one key's messages one at a time, in order; "total": one at a time; "none" (default).
            start: where it begins when it is made: "earliest" (default), "latest", a position or an aware time.
            lease: seconds for which a message belongs to a consumer that hangs; default 30.
            retry: default `Retry()`.
            max_hold: seconds after which a message in hand comes again, however alive its holder; infinity: never (default).
            needs: features without which the program cannot do: UnsupportedError now.
        """
        return Group(
            self, self._context, name, ordering=ordering, start=start, lease=lease, retry=retry, max_hold=max_hold, needs=needs,
        )  # fmt: skip
