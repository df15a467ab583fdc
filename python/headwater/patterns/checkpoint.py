"""Where a reader stands, to go on from later."""

from __future__ import annotations

from dataclasses import dataclass

from .._engine import Position
from ..errors import UsageError

__all__ = ["Checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A reader's place in every shard of a stream: `read(after=checkpoint)` goes on behind it. `str()` and `parse()` are inverse,
    as in `42@orders`, or `42.0,17.1@orders` for two shards."""

    positions: tuple[Position, ...]

    def __str__(self) -> str:
        if not self.positions:
            return ""
        stream = self.positions[0].stream
        alone = len(self.positions) == 1 and self.positions[0].shard == 0
        places = ",".join(str(each.seq) if alone else f"{each.seq}.{each.shard}" for each in self.positions)
        return f"{places}@{stream}" if stream else places

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """UsageError where `text` is not what `str()` of a checkpoint gives."""
        # A stream's name may hold "," and "@", a place neither.
        places, at, stream = text.partition("@")
        try:
            return cls(tuple(Position.parse(f"{place}{at}{stream}") for place in places.split(","))) if text else cls(())
        except ValueError as error:
            raise UsageError(f"{text!r} is not a checkpoint: {error}") from error
