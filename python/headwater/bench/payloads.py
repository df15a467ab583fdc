"""What travels: payloads that can be told apart, and the check that what came is what was sent, in order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import msgspec

from ..errors import HeadwaterError

#: So many messages of a run differ; then they come again.
PERIOD = 4000
#: Bytes of a payload: all that differ are in memory at once.
MOST = 65_536
#: Keys of a group's messages; a part of PERIOD, so that one key's messages differ from one to the next.
KEYS = 1000


class Wrong(HeadwaterError):
    """What came is not what was sent."""


class Order(msgspec.Struct, frozen=True):
    """The typed row's message."""

    number: int
    item: str
    price: float
    note: str


def payloads(size: int) -> list[bytes]:
    """PERIOD payloads of `size` bytes; the first eight are their number."""
    return [number.to_bytes(8, "big") + b"x" * (size - 8) for number in range(PERIOD)]


def orders(size: int) -> list[Order]:
    """PERIOD values that are `size` bytes as JSON."""
    made: list[Order] = []
    for number in range(PERIOD):
        bare = Order(number, "tea", number / 4, "")
        made.append(msgspec.structs.replace(bare, note="x" * (size - len(msgspec.json.encode(bare)))))
    return made


def key(number: int) -> str:
    """The key of the payload with this number."""
    return f"key-{number % KEYS}"


def check(came: Iterable[bytes], sent: list[bytes], count: int) -> None:
    """Raises Wrong, unless what came is the first `count` messages in order."""
    number, wanted = 0, cycle(sent)
    for number, have in enumerate(came, 1):
        if number > count or have != next(wanted):
            raise Wrong(f"message {number} of {count} is not what was sent as such")
    if number != count:
        raise Wrong(f"{number} messages came, {count} were sent")


def check_keys(came: list[bytes], sent: list[bytes], count: int) -> None:
    """Raises Wrong, unless the first `count` messages are all there, and each key's in their order."""
    if len(came) != count:
        raise Wrong(f"{len(came)} messages came, {count} were sent")
    following = list(range(KEYS))
    for raw in came:
        number = int.from_bytes(raw[:8], "big")
        at = number % KEYS
        if number != following[at] or raw != sent[number]:
            raise Wrong(f"a message of {key(at)} is not the one that was sent next")
        following[at] = (number + KEYS) % PERIOD
