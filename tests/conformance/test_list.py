"""The suite itself: its tests are numbered as the list is, and nothing of what this engine's patterns need is left out."""

from __future__ import annotations

import re

from headwater.testing import conformance

#: What the list asks of channels, queues, streams and groups without a server behind them. 31 is of schedules, 36 and 49 to 52 of
#: servers; 55 and 56 (signals) are in tests/faults/test_signals.py.
WANTED = {*range(1, 31), 32, 33, 34, 35, 37, *range(38, 49), 53, 54, *range(57, 63)}

TESTS = {name: getattr(conformance, name) for name in conformance.__all__ if name.startswith("test_")}


def test_every_number_has_a_test() -> None:
    numbered = {int(re.match(r"test_(\d\d)", name)[1]) for name in TESTS}  # type: ignore[index]
    assert numbered - {0} == WANTED


def test_names_say_the_number() -> None:
    for name, test in TESTS.items():
        for number in getattr(test, "numbers", ()):
            assert name.startswith(f"test_{number:02}"), name
        assert not hasattr(test, "numbers") or test.__module__.startswith("headwater.testing.conformance.")
