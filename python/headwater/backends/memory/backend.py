"""A connection to the embedded engine over anonymous memory."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

from ..._engine import Engine
from ...abc import Settings
from ...capabilities import PATTERNS, Capabilities, Feature, PatternSupport
from ...embedded.backend import Embedded
from ...errors import UsageError
from .capabilities import CAPABILITIES

#: What `?as=` can imitate: the engine's name in a URL, and its package.
_ENGINES = {
    "redis": "redis", "amqp": "rabbitmq", "rabbitmq": "rabbitmq", "kafka": "kafka", "pulsar": "pulsar", "zmq": "zmq", "nng": "nng",
    "local": "local",
}  # fmt: skip


def imitated(name: str) -> Capabilities:
    """This engine's capabilities, without what the engine of that name refuses. UsageError where there is none."""
    if name not in _ENGINES:
        raise UsageError(f"memory:?as={name}: it is one of {', '.join(sorted(_ENGINES))}")
    other: Capabilities = importlib.import_module(f"headwater.backends.{_ENGINES[name]}.capabilities").CAPABILITIES
    narrowed = {pattern: _narrow(CAPABILITIES.pattern(pattern), other.pattern(pattern)) for pattern in PATTERNS}
    return replace(CAPABILITIES, engine=f"memory as {name}", **narrowed)


def _narrow(ours: PatternSupport, theirs: PatternSupport) -> PatternSupport:
    if not ours or not theirs:
        return PatternSupport(theirs.supported if ours else ours.supported)
    features = {feature: theirs[feature] if ours[feature] and not theirs[feature] else ours[feature] for feature in Feature}
    return PatternSupport(ours.supported, MappingProxyType(features))


class Backend(Embedded):
    """memory: (one's own), memory:NAME (shared in this process)"""

    query_keys: ClassVar[frozenset[str]] = frozenset({"as"})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.options:
            raise UsageError(f"memory: takes no options, not {min(settings.options)!r}")
        imitate = settings.url.query.get("as")
        self.capabilities = CAPABILITIES if imitate is None else imitated(imitate)

    def open(self) -> Engine:
        settings = self.settings
        return Engine.memory(settings.url.path or None, op_timeout=settings.op_timeout, max_message_bytes=settings.max_message_bytes)
