"""`headwater publish`: messages to whoever listens now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import Codec, CodecName, Header, Json, Key, Quiet, Raw, Url, Values, headers_of
from .sending import batches, send_all
from .session import writing


def publish(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel; not a pattern.")],
    values: Values,
    key: Key = None,
    header: Header = None,
    raw: Raw = False,
    codec: Codec = CodecName.json,
    quiet: Quiet = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Publish messages on a channel, and print how many subscribers each reached.

    Options hold for every value. With - a line is sent as soon as it is read.
    """
    headers = headers_of(header)
    with writing(url, codec=codec.value) as conn:
        target = conn.channel(channel)

        def send(batch: list[Any]) -> list[Any]:
            return [target.publish(value, key=key, headers=headers) for value in batch]

        send_all(batches(values, raw), send, f"publish on {channel}", "reached", quiet=quiet, json=json)
