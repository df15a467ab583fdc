"""Queues: each message is one piece of work, done by one consumer."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from .._engine import failed
from ..abc import Headers, Ordering, QueueOptions
from ..capabilities import Feature
from ..codec import BYTES, Codec, CodecName
from ..errors import UsageError
from ..message import Item
from ..names import check_name
from ..retry import Retry
from .arguments import BYTES_LIKE, at_least, due_ns, headers_of, is_plain, items_of, key_of, one_of, priority_of, seconds, text_of, time_ns
from .base import ident
from .context import Context
from .group import check_ordering
from .source import Source

T = TypeVar("T")

__all__ = ["Queue"]


class Queue(Source[T]):
    """Work of type T. Made by `Connection.queue`.

    ```python
    jobs = conn.queue("crawl", Job, retry=hw.Retry(max_attempts=8))
    job_id = await jobs.put(Job("https://example.org"), delay=60)
    await jobs.run(crawl, concurrency=16)
    ```
    """

    pattern = "queue"

    def __init__(
        self,
        context: Context,
        name: str,
        type: Any,
        *,
        lease: float | timedelta | None = None,
        retry: Retry | None = None,
        ordering: Ordering | None = None,
        unique_for: float | timedelta | None = None,
        max_length: float | None = None,
        max_hold: float | timedelta | None = None,
        codec: CodecName | Codec | None = None,
        needs: Iterable[Feature | str] = (),
    ) -> None:
        super().__init__(context, check_name(name), type, codec, needs, retry)
        check_ordering(context, self.pattern, ordering)
        if unique_for is not None:
            context.refuse("queue", Feature.UNIQUE)
        if max_length is not None:
            context.refuse("queue", Feature.MAX_LENGTH)
            if max_length != math.inf:
                at_least(max_length, 1, "max_length")
        self._origin = name
        self._options = QueueOptions(
            ordering,
            None if lease is None else seconds(lease, "lease"),
            retry,
            None if max_hold is None else seconds(max_hold, "max_hold", infinite=True),
            None if unique_for is None else seconds(unique_for, "unique_for", infinite=True),
            max_length,
        )
        self._raw = self._jobs = context.backend.queue(name, self._wire)
        self._counters = context.counters

    async def _declare(self) -> None:
        self._note(self._options, await self._jobs.declare(self._options))
        self._found()

    async def _open(self) -> None:
        await self._jobs.config()
        self._found()

    def _found(self) -> None:
        self._plain = self._sender(self._jobs.put_now if self._context.sync else self._jobs.put)

    def put(
        self,
        value: T,
        *,
        key: str | bytes | None = None,
        delay: float | timedelta | datetime = 0,
        priority: int = 0,
        ttl: float | timedelta | None = None,
        unique: str | None = None,
        on_duplicate: Literal["return", "raise"] = "return",
        headers: Headers | None = None,
        time: datetime | None = None,
    ) -> Coroutine[Any, Any, str]:
        """Stores one job.

        Args:
            key: with `ordering="key"`, one key's jobs are done one at a time, in order.
            delay: seconds, a timedelta, or an aware datetime; the past is now.
            priority: 0 to 9, higher first and strict; first in, first out within one.
            ttl: seconds from when it is due; then it is not handed out any more.
            unique: while an unfinished job has this word (or for `unique_for`), it is not put again: the first one's id comes back.
            on_duplicate: "raise" DuplicateError instead.
            headers: str to str.
            time: the event time, aware; default: the engine's clock.

        Returns:
            The job's id, once it is as safe as `capabilities.acknowledged` says.

        Raises:
            FullError: the queue is at its `max_length`.
            DuplicateError, EncodeError, TooLargeError, StorageFullError, UnsupportedError: nothing was put.
        """
        plain = self._plain
        if (
            plain is not None and key is None and delay == 0 and priority == 0 and ttl is None and unique is None and headers is None
            and time is None and on_duplicate == "return" and ident() == self._thread
        ):  # fmt: skip
            self._counters.put += 1
            try:
                found: Coroutine[Any, Any, str] = plain(value)
                return found
            except Exception as error:
                return failed(self._explained(error, value))
        if self._declared and ident() == self._thread:
            try:
                sent: Coroutine[Any, Any, str] = self._put(value, key, delay, priority, ttl, unique, on_duplicate, headers, time)
                return sent
            except Exception as error:
                return failed(error)
        return self._put_later(value, key, delay, priority, ttl, unique, on_duplicate, headers, time)

    async def _put_later(self, *arguments: Any) -> str:
        await self._ready()
        job: str = await self._put(*arguments)
        return job

    def _put(
        self,
        value: T,
        key: str | bytes | None,
        delay: float | timedelta | datetime,
        priority: int,
        ttl: float | timedelta | None,
        unique: str | None,
        on_duplicate: Literal["return", "raise"],
        headers: Headers | None,
        time: datetime | None,
    ) -> Any:
        """With options, declared: an awaitable on an asynchronous connection, the id on a synchronous one."""
        one_of(on_duplicate, ("return", "raise"), "on_duplicate")
        due, priority, ttl, when = self._times(delay, priority, ttl, unique, time)
        content_type = BYTES if self._coding.any and isinstance(value, BYTES_LIKE) else None
        send: Any = self._jobs.put_now if self._context.sync else self._jobs.put
        self._counters.put += 1
        try:
            return send(
                value, key=key_of(key), due_ns=due, priority=priority, ttl=ttl, unique=unique, on_duplicate=on_duplicate,
                headers=headers_of(headers), time_ns=when, content_type=content_type,
            )  # fmt: skip
        except Exception as error:
            told = self._explained(error, value)
            raise told from told.__cause__

    def _times(
        self, delay: float | timedelta | datetime, priority: int, ttl: float | timedelta | None, unique: str | None, time: datetime | None
    ) -> tuple[int | None, int, float | None, int | None]:
        refuse = self._context.refuse
        due = None
        if delay != 0:
            refuse("queue", Feature.DELAY)
            due = due_ns(delay)
        if priority != 0:
            refuse("queue", Feature.PRIORITY)
        if ttl is not None:
            refuse("queue", Feature.TTL)
            ttl = seconds(ttl, "ttl")
        if unique is not None:
            refuse("queue", Feature.UNIQUE)
            text_of(unique, "unique")
        if time is not None:
            refuse("queue", Feature.SET_TIME)
        return due, priority_of(priority), ttl, None if time is None else time_ns(time)

    async def put_many(self, items: Iterable[T | Item[T]], *, atomic: bool = False) -> list[str]:
        """Stores a batch, in order.

        Args:
            items: values, or `Item`s with options of their own.
            atomic: all or none.

        Returns:
            An id for each; for a duplicate, the first one's.

        Raises:
            BatchError: some failed; `.results` has an id or an exception for each. With `atomic` nothing was put.
        """
        await self._ready()
        if atomic:
            self._context.refuse("queue", Feature.ATOMIC_BATCH)
        values = items_of(items)
        if not values:
            return []
        self._counters.put += len(values)
        plain = is_plain(values, self._coding.any)
        try:
            results = await self._jobs.put_many(values if plain else [self._entry_of(value) for value in values], atomic)
        except Exception as error:
            told = self._first_explained(error, values)
            raise told from told.__cause__
        return self._outcomes(values, results, "jobs")

    def _entry_of(self, value: Any) -> Any:
        key = headers = when = due = ttl = unique = None
        priority = 0
        if isinstance(value, Item):
            item: Item[Any] = value  # pyright: ignore[reportUnknownVariableType] - of any T, which is all that is wanted
            if item.id is not None:
                raise UsageError("id is for a stream's items; a queue's have `unique`")
            due, priority, ttl, when = self._times(item.delay, item.priority, item.ttl, item.unique, item.time)
            value, key, headers, unique = item.value, key_of(item.key), headers_of(item.headers), item.unique
        content_type = BYTES if self._coding.any and isinstance(value, BYTES_LIKE) else None
        return (value, key, headers, when, due, priority, ttl, unique, content_type)

    async def cancel(self, job_id: str) -> bool:
        """Takes a job back.

        Returns:
            True: it will not be done. False: it is done or dead already, or in a consumer's hands, who is not interrupted.

        Raises:
            NotFoundError: there never was such a job.
        """
        if not isinstance(job_id, str) or not job_id:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise UsageError(f"job_id is what put returned, not {job_id!r}")
        await self._ready()
        self._context.refuse("queue", Feature.CANCEL)
        return await self._jobs.cancel(job_id)

    async def purge(self) -> int:
        """Forgets every job that is not in a consumer's hands (dead letters stay); answers how many."""
        await self._ready()
        return await self._jobs.purge()
