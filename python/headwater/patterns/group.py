"""Groups: named consumers that share one stream, with progress that outlives them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from .._engine import Position
from ..abc import GroupOptions, Ordering
from ..capabilities import Feature
from ..names import check_name
from ..retry import Retry
from .arguments import one_of, place_of, seconds
from .context import Context
from .source import Source

if TYPE_CHECKING:
    from .stream import Stream

T = TypeVar("T")

__all__ = ["Group"]


class Group(Source[T]):
    """Consumers of one name that share a stream. Made by `Stream.group`.

    ```python
    billing = orders.group("billing", ordering="key")
    await billing.run(handle, concurrency=8)
    ```
    """

    pattern = "group"

    def __init__(
        self,
        stream: Stream[T],
        context: Context,
        name: str,
        *,
        ordering: Ordering | None,
        start: Literal["earliest", "latest"] | Position | datetime | None,
        lease: float | timedelta | None,
        retry: Retry | None,
        max_hold: float | timedelta | None,
        needs: Iterable[Feature | str],
    ) -> None:
        super().__init__(context, check_name(name), stream.type, stream.codec, needs, retry)
        check_ordering(context, self.pattern, ordering)
        self._stream = stream
        self._origin = f"{stream.name}/{name}"
        self._options = GroupOptions(
            ordering,
            None if start is None else place_of(start, "start", stream.name),
            None if lease is None else seconds(lease, "lease"),
            retry,
            None if max_hold is None else seconds(max_hold, "max_hold", infinite=True),
        )
        # Its messages bear the stream's name, and are decoded as the stream's.
        self._wire = stream.wire
        self._raw = self._group = stream.raw.group(name)

    @property
    def stream(self) -> Stream[T]:
        """The stream it reads."""
        return self._stream

    @property
    def _label(self) -> str:
        return f"group {self._name!r} of stream {self._stream.name!r}"

    async def _declare(self) -> None:
        await self._stream.made()
        self._note(self._options, await self._group.declare(self._options))

    async def _open(self) -> None:
        await self._stream.open()
        await self._group.config()

    async def lag(self) -> int | None:
        """Records appended that this group has not finished; None where the engine can't know."""
        await self._ready()
        return await self._raw.lag() if self._context.has("group", Feature.LAG) else None

    async def seek(self, to: Literal["earliest", "latest"] | Position | datetime) -> None:
        """Moves the group: it delivers from there on, whatever it did before, and to this group alone. What is in hand is lost to
        its holders. To a time: the first record with an event time at or after it."""
        target = place_of(to, "seek", self._stream.name)
        await self._ready()
        self._context.refuse("group", Feature.SEEK)
        await self._raw.seek(target)


def check_ordering(context: Context, pattern: str, ordering: Ordering | None) -> None:
    """UsageError for a wrong word, UnsupportedError for an order that the engine cannot keep."""
    if ordering is not None:
        one_of(ordering, ("none", "key", "total"), "ordering")
        if ordering != "none":
            context.refuse(pattern, Feature.KEY_ORDER if ordering == "key" else Feature.TOTAL_ORDER)
