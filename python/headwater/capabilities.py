"""What an engine can do, as values: written once per backend, read by refusals, the conformance suite, the documentation, `doctor`.

A backend writes one `CAPABILITIES`; the probe at connect narrows or widens it (`Capabilities.but`). A feature that a pattern's
table does not name is refused.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from .errors import UnsupportedError, UsageError

__all__ = ["Capabilities", "Feature", "Level", "PatternSupport", "Support"]

Acknowledged = Literal["memory", "page-cache", "fsync", "replicated"]
Survives = Literal["process", "power", "node"]


class Feature(enum.StrEnum):
    """One guarantee. `needs=(Feature.DELAY,)` at a declaration refuses an engine without it."""

    PERSIST = "PERSIST"
    """What was acknowledged outlives the processes."""
    REPLAY = "REPLAY"
    """What was consumed can be read again."""
    REPLAY_FROM_TIME = "REPLAY_FROM_TIME"
    """Reading and seeking by time."""
    SET_TIME = "SET_TIME"
    """`time=` sets the event time."""
    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    """A message that was not acknowledged comes again."""
    LEASE_LIVENESS = "LEASE_LIVENESS"
    """A lease lives as long as its process and object, whatever the loop and the GIL do."""
    LEASE_EXTENSION = "LEASE_EXTENSION"
    """`extend()`."""
    IDEMPOTENT_APPEND = "IDEMPOTENT_APPEND"
    """`id=`: appended once in the window."""
    ATOMIC_BATCH = "ATOMIC_BATCH"
    """`atomic=True`: all of a batch or none."""
    EXPECT = "EXPECT"
    """`expect=`: append only at this position."""
    EXPECT_KEY = "EXPECT_KEY"
    """`expect_key=`: append only if the key stands at this position."""
    KEY_ORDER = "KEY_ORDER"
    """`ordering="key"`."""
    KEY_ISOLATION = "KEY_ISOLATION"
    """A failing key holds up no other."""
    TOTAL_ORDER = "TOTAL_ORDER"
    """`ordering="total"`."""
    READ_BY_KEY = "READ_BY_KEY"
    """`read(key=)`."""
    PRIORITY = "PRIORITY"
    DELAY = "DELAY"
    TTL = "TTL"
    UNIQUE = "UNIQUE"
    CANCEL = "CANCEL"
    DEAD_LETTERS = "DEAD_LETTERS"
    MAX_LENGTH = "MAX_LENGTH"
    LAG = "LAG"
    SEEK = "SEEK"
    RETENTION = "RETENTION"
    COMPACTION = "COMPACTION"
    TRANSACTION = "TRANSACTION"
    WILDCARDS = "WILDCARDS"
    SUBSCRIBE_CONFIRMED = "SUBSCRIBE_CONFIRMED"
    """Once subscribed, every later publish is heard."""
    DROPPED_COUNT = "DROPPED_COUNT"
    """`sub.dropped` is exact."""
    CALL = "CALL"
    NO_RESPONDER = "NO_RESPONDER"
    """A call without a server fails at once."""
    HISTORY = "HISTORY"
    WATCH = "WATCH"
    FOREIGN = "FOREIGN"
    """Messages that other programs wrote can be read, and ours by them."""


class Level(enum.StrEnum):
    NATIVE = "NATIVE"
    EMULATED = "EMULATED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Support:
    """How an engine stands to one feature.

    level: native, emulated or refused. how: by which means, or why not. instead: what would serve where it is refused.
    limits: named bounds of it, as in `{"tolerance_s": 0.05}`.
    """

    level: Level
    how: str = ""
    instead: str = ""
    limits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType[str, Any]({}))

    def __bool__(self) -> bool:
        return self.level is not Level.REFUSED

    @classmethod
    def native(cls, how: str = "", **limits: Any) -> Support:
        return cls(Level.NATIVE, how, "", MappingProxyType(limits))

    @classmethod
    def emulated(cls, how: str, **limits: Any) -> Support:
        return cls(Level.EMULATED, how, "", MappingProxyType(limits))

    @classmethod
    def refused(cls, how: str, instead: str = "") -> Support:
        return cls(Level.REFUSED, how, instead)


@dataclass(frozen=True, slots=True)
class PatternSupport(Mapping[Feature, Support]):
    """One pattern on one engine: `capabilities.queue[Feature.DELAY]`. `supported` is about the pattern as a whole."""

    supported: Support
    features: Mapping[Feature, Support] = field(default_factory=lambda: MappingProxyType[Feature, Support]({}))

    def __getitem__(self, feature: Feature, /) -> Support:
        if not self.supported:
            return self.supported
        try:
            return self.features[Feature(feature)]
        except KeyError:
            return Support.refused("this pattern has no such feature on this engine")
        except ValueError:
            raise UsageError(f"{feature!r} is not a feature; see headwater.Feature") from None

    def __iter__(self) -> Iterator[Feature]:
        return iter(Feature)

    def __len__(self) -> int:
        return len(Feature)

    def __bool__(self) -> bool:
        return bool(self.supported)


PATTERNS = ("channel", "queue", "stream", "group", "call", "table", "entity")
_ABSENT = PatternSupport(Support.refused("the engine has no such pattern"))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one engine guarantees, pattern by pattern.

    engine: its name in errors. acknowledged: what a returned `append` or `put` means ("memory", "page-cache", "fsync",
    "replicated"). survives: what acknowledged data survives, of "process", "power", "node". server: the version found, if any.
    """

    engine: str
    acknowledged: Acknowledged
    survives: frozenset[Survives]
    channel: PatternSupport = _ABSENT
    queue: PatternSupport = _ABSENT
    stream: PatternSupport = _ABSENT
    group: PatternSupport = _ABSENT
    call: PatternSupport = _ABSENT
    table: PatternSupport = _ABSENT
    entity: PatternSupport = _ABSENT
    server: str | None = None

    def pattern(self, name: str) -> PatternSupport:
        if name not in PATTERNS:
            raise UsageError(f"{name!r} is not a pattern; they are {', '.join(PATTERNS)}")
        support: PatternSupport = getattr(self, name)
        return support

    def but(self, changes: Mapping[str, Mapping[Feature, Support]] | None = None, **fields: Any) -> Capabilities:
        """These capabilities as a probe corrected them: single features by pattern (`changes`), and whole fields."""
        patterns: dict[str, Any] = {
            name: PatternSupport(self.pattern(name).supported, MappingProxyType({**self.pattern(name).features, **features}))
            for name, features in (changes or {}).items()
        }
        return replace(self, **patterns, **fields)

    def require(self, pattern: str, needs: Iterable[Feature | str] = ()) -> None:
        """UnsupportedError where the pattern, or a feature of it in `needs`, is refused."""
        table = self.pattern(pattern)
        if not table:
            raise UnsupportedError(
                _refusal(f"{pattern}s", self.engine, table.supported),
                engine=self.engine,
                how=table.supported.how,
                instead=table.supported.instead,
            )
        for need in needs:
            try:
                feature = Feature(need)
            except ValueError:
                raise UsageError(f"{need!r} is not a feature; see headwater.Feature") from None
            support = table[feature]
            if not support:
                if not support.instead:
                    support = replace(support, instead=self._elsewhere(pattern, feature))
                raise UnsupportedError(
                    _refusal(f"{feature} of a {pattern}", self.engine, support),
                    feature=feature,
                    engine=self.engine,
                    how=support.how,
                    instead=support.instead,
                )

    def _elsewhere(self, pattern: str, feature: Feature) -> str:
        """Advice where the table has none: this engine's patterns that have the feature."""
        others = [f"a {name}" for name in PATTERNS if name != pattern and self.pattern(name)[feature]]
        return f"{' or '.join(others)} of this engine has it" if others else "another engine; the table of guarantees shows which has it"


def _refusal(what: str, engine: str, support: Support) -> str:
    instead = f"; instead: {support.instead}" if support.instead else ""
    return f"{engine} does not support {what}: {support.how}{instead}"
