"""The decorator that makes a test of a property: selected by the engine's capabilities, run in a loop of its own, bounded in time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.target import Target, Trial

Needs = Mapping[str, Sequence[Feature]]
Property = Callable[[Trial], Awaitable[None]]


def proves(
    *numbers: int, needs: Needs | None = None, processes: bool = False, files: bool = False, seconds: float = 90.0
) -> Callable[[Property], Callable[[Target], None]]:
    """Marks an async function of a Trial as the proof of the properties `numbers` of the conformance list.

    needs: pattern to features, e.g. {"queue": [Feature.DELAY]}. Where the engine refuses one of them, the test asserts instead that
        asking for it raises UnsupportedError with advice; an engine that lacks the pattern must refuse to declare it.
    processes: needs processes other than this one. An engine that can't be shared must not claim to outlive its process.
    files: needs the engine's files.
    seconds: the most it may take.
    """
    wanted = needs or {}

    def decorate(function: Property) -> Callable[[Target], None]:
        def test(target: Target) -> None:
            asyncio.run(_run(target, function, wanted, processes, files, seconds))

        # Not functools.wraps: its __wrapped__ would show pytest the parameters of the function within.
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(test, name, getattr(function, name))
        test.numbers = numbers  # type: ignore[attr-defined]
        test.needs = wanted  # type: ignore[attr-defined]
        return test

    return decorate


async def _run(target: Target, function: Property, needs: Needs, processes: bool, files: bool, seconds: float) -> None:
    async with asyncio.timeout(seconds), Trial(target) as trial:
        refused = [
            (pattern, feature) for pattern, features in needs.items() for feature in features if level(trial.conn, pattern, feature) == "REFUSED"
        ]
        lacking = [pattern for pattern in needs if lacks(trial.conn, pattern)]
        if lacking or refused:
            for pattern in lacking:
                refuses(partial(declare, trial.conn, pattern, trial.name()))
            for pattern, feature in refused:
                if pattern not in lacking:
                    refuses(partial(declare, trial.conn, pattern, trial.name(), feature), feature)
        elif processes and not target.processes:
            assert "process" not in trial.conn.capabilities.survives
        elif files and target.directory is None:
            assert trial.conn.capabilities.acknowledged in ("memory", "replicated")
        else:
            await function(trial)


def lacks(conn: hw.Connection, pattern: str) -> bool:
    """Whether the engine has nothing of a pattern."""
    return not conn.capabilities.pattern(pattern).supported


def level(conn: hw.Connection, pattern: str, feature: Feature) -> str:
    return conn.capabilities.pattern(pattern)[feature].level.name


def declare(conn: hw.Connection, pattern: str, name: str, *needs: Feature) -> object:
    """Declares something of `pattern` that asks for `needs`; does no I/O."""
    if pattern == "group":
        stream = conn.stream(name, bytes)
        return stream.group("g", needs=needs) if "needs" in inspect.signature(stream.group).parameters else stream.group("g")
    return getattr(conn, pattern)(name, bytes, needs=needs)


def refuses(action: Callable[[], object], feature: Feature | None = None) -> None:
    """Asserts that `action` raises UnsupportedError, with the feature, how the engine stands to it, and what would serve instead."""
    with pytest.raises(hw.UnsupportedError) as caught:
        action()
    assert feature is None or caught.value.feature == feature
    assert caught.value.engine
    assert caught.value.instead, "a refusal comes with advice"
