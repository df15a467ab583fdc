"""The retry policy, and the two exceptions by which a handler decides for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from .errors import UsageError

__all__ = ["RejectMessage", "Retry", "RetryLater"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a failed message is tried again: `min(max_delay, delay * factor**(attempt - 1))` seconds after attempt
    number `attempt`, spread by ± `jitter` of it.

    max_attempts: counts the first; None: for ever. delay, max_delay: seconds or timedelta. on: exceptions that are tried again;
    give_up_on: those that are not, though `on` names them; any other makes a dead letter at once.

    The numbers are stored with the queue or group, so that all workers obey one rule; `on` and `give_up_on` are this process's.
    """

    max_attempts: int | None = 5
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1
    on: tuple[type[BaseException], ...] = field(default=(Exception,), compare=False)
    give_up_on: tuple[type[BaseException], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("delay", "max_delay"):
            value = getattr(self, name)
            if isinstance(value, timedelta):
                object.__setattr__(self, name, value.total_seconds())
        for name in ("on", "give_up_on"):
            given: Any = getattr(self, name)
            kinds = tuple(cast("list[Any]", given)) if isinstance(given, (tuple, list, set, frozenset)) else (given,)
            if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                raise UsageError(f"Retry.{name} takes exception classes, not {given!r}")
            object.__setattr__(self, name, kinds)
        most: Any = self.max_attempts
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise UsageError(f"Retry.max_attempts counts the first attempt, so it is a whole number of at least 1, not {most!r}")
        for name, low in (("delay", 0.0), ("factor", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if not (_is_number(value) and math.isfinite(value) and value >= low):
                raise UsageError(f"Retry.{name} must be finite and at least {low:g}, not {value!r}")
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise UsageError(f"Retry.jitter is a share from 0 to 1, not {self.jitter!r}")

    def retries(self, error: BaseException) -> bool:
        """Whether a message that failed with `error` is tried again."""
        return isinstance(error, self.on) and not isinstance(error, self.give_up_on)

    def delay_after(self, attempt: int, spread: float = 0.0) -> float:
        """Seconds to wait after attempt number `attempt`; spread: -1 to 1, where in the jitter's width."""
        # A float power overflows long before `max_delay` matters.
        exponent = min(attempt - 1, 1000 if self.factor <= 2 else 400)
        try:
            base = self.delay * self.factor**exponent
        except OverflowError:
            base = math.inf
        return min(self.max_delay, base) * (1 + self.jitter * spread)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class RetryLater(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: try this message again, after `delay` seconds (None: as the policy says). The attempt counts.

    UsageError for a delay that is no number of seconds from 0 on."""

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(reason or "try again later")
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if self.delay is not None and not (_is_number(self.delay) and math.isfinite(self.delay) and self.delay >= 0):
            raise UsageError(f"RetryLater(delay=) must be finite and at least 0 seconds, not {delay!r}")


class RejectMessage(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: this message can never be done; make it a dead letter at once."""

    def __init__(self, reason: str = "rejected") -> None:
        super().__init__(reason)
        self.reason = reason
