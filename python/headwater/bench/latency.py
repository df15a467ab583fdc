"""Both sides of the latency rows: one message every 2 ms, stamped before it is appended, looked at when it has come."""

from __future__ import annotations

import asyncio
import time

from .. import connect, sync
from .payloads import Wrong
from .side import Clock, Sides, Spec

PAUSE = 0.002
#: Seconds without a message after which a reader gives up.
PATIENCE = 20.0


def send(spec: Spec, clock: Clock) -> None:
    filler = b"x" * (spec.size - 16)
    now = time.monotonic_ns
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, bytes)
        stream.declare()
        append = stream.append
        clock.start()
        for number in range(spec.messages):
            time.sleep(PAUSE)
            rest = number.to_bytes(8, "big") + filler
            append(now().to_bytes(8, "big") + rest)
        clock.stop()


def _arrived(raw: bytes, came: int, size: int) -> int:
    """How long it took, ns."""
    took = time.monotonic_ns() - int.from_bytes(raw[:8], "big")
    if int.from_bytes(raw[8:16], "big") != came or len(raw) != size:
        raise Wrong(f"message {came + 1} is not what was sent as such")
    return took


def hear(spec: Spec, clock: Clock) -> None:
    with sync.connect(spec.url) as conn:
        with conn.stream(spec.name, bytes).read(follow=True) as reader:
            clock.start()
            for came in range(spec.messages):
                message = reader.next(PATIENCE)
                if message is None:
                    raise Wrong(f"{came} of {spec.messages} messages came")
                clock.latencies.append(_arrived(message.raw, came, spec.size))
            clock.stop()


def hear_spinning(spec: Spec, clock: Clock) -> None:
    with sync.connect(spec.url) as conn:
        with conn.stream(spec.name, bytes).read(follow=True) as reader:
            clock.start()
            for came in range(spec.messages):
                message = reader.next(0)
                while message is None:
                    message = reader.next(0)
                clock.latencies.append(_arrived(message.raw, came, spec.size))
            clock.stop()


def hear_asyncio(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        async with connect(spec.url) as conn:
            async with conn.stream(spec.name, bytes).read(follow=True) as reader:
                came = 0
                clock.start()
                async for message in reader:
                    clock.latencies.append(_arrived(message.raw, came, spec.size))
                    came += 1
                    if came == spec.messages:
                        break
                clock.stop()

    asyncio.run(main())


SIDES: Sides = {
    ("latency", "produce"): send,
    ("latency", "consume"): hear,
    ("latency-asyncio", "produce"): send,
    ("latency-asyncio", "consume"): hear_asyncio,
    ("latency-spin", "produce"): send,
    ("latency-spin", "consume"): hear_spinning,
}
