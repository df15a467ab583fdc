"""What the arguments of several patterns mean: times, delays, keys, headers."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from .._engine import Position
from ..abc import Headers
from ..errors import UsageError
from ..message import Item

#: What travels as it is where any type may come.
BYTES_LIKE = (bytes, bytearray, memoryview)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def time_ns(time: datetime, what: str = "time") -> int:
    """An aware datetime as ns since 1970 UTC."""
    if not isinstance(time, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"{what} is a datetime, not {type(time).__name__}")
    if time.tzinfo is None or time.utcoffset() is None:
        raise UsageError(f"{what}={time.isoformat()} has no time zone: an aware datetime says which instant is meant")
    # Integers throughout: a float has no room for the microseconds of this century.
    return _in_range((time - _EPOCH) // MICROSECOND * 1000, f"{what}={time.isoformat()}")


def _in_range(ns: int, what: str) -> int:
    """Times are stored as 64 bits of nanoseconds."""
    if not -(2**63) <= ns < 2**63:
        raise UsageError(f"{what} is not between the years 1678 and 2262, which is what can be stored")
    return ns


def seconds(value: float | timedelta, what: str, *, zero: bool = False, infinite: bool = False) -> float:
    """A duration in seconds, above 0 (or from 0), finite (or not)."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"{what} is a number of seconds or a timedelta, not {type(value).__name__}")
    if math.isnan(value) or (value <= 0 and not (zero and value == 0)) or (math.isinf(value) and not infinite):
        raise UsageError(f"{what} must be {'at least' if zero else 'above'} 0{'' if infinite else ' and finite'}, not {value!r} seconds")
    return float(value)


def due_ns(delay: float | timedelta | datetime) -> int | None:
    """When a delayed message is due, ns since 1970 UTC; None: now. The past is now."""
    if isinstance(delay, datetime):
        due = time_ns(delay, "delay")
        return due if due > clock.time_ns() else None
    if isinstance(delay, timedelta):
        return _in_range(clock.time_ns() + delay // MICROSECOND * 1000, f"delay={delay}") if delay > timedelta(0) else None
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not math.isfinite(delay):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"delay is seconds, a timedelta or an aware datetime, not {delay!r}")
    return _in_range(clock.time_ns() + round(delay * 1e9), f"delay={delay}") if delay > 0 else None


def priority_of(priority: int) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"priority is a whole number from 0 to 9, not {priority!r}")
    return priority


def key_of(key: str | bytes | None) -> str | bytes | None:
    if key is not None and not isinstance(key, (str, bytes)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"key is str or bytes, not {type(key).__name__}")
    return key


def text_of(value: str | None, what: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"{what} is a str of at least one character, not {value!r}")
    return value


def headers_of(headers: Headers | None) -> Headers | None:
    """Checks headers: a mapping of str to str, or pairs of str and bytes."""
    if headers is None:
        return None
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    kind: type = str if isinstance(headers, Mapping) else bytes
    if not isinstance(headers, (Mapping, Sequence)) or isinstance(headers, (str, bytes)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"headers are a mapping of str to str, or pairs of str and bytes, not {type(headers).__name__}")
    for pair in pairs:
        two = cast("Any", pair) if isinstance(pair, tuple) else ()
        if len(two) != 2 or not isinstance(two[0], str) or not isinstance(two[1], kind):
            raise UsageError("headers are a mapping of str to str, or a sequence of pairs of str and bytes")
    return headers or None


def at_least(value: float | None, low: int, what: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UsageError(f"{what} is a whole number, at least {low}, not {value!r}")
    return value


def instance_of(value: Any, kind: type, what: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{what} is a {kind.__name__}, not {value!r}")


def one_of(value: Any, choices: tuple[Any, ...], what: str) -> None:
    if value not in choices:
        raise UsageError(f"{what}={value!r}: it is one of {', '.join(repr(each) for each in choices)}")


def place_of(place: Literal["earliest", "latest"] | Position | datetime, what: str, stream: str) -> Literal["earliest", "latest"] | Position | int:
    """A place in `stream` as backends take it: times in ns."""
    if isinstance(place, datetime):
        return time_ns(place, what)
    if isinstance(place, Position):
        return position_of(place, what, stream)
    if place in ("earliest", "latest"):
        return place
    raise UsageError(f'{what} is "earliest", "latest", a Position or an aware datetime, not {place!r}')


def position_of(value: Any, what: str, stream: str) -> Position:
    """A position of `stream`, or one that names no stream."""
    if not isinstance(value, Position):
        raise UsageError(f"{what} takes a Position, not {value!r}")
    if value.stream not in ("", stream):
        raise UsageError(f"{what}={value} is not a position of stream {stream!r}")
    return value


def items_of(items: Any) -> list[Any]:
    """A batch as a list, the caller's own where it is one."""
    if isinstance(items, (str, bytes, bytearray, memoryview, Mapping)):
        # Each letter, byte or key would go as a message.
        raise UsageError(f"a batch is an iterable of values or Items, not {type(cast('Any', items)).__name__}")
    if not isinstance(items, Iterable):
        raise UsageError(f"a batch is an iterable of values or Items, not {items!r}")
    return cast("list[Any]", items) if isinstance(items, list) else list(cast("Iterable[Any]", items))


def is_plain(values: list[Any], anything: bool) -> bool:
    """Whether a batch can go as it is: no Item, no tuple (which backends take for an entry with options), and where values of any
    type may come, no bytes. Looks at each type once."""
    special = (Item, tuple, *BYTES_LIKE) if anything else (Item, tuple)
    return not any(issubclass(kind, special) for kind in set(map(type, values)))
