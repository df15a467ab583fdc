"""What groups and queues of the embedded engine have in common, and groups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .. import _engine
from .._engine import Delivery, Position
from ..abc import DeadEntry, Declared, ErrorNote, Group, GroupOptions, Hooks, Iterating, Source, Wire
from ..errors import DeclarationError, UsageError
from ..message import SourceStats
from .link import Link, source_arguments, stored

if TYPE_CHECKING:
    from .stream import EmbeddedStream


class EmbeddedSource(Source):
    """Over the engine's source, which `native` opens at the first need."""

    def __init__(self, link: Link, name: str, wire: Wire) -> None:
        self._link = link
        self._name = name
        self._wire = wire
        self._source: _engine.Source | None = None

    @abstractmethod
    async def native(self) -> _engine.Source:
        """The engine's source. NotFoundError where it was never declared."""

    def _given(self) -> _engine.Source:
        # Whoever settles was given a delivery, by a source that is open.
        if self._source is None:
            raise UsageError(f"{self._name!r} has given out no delivery")
        return self._source

    async def config(self) -> Mapping[str, Any]:
        return stored(await self._link.call((await self.native()).config))

    async def consumer(self, prefetch: int, hooks: Hooks, eager: bool = True) -> Iterating[Delivery[Any]]:
        native = await self.native()
        return native.consumer(self._wire.decoding, prefetch=prefetch, waiting=self._link.waiter, hooks=hooks, eager=eager, sync=self._link.sync)

    async def ack_many(self, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
        return await self._link.quick(self._given().ack_many, deliveries)

    async def retry(self, delivery: Delivery[Any], delay: float | None, counted: bool, error: ErrorNote | None) -> Literal["retry", "dead"]:
        source, note = self._given(), _note(error)
        return await self._link.quick(lambda: source.retry(delivery, delay=delay, counted=counted, error=note))

    async def reject(self, delivery: Delivery[Any], reason: str, error: ErrorNote | None) -> None:
        await self._link.quick(self._given().reject, delivery, reason, _note(error))

    async def release(self, deliveries: Sequence[Delivery[Any]]) -> None:
        await self._link.quick(self._given().release, deliveries)

    async def stats(self) -> SourceStats:
        found = await self._link.call((await self.native()).stats)
        return SourceStats(
            ready=found["ready"],
            delayed=found["delayed"],
            leased=found["leased"],
            dead=found["dead"],
            oldest_age=found["oldest_age"],
            oldest_lease=found["oldest_lease"],
            put_total=found["put_total"],
            acked_total=found["acked_total"],
            paused=found["paused"],
        )

    async def lag(self) -> int | None:
        return await self._link.call((await self.native()).lag)

    async def seek(self, to: Literal["earliest", "latest"] | Position | int) -> None:
        native = await self.native()
        if isinstance(to, Position):
            await self._link.call(native.seek, to.seq)
        elif isinstance(to, int):
            await self._link.call(native.seek_time, to)
        else:
            await self._link.call(native.seek, to)

    async def pause(self) -> None:
        await self._link.call((await self.native()).pause)

    async def resume(self) -> None:
        await self._link.call((await self.native()).resume)

    async def dead_read(self, after: str | None, max: int) -> list[DeadEntry]:
        found = await self._link.call((await self.native()).dead_list, self._wire.decoding, after, max)
        for _, facts in found:
            facts["reason"] = _reason(facts["reason"])
            for attempt in facts["history"]:
                attempt["error"] = _ENDS.get(attempt["outcome"])
        return [DeadEntry(message, **facts) for message, facts in found]

    async def dead_by_error(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for why, count in (await self._link.call((await self.native()).dead_by_error)).items():
            how, _, said = why.partition(": ")
            # By what it was, where the reason alone would be "max_attempts".
            why = said if how in _ENDS else _reason(why)
            counts[why] = counts.get(why, 0) + count
        return counts

    async def dead_edit(self, id: str, data: bytes, content_type: str) -> None:
        await self._link.call((await self.native()).dead_edit, id, data, content_type)

    async def dead_redrive(self, ids: Sequence[str] | None, max: int | None) -> int:
        return await self._link.call((await self.native()).dead_redrive, None if ids is None else list(ids), max)

    async def dead_purge(self) -> int:
        return await self._link.call((await self.native()).dead_purge)


#: What ended an attempt that no handler's exception did.
_ENDS = {"expired": "its consumer's process ended or stood still", "held": "held for longer than max_hold"}


def _reason(found: str) -> str:
    """The engine's reason, `how: what was said`, as DeadLetter has it."""
    how, _, said = found.partition(": ")
    if how in ("error", *_ENDS):
        # The last of its attempts: what they died of is in the history.
        return "max_attempts"
    return said if how == "rejected" and said.startswith(("undecodable: ", "not retried: ")) else found


def _note(error: ErrorNote | None) -> tuple[str, str, str] | None:
    return None if error is None else (error.kind, error.message, error.traceback)


def refuse_ordering(what: str, asked: str | None, found: Mapping[str, Any]) -> None:
    """DeclarationError where the ordering that was asked for is not the stored one."""
    if asked is not None and found["ordering"] != asked:
        raise DeclarationError(
            f"{what} is stored with ordering={found['ordering']!r}, which never changes; asked for {asked!r}", stored=found["ordering"], asked=asked
        )


class EmbeddedGroup(EmbeddedSource, Group):
    """A group of a stream."""

    def __init__(self, link: Link, stream: EmbeddedStream, name: str, wire: Wire) -> None:
        super().__init__(link, name, wire)
        self._stream = stream

    async def native(self) -> _engine.Source:
        if self._source is None:
            stream = await self._stream.native()
            self._source = await self._link.call(stream.open_group, self._name)
        return self._source

    async def _refuse_beyond(self, stream: _engine.Stream, place: Position) -> None:
        """A group behind the end would pass over what is appended until then, and say nothing."""
        following = (await self._link.call(stream.info))["next_seq"]
        if place.seq > following:
            raise UsageError(f"{place} is beyond the end of the stream of group {self._name!r}: the next position there is {following}")

    async def seek(self, to: Literal["earliest", "latest"] | Position | int) -> None:
        if isinstance(to, Position):
            await self._refuse_beyond(await self._stream.native(), to)
        await super().seek(to)

    async def declare(self, options: GroupOptions) -> Declared:
        stream = await self._stream.native()
        arguments = source_arguments(options)
        if isinstance(options.start, Position):
            # Where the group is there, its start is of no more interest.
            if self._name not in await self._link.call(stream.groups):
                await self._refuse_beyond(stream, options.start)
            arguments["start_seq"] = options.start.seq
        elif isinstance(options.start, int):
            arguments["start_time_ns"] = options.start
        elif options.start is not None:
            arguments["start"] = options.start
        self._source, before = await self._link.call(lambda: stream.declare_group(self._name, **arguments))
        after = await self._link.call(self._source.config)
        refuse_ordering(f"group {self._name!r}", options.ordering, after)
        return Declared(None if before is None else stored(before), stored(after))

    async def delete(self) -> None:
        await self._link.call((await self._stream.native()).delete_group, self._name)
        self._source = None
