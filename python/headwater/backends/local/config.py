"""What the URL of an embedded engine says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import UsageError
from ...url import Url

QUERY_KEYS = frozenset({"durability", "interval"})
OPTIONS = frozenset({"allow_network_fs", "create"})


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """path: the directory. durability, interval (seconds): None is as stored. create: make the directory when it is missing."""

    path: str
    durability: Literal["never", "interval", "always"] | None
    interval: float | None
    create: bool
    allow_network_fs: bool

    @classmethod
    def of(cls, url: Url, options: Mapping[str, Any]) -> LocalConfig:
        durability = url.query.get("durability")
        if durability not in (None, "never", "interval", "always"):
            raise UsageError(f"durability={durability!r} in {url}: it is interval, always or never")
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise UsageError(f"unknown option {unknown[0]!r}; known are {', '.join(sorted(OPTIONS))}")
        return cls(
            url.path,
            durability,
            _interval(url),
            bool(options.get("create", True)),
            bool(options.get("allow_network_fs", False)),
        )


def _interval(url: Url) -> float | None:
    text = url.query.get("interval")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 3600:
        raise UsageError(f"interval={text!r} in {url}: it is a number of seconds above 0, at most 3600")
    return value
