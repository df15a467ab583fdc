"""What the design has and this version has not: asked for, it is an UnsupportedError, and no AttributeError that looks like a slip of the pen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from ..capabilities import Feature
from ..errors import UnsupportedError

__all__ = ["LATER", "later"]

_STREAM = "a stream with expect_key="
_QUEUES = "a queue for requests and one for replies"
_BATCH = "append_many(atomic=True) of one stream, or put_many(atomic=True) of one queue"

#: Methods of a connection: the feature they need, and what would serve.
LATER: Mapping[str, tuple[Feature | None, str]] = MappingProxyType(
    {
        "table": (None, _STREAM),
        "entities": (None, _STREAM),
        "call": (Feature.CALL, _QUEUES),
        "serve": (Feature.CALL, _QUEUES),
        "survey": (Feature.CALL, _QUEUES),
        "transaction": (Feature.TRANSACTION, _BATCH),
        "snapshot": (Feature.TRANSACTION, "read(stop=) of each stream, up to the last position that its info() names"),
    }
)


def later(owner: Any, name: str) -> Callable[..., NoReturn]:
    """What `connection.name` is: a function that raises UnsupportedError. AttributeError for a name that no version has."""
    if name not in LATER:
        raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}", name=name, obj=owner)
    feature, instead = LATER[name]
    engine: str = owner.capabilities.engine

    def refuse(*_: Any, **__: Any) -> NoReturn:
        how = "this version does not have it yet"
        told = f"{engine} does not support {name}(): {how}; instead: {instead}"
        raise UnsupportedError(told, feature=feature, engine=engine, how=how, instead=instead)

    return refuse
