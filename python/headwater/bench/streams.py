"""Both sides of the stream's rows."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

from .. import connect, sync
from .payloads import PERIOD, Order, Wrong, check, orders, payloads
from .side import Clock, Sides, Spec

BATCH = 1000
#: Seconds without a message after which a reader gives up.
PATIENCE = 20.0


def append(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, bytes)
        stream.declare()
        append = stream.append
        clock.start()
        for payload in islice(cycle(sent), spec.messages):
            append(payload)
        clock.stop()


def append_many(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    batches = [sent[at : at + BATCH] for at in range(0, PERIOD, BATCH)]
    whole, rest = divmod(spec.messages, BATCH)
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, bytes)
        stream.declare()
        append_many = stream.append_many
        clock.start()
        for batch in islice(cycle(batches), whole):
            append_many(batch)
        if rest:
            append_many(batches[whole % len(batches)][:rest])
        clock.stop()


def read_batches(spec: Spec, clock: Clock) -> None:
    """Counts while the clock runs, and compares both ends of each batch; then reads all again and compares every message."""
    sent = payloads(spec.size)
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, bytes)
        with stream.read(follow=True) as reader:
            came, wanted = 0, spec.messages
            next_many = reader.next_many
            clock.start()
            while came < wanted:
                batch = next_many(BATCH, wait=PATIENCE)
                if not batch:
                    raise Wrong(f"{came} of {wanted} messages came")
                begin, came = came, came + len(batch)
                if batch[0].raw != sent[begin % PERIOD] or batch[-1].raw != sent[(came - 1) % PERIOD]:
                    raise Wrong(f"messages {begin + 1} to {came} are not what was sent as such")
            clock.stop()
        check((message.raw for message in stream.read()), sent, wanted)


def append_await(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        sent = payloads(spec.size)
        async with connect(spec.url) as conn:
            stream = conn.stream(spec.name, bytes)
            await stream.declare()
            append = stream.append
            clock.start()
            for payload in islice(cycle(sent), spec.messages):
                await append(payload)
            clock.stop()

    asyncio.run(main())


def read_await(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        sent = payloads(spec.size)
        async with connect(spec.url) as conn:
            async with conn.stream(spec.name, bytes).read(follow=True) as reader:
                came, wanted = 0, spec.messages
                clock.start()
                async for message in reader:
                    if message.value != sent[came % PERIOD]:
                        raise Wrong(f"message {came + 1} is not what was sent as such")
                    came += 1
                    if came == wanted:
                        break
                clock.stop()

    asyncio.run(main())


def append_typed(spec: Spec, clock: Clock) -> None:
    sent = orders(spec.size)
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, Order)
        stream.declare()
        append = stream.append
        clock.start()
        for order in islice(cycle(sent), spec.messages):
            append(order)
        clock.stop()


def read_typed(spec: Spec, clock: Clock) -> None:
    sent = orders(spec.size)
    with sync.connect(spec.url) as conn:
        with conn.stream(spec.name, Order).read(follow=True) as reader:
            last = spec.messages - 1
            clock.start()
            for number, message in enumerate(reader):
                if message.value != sent[number % PERIOD]:
                    raise Wrong(f"message {number + 1} is not what was sent as such")
                if number == last:
                    break
            clock.stop()


SIDES: Sides = {
    ("append", "produce"): append,
    ("append", "consume"): read_batches,
    ("append-await", "produce"): append_await,
    ("append-await", "consume"): read_await,
    ("append-many", "produce"): append_many,
    ("append-many", "consume"): read_batches,
    ("append-typed", "produce"): append_typed,
    ("append-typed", "consume"): read_typed,
}
