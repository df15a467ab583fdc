"""The capabilities themselves: what is said of each feature is what happens when it is asked for (the rule above the list)."""

from __future__ import annotations

from functools import partial

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.proves import declare, lacks, level, proves, refuses
from headwater.testing.conformance.target import Trial

PATTERNS = ("channel", "queue", "stream")


@proves(0)
async def test_00_needs_are_met_or_refused(t: Trial) -> None:
    for pattern in PATTERNS:
        if lacks(t.conn, pattern):
            refuses(partial(declare, t.conn, pattern, t.name()))
            continue
        for feature in getattr(t.conn.capabilities, pattern):
            match level(t.conn, pattern, feature):
                case "REFUSED":
                    refuses(partial(declare, t.conn, pattern, t.name(), feature), feature)
                case "NATIVE" | "EMULATED":
                    declare(t.conn, pattern, t.name(), feature)
                case other:
                    raise AssertionError(other)


@proves(0)
async def test_00_supports_explain_themselves(t: Trial) -> None:
    capabilities = t.conn.capabilities
    assert capabilities.acknowledged in ("memory", "page-cache", "fsync", "replicated")
    assert set(capabilities.survives) <= {"process", "power", "node"}
    for pattern in PATTERNS:
        for feature, support in getattr(capabilities, pattern).items():
            assert isinstance(feature, Feature)
            if support.level.name == "REFUSED":
                assert support.how, (pattern, feature, "a refusal says why")
            if support.level.name == "EMULATED":
                assert support.how, (pattern, feature, "an emulation says how")


@proves(0, needs={"stream": []})
async def test_00_errors_of_the_tree(t: Trial) -> None:
    """No native exception leaves unmapped."""
    with pytest.raises(hw.HeadwaterError):
        await t.conn.stream(t.name(), bytes).append("not bytes")  # type: ignore[arg-type]
    with pytest.raises(hw.UsageError):
        async with hw.connect("no-such-scheme://x"):
            pass
    with pytest.raises(hw.UsageError):
        async with hw.connect(t.url + ("&" if "?" in t.url else "?") + "no_such_key=1"):
            pass
