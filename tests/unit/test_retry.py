"""The retry policy as a value."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw


def test_defaults() -> None:
    policy = hw.Retry()
    assert [policy.delay_after(n) for n in range(1, 11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0}, {"max_attempts": -1}, {"delay": -1}, {"delay": math.nan}, {"delay": math.inf}, {"factor": 0.5}, {"max_delay": -1},
        {"jitter": 1.1}, {"jitter": -0.1}, {"jitter": math.nan}, {"on": ValueError("x")}, {"on": int}, {"give_up_on": ("ValueError",)},
    ],
    ids=str,
)  # fmt: skip
def test_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(hw.UsageError, match=next(iter(wrong))):
        hw.Retry(**wrong)


def test_which_exceptions() -> None:
    policy = hw.Retry(on=(OSError, ValueError), give_up_on=FileNotFoundError)  # type: ignore[arg-type] # one class alone is understood
    assert policy.retries(OSError())
    assert policy.retries(UnicodeError())
    assert not policy.retries(FileNotFoundError())
    assert not policy.retries(KeyError())
    assert not hw.Retry().retries(KeyboardInterrupt())


def test_timedelta() -> None:
    policy = hw.Retry(delay=timedelta(seconds=2), max_delay=timedelta(minutes=1))  # type: ignore[arg-type] # as the docstring says
    assert (policy.delay, policy.max_delay) == (2.0, 60.0)
    assert hw.RetryLater(timedelta(minutes=1)).delay == 60


def test_equal_by_what_is_stored() -> None:
    assert hw.Retry(on=(OSError,)) == hw.Retry()
    assert hw.Retry(delay=2) != hw.Retry()


@given(st.integers(1, 10**6), st.floats(0, 1e3), st.floats(1, 10), st.floats(0, 1e4), st.floats(0, 1), st.floats(-1, 1))
def test_bounds(attempt: int, delay: float, factor: float, longest: float, jitter: float, spread: float) -> None:
    found = hw.Retry(delay=delay, factor=factor, max_delay=longest, jitter=jitter).delay_after(attempt, spread)
    assert 0 <= found <= longest * (1 + jitter)


def test_stored_numbers_come_back() -> None:
    with hw.sync.connect("memory:") as conn:
        policy = hw.Retry(max_attempts=None, delay=0.5, factor=3, max_delay=9, jitter=0.5)
        queue = conn.queue("q", retry=policy)
        queue.declare()
        assert queue.config()["retry"] == policy
        assert conn.queue("q").config()["retry"] == policy
        assert conn.queue("other").config()["retry"] == hw.Retry()
