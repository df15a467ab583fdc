"""What the objects of one connection to the embedded engine share."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from .._engine import Engine, Ready
from ..abc import GroupOptions, QueueOptions
from ..retry import Retry
from .waiter import Waiter

T = TypeVar("T")


@dataclass(slots=True)
class Link:
    """engine: opened. waiter: how its operations wait. always: an acknowledgement waits for the disk."""

    engine: Engine
    waiter: Waiter
    sync: bool
    always: bool

    def call(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Something that reads or makes files: never on an event loop's own thread."""
        return self.waiter.call(function, *args)

    def quick(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Something that takes microseconds, but where the disk acknowledges: then it waits elsewhere."""
        if self.always and not self.sync:
            return self.waiter.call(function, *args)
        return Ready(function(*args))


def source_arguments(options: GroupOptions | QueueOptions) -> dict[str, Any]:
    """The options that were given, as the native module takes them."""
    retry = options.retry
    given = {
        "ordering": options.ordering,
        "lease": options.lease,
        "retry": None if retry is None else retry_fields(retry),
        "max_hold": options.max_hold,
    }
    return {name: value for name, value in given.items() if value is not None}


def retry_fields(retry: Retry) -> dict[str, Any]:
    """The numbers of a policy, which are stored; `on` and `give_up_on` are this process's."""
    return {name: value for name, value in asdict(retry).items() if name not in ("on", "give_up_on")}


def stored(config: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's options with the defaults of what was never given."""
    found: dict[str, Any] = {"lease": 30.0, "retry": retry_fields(Retry()), **config}
    for name in ("max_hold", "unique_for", "max_length"):
        if name in found and found[name] is not None and not math.isfinite(found[name]):
            found[name] = None
    return found


def moment(time_ns: int | None) -> datetime | None:
    """A time of the engine, cut to microseconds."""
    if time_ns is None:
        return None
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC) + timedelta(microseconds=time_ns % 1_000_000_000 // 1000)
