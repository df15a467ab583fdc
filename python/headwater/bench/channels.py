"""Both sides of the channel's row."""

from __future__ import annotations

from itertools import cycle, islice

from .. import sync
from .payloads import PERIOD, Wrong, payloads
from .side import Clock, Sides, Spec


def publish(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    with sync.connect(spec.url) as conn:
        publish = conn.channel(spec.name, bytes).publish
        clock.start()
        for payload in islice(cycle(sent), spec.messages):
            publish(payload)
        clock.stop()


def hear(spec: Spec, clock: Clock) -> None:
    sent = payloads(spec.size)
    with sync.connect(spec.url) as conn:
        # A publisher that is ahead waits: every message is delivered.
        with conn.channel(spec.name, bytes).subscribe(buffer=16384, overflow="block") as sub:
            last = spec.messages - 1
            clock.start()
            for number, message in enumerate(sub):
                if message.value != sent[number % PERIOD]:
                    raise Wrong(f"message {number + 1} is not what was sent as such")
                if number == last:
                    break
            clock.stop()
            if sub.dropped:
                raise Wrong(f"{sub.dropped} messages were dropped")


SIDES: Sides = {("channel", "produce"): publish, ("channel", "consume"): hear}
