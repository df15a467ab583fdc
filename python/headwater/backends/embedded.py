"""What the embedded engine guarantees, in a directory and in memory."""

from __future__ import annotations

from types import MappingProxyType

from ..capabilities import Capabilities, Feature, PatternSupport, Support
from .tables import absent, pattern

_LATER = "this version has no such pattern yet"
_NOT_SHARED = "its files are its own: no other program writes them"


def _with(base: PatternSupport, **supports: Support) -> PatternSupport:
    return PatternSupport(base.supported, MappingProxyType({**base.features, **{Feature(name): each for name, each in supports.items()}}))


EMBEDDED = Capabilities(
    engine="embedded",
    acknowledged="memory",
    survives=frozenset(),
    channel=pattern(
        "WILDCARDS SUBSCRIBE_CONFIRMED DROPPED_COUNT SET_TIME",
        refused={"PERSIST": ("a channel keeps nothing", "a stream"), "REPLAY": ("a channel keeps nothing", "a stream"), "FOREIGN": _NOT_SHARED},
    ),
    queue=_with(
        pattern(
            "PERSIST SET_TIME AT_LEAST_ONCE LEASE_LIVENESS LEASE_EXTENSION ATOMIC_BATCH KEY_ORDER TOTAL_ORDER PRIORITY TTL UNIQUE CANCEL "
            "DEAD_LETTERS MAX_LENGTH LAG",
            refused={
                "REPLAY": ("a job that is done is gone", "a stream with a group"),
                "SEEK": ("a queue has no past", "a stream with a group"),
                "TRANSACTION": _LATER,
                "FOREIGN": _NOT_SHARED,
            },
        ),
        DELAY=Support.native("by the engine's own timer", tolerance_s=0.05),
        KEY_ISOLATION=Support.native("a failing key waits alone"),
    ),
    stream=_with(
        pattern(
            "PERSIST REPLAY REPLAY_FROM_TIME SET_TIME ATOMIC_BATCH EXPECT EXPECT_KEY TOTAL_ORDER READ_BY_KEY RETENTION",
            refused={"COMPACTION": _LATER, "TRANSACTION": _LATER, "FOREIGN": _NOT_SHARED},
        ),
        IDEMPOTENT_APPEND=Support.native("by id", window_s=600, window_ids=1_000_000),
    ),
    group=_with(
        pattern(
            "PERSIST REPLAY REPLAY_FROM_TIME AT_LEAST_ONCE LEASE_LIVENESS LEASE_EXTENSION KEY_ORDER TOTAL_ORDER DEAD_LETTERS LAG SEEK",
            refused={"TRANSACTION": _LATER, "FOREIGN": _NOT_SHARED},
        ),
        KEY_ISOLATION=Support.native("a failing key waits alone"),
    ),
    call=absent(_LATER),
    table=absent(_LATER, "a stream with expect_key="),
    entity=absent(_LATER, "a stream with expect_key="),
)
