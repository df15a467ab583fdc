"""Dead letters: what nobody will be given any more, until it is put back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Generic, Self, TypeVar

from .. import abc
from .._engine import Decoding
from ..capabilities import Feature
from ..codec import Coding
from ..errors import UsageError
from ..message import DeadLetter
from .arguments import at_least, seconds
from .context import Context

T = TypeVar("T")

__all__ = ["DeadLetters", "DeadReader"]

PAGE = 200


class DeadLetters(Generic[T]):
    """The dead letters of a queue or group."""

    def __init__(
        self,
        context: Context,
        pattern: str,
        origin: str,
        raw: abc.Source,
        coding: Coding,
        decoding: Decoding,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        context.capabilities.require(pattern, (Feature.DEAD_LETTERS,))
        self._context = context
        self._origin = origin
        self._raw = raw
        self._coding = coding
        self._decoding = decoding
        self._ready = ready

    def __repr__(self) -> str:
        return f"<headwater dead letters of {self._origin!r}>"

    def read(self) -> DeadReader[T]:
        """Reads them in the order of their death; takes nothing away."""

        async def page(after: str | None, max: int) -> list[DeadLetter[T]]:
            await self._ready()
            entries = await self._raw.dead_read(after, max)
            return [DeadLetter.of(entry, self._decoding, self._origin) for entry in entries]

        return DeadReader(page)

    async def by_error(self) -> Mapping[str, int]:
        """How many there are by the kind of the last error, or the reason where no handler raised."""
        await self._ready()
        return await self._raw.dead_by_error()

    async def edit(self, id: str, value: T) -> None:
        """Replaces the value of one; the rest of it stays. NotFoundError where there is none. Redrive it afterwards."""
        data = self._coding.encoded(value, self._origin)
        await self._ready()
        await self._raw.dead_edit(id, data, self._coding.content_type_of(value))

    async def redrive(self, ids: Iterable[str] | None = None, max: int | None = None, rate: float | None = None) -> int:
        """Puts them back, each once, with attempts from 1 and the id they had.

        Args:
            ids: these; default: all that are dead when it is called.
            max: at most so many.
            rate: at most so many a second.

        Returns:
            How many were put back; ids that are not dead are passed over.
        """
        at_least(max, 1, "max")
        if isinstance(ids, str):
            # Each letter would be taken for an id.
            raise UsageError(f"ids is an iterable of ids, not one: write [{ids!r}]")
        chosen = None if ids is None else list(ids)
        await self._ready()
        if rate is None:
            return await self._raw.dead_redrive(chosen, max)
        pause = 1 / seconds(rate, "rate")
        if chosen is None:
            chosen = [letter.id async for letter in self.read()]
        done = 0
        # Ten steps a second at most: a high rate puts several back in one.
        step = int(0.1 / pause) or 1
        due = time.monotonic()
        for place in range(0, len(chosen), step):
            some = chosen[place : place + step]
            if max is not None:
                some = some[: max - done]
            if not some:
                break
            await self._context.backend.sleep(due - time.monotonic() if due > time.monotonic() else 0.0)
            done += await self._raw.dead_redrive(some, None)
            due += pause * len(some)
        return done

    async def purge(self) -> int:
        """Deletes them all; answers how many."""
        await self._ready()
        return await self._raw.dead_purge()


class DeadReader(Generic[T]):
    """Iterates over dead letters, page by page, to the last one that is there when it gets there."""

    def __init__(self, page: Callable[[str | None, int], Awaitable[list[DeadLetter[T]]]]) -> None:
        self._page = page
        self._letters: list[DeadLetter[T]] = []
        self._after: str | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __aiter__(self) -> AsyncIterator[DeadLetter[T]]:
        return self

    async def __anext__(self) -> DeadLetter[T]:
        letter = await self.next()
        if letter is None:
            raise StopAsyncIteration
        return letter

    async def next(self, timeout: float | None = None) -> DeadLetter[T] | None:
        """The next one; None at the end. It never waits for new ones, so `timeout` bounds nothing."""
        found = await self.next_many(1)
        return found[0] if found else None

    async def next_many(self, max: int = 1000, wait: float = 0.0) -> list[DeadLetter[T]]:
        """At most `max` more; none at the end. It never waits for new ones, so `wait` bounds nothing."""
        if not self._letters and not self._ended:
            # Newest last, and taken from the end: a list has no cheap front.
            self._letters = (await self._page(self._after, PAGE))[::-1]
            if self._letters:
                self._after = self._letters[0].id
            else:
                self._ended = True
        found: list[DeadLetter[T]] = []
        while self._letters and len(found) < max:
            found.append(self._letters.pop())
        return found

    def stop(self) -> None:
        """Ends it."""
        self._ended = True
        self._letters = []
