"""`headwater append`: records at the end of a stream."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import Item, UsageError
from .options import Codec, CodecName, Header, Json, Key, Quiet, Raw, Time, Url, Values, expected, headers_of, time_of
from .sending import batches, send_all
from .session import writing


def append(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream; it is made where there is none.")],
    values: Values,
    key: Key = None,
    id: Annotated[str | None, typer.Option("--id", help="Append it once: again, the first position comes back.")] = None,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="POSITION", help="Only if the last record is there, or the stream is empty.")
    ] = None,
    expect_key: Annotated[
        str | None, typer.Option("--expect-key", metavar="POSITION", help="Only if the key's last record is there, or it is absent.")
    ] = None,
    header: Header = None,
    time: Time = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All of the values or none.")] = False,
    raw: Raw = False,
    codec: Codec = CodecName.json,
    quiet: Quiet = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Append records to a stream, and print the position of each.

    Options hold for every value. With - a line is sent as soon as it is read, many at a time where they come fast.
    """
    headers, when = headers_of(header), time_of(time, "--time")
    first, first_of_key = expected(expect, "--expect", "empty"), expected(expect_key, "--expect-key", "absent")
    single = id is not None or first is not None or first_of_key is not None
    if single and (len(values) > 1 or values == ["-"]):
        raise UsageError("--id, --expect and --expect-key go with one value")
    with writing(url, codec=codec.value) as conn:
        target = conn.stream(stream)

        def send(batch: list[Any]) -> list[Any]:
            if single:
                return [target.append(batch[0], key=key, id=id, expect=first, expect_key=first_of_key, headers=headers, time=when)]
            if key is not None or headers is not None or when is not None:
                batch = [Item(value, key=key, headers=headers, time=when) for value in batch]
            return target.append_many(batch, atomic=atomic)

        given = batches(values, raw)
        if atomic:
            given = iter([[value for batch in given for value in batch]])
        send_all(given, send, f"append to {stream}", "position", quiet=quiet, json=json)
