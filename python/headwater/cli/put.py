"""`headwater put`: jobs into a queue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from .. import Item
from .options import Codec, CodecName, Header, Json, Key, Quiet, Raw, Time, Url, Values, delay_of, headers_of, seconds_of, time_of
from .sending import batches, send_all
from .session import writing


class OnDuplicate(StrEnum):
    """What becomes of a duplicate."""

    returned = "return"
    raised = "raise"


def put(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue; it is made where there is none.")],
    values: Values,
    key: Key = None,
    delay: Annotated[str | None, typer.Option("--delay", metavar="TIME", help="Due later: seconds, 5m, 2h, or a time.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="0 to 9; higher first.")] = 0,
    ttl: Annotated[str | None, typer.Option("--ttl", metavar="TIME", help="Worthless so long after it is due: seconds, 5m, 2h.")] = None,
    unique: Annotated[str | None, typer.Option("--unique", metavar="WORD", help="Not while an unfinished job has this word.")] = None,
    on_duplicate: Annotated[
        OnDuplicate, typer.Option("--on-duplicate", help="Print the id of the job that is there, or make it an error.")
    ] = OnDuplicate.returned,
    header: Header = None,
    time: Time = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All of the values or none.")] = False,
    raw: Raw = False,
    codec: Codec = CodecName.json,
    quiet: Quiet = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Put jobs into a queue, and print the id of each.

    Options hold for every value. With - a line is sent as soon as it is read, many at a time where they come fast.
    """
    due, life, headers, when = delay_of(delay), seconds_of(ttl, "--ttl"), headers_of(header), time_of(time, "--time")
    with writing(url, codec=codec.value) as conn:
        target = conn.queue(queue)

        def send(batch: list[Any]) -> list[Any]:
            if on_duplicate is OnDuplicate.raised:
                # A batch has no way to ask for it.
                return [
                    target.put(
                        value, key=key, delay=due, priority=priority, ttl=life, unique=unique, on_duplicate="raise", headers=headers, time=when
                    )
                    for value in batch
                ]
            if key is not None or due != 0 or priority or life is not None or unique is not None or headers is not None or when is not None:
                batch = [Item(value, key=key, delay=due, priority=priority, ttl=life, unique=unique, headers=headers, time=when) for value in batch]
            return target.put_many(batch, atomic=atomic)

        given = batches(values, raw)
        if atomic:
            given = iter([[value for batch in given for value in batch]])
        send_all(given, send, f"put into {queue}", "id", quiet=quiet, json=json)
