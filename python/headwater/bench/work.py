"""Both sides of the rows of groups and queues. What was taken is kept, and compared with what was sent when the clock has stopped."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from .. import Item, sync
from .payloads import KEYS, PERIOD, Wrong, check, check_keys, key, payloads
from .side import Clock, Sides, Spec

if TYPE_CHECKING:
    from ..sync import Source

GROUP = "bench"
BATCH = 100
#: Seconds without a message after which a consumer gives up.
PATIENCE = 20.0


def append_keyed(spec: Spec, clock: Clock) -> None:
    items = [Item(payload, key=key(number)) for number, payload in enumerate(payloads(spec.size))]
    batches = [items[at : at + KEYS] for at in range(0, PERIOD, KEYS)]
    whole, rest = divmod(spec.messages, KEYS)
    with sync.connect(spec.url) as conn:
        stream = conn.stream(spec.name, bytes)
        stream.declare()
        clock.start()
        for batch in islice(cycle(batches), whole):
            stream.append_many(batch)
        if rest:
            stream.append_many(batches[whole % len(batches)][:rest])
        clock.stop()


def put(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    with sync.connect(spec.url) as conn:
        queue = conn.queue(spec.name, bytes)
        queue.declare()
        put = queue.put
        clock.start()
        for payload in islice(cycle(sent), spec.messages):
            put(payload)
        clock.stop()


def put_many(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    batches = [sent[at : at + BATCH] for at in range(0, PERIOD, BATCH)]
    whole, rest = divmod(spec.messages, BATCH)
    with sync.connect(spec.url) as conn:
        queue = conn.queue(spec.name, bytes)
        queue.declare()
        clock.start()
        for batch in islice(cycle(batches), whole):
            queue.put_many(batch)
        if rest:
            queue.put_many(batches[whole % len(batches)][:rest])
        clock.stop()


def _one_by_one(source: Source[bytes], wanted: int, clock: Clock) -> list[bytes]:
    came: list[bytes] = []
    with source.consume(idle=PATIENCE) as consumer:
        clock.start()
        for message in consumer:
            came.append(message.value)
            message.ack()
            if len(came) == wanted:
                break
        clock.stop()
    return came


def _in_batches(source: Source[bytes], wanted: int, clock: Clock) -> list[bytes]:
    came: list[bytes] = []
    clock.start()
    while len(came) < wanted:
        batch = source.take(max=BATCH, wait=PATIENCE)
        if not batch:
            break
        came += [message.value for message in batch]
        lost = source.ack_many(batch)
        if lost:
            raise Wrong(f"{len(lost)} messages were no longer ours when they were acknowledged")
    clock.stop()
    return came


def consume_group(spec: Spec, clock: Clock) -> None:
    with sync.connect(spec.url) as conn:
        group = conn.stream(spec.name, bytes).group(GROUP, ordering="key")
        take = _in_batches if spec.row.endswith("batch") else _one_by_one
        check_keys(take(group, spec.messages, clock), payloads(spec.size), spec.messages)


def consume_queue(spec: Spec, clock: Clock) -> None:
    with sync.connect(spec.url) as conn:
        queue = conn.queue(spec.name, bytes)
        queue.declare()
        take = _in_batches if spec.row.endswith("batch") else _one_by_one
        check(take(queue, spec.messages, clock), payloads(spec.size), spec.messages)


SIDES: Sides = {
    ("group", "produce"): append_keyed,
    ("group", "consume"): consume_group,
    ("group-batch", "produce"): append_keyed,
    ("group-batch", "consume"): consume_group,
    ("queue", "produce"): put,
    ("queue", "consume"): consume_queue,
    ("queue-batch", "produce"): put_many,
    ("queue-batch", "consume"): consume_queue,
}
