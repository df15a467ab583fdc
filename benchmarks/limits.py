"""Both sides of each row over the bare C extension (limit.c): what the machine and CPython allow, with nothing kept safe.

They check what comes as the rows of headwater.bench do. A queue or group is two logs here: the second takes an acknowledgement of 16
bytes, one for each message or batch.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import cycle, islice

import msgspec
from limit import Log

from headwater.bench.payloads import KEYS, PERIOD, Order, Wrong, check, check_keys, orders, payloads
from headwater.bench.side import Clock, Sides, Spec

BATCH = {"append": 1000, "append-many": 1000, "group-batch": 100, "queue-batch": 100}
ACK = b"acknowledgement "


def _log(spec: Spec, name: str = "log") -> Log:
    return Log(os.path.join(spec.url, name), (spec.size + 32) * (spec.messages + 1000) + 65536)


def append(spec: Spec, clock: Clock) -> None:
    sent, log = payloads(spec.size), _log(spec)
    append = log.append
    clock.start()
    for payload in islice(cycle(sent), spec.messages):
        append(payload)
    clock.stop()


def append_many(spec: Spec, clock: Clock) -> None:
    size = KEYS if spec.row.startswith("group") else BATCH[spec.row]
    sent, log = payloads(spec.size), _log(spec)
    batches = [sent[at : at + size] for at in range(0, PERIOD, size)]
    whole, rest = divmod(spec.messages, size)
    clock.start()
    for batch in islice(cycle(batches), whole):
        log.append_many(batch)
    if rest:
        log.append_many(batches[whole % len(batches)][:rest])
    clock.stop()


def append_await(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        sent, log = payloads(spec.size), _log(spec)
        append = log.aappend
        clock.start()
        for payload in islice(cycle(sent), spec.messages):
            await append(payload)
        clock.stop()

    asyncio.run(main())


def append_typed(spec: Spec, clock: Clock) -> None:
    sent, log = orders(spec.size), _log(spec)
    append, encode = log.append, msgspec.json.Encoder().encode
    clock.start()
    for order in islice(cycle(sent), spec.messages):
        append(encode(order))
    clock.stop()


def read_batches(spec: Spec, clock: Clock) -> None:
    sent, log, came = payloads(spec.size), _log(spec), 0
    clock.start()
    while came < spec.messages:
        batch = log.next_many(BATCH[spec.row])
        if not batch:
            log.wait()
            continue
        begin, came = came, came + len(batch)
        if batch[0] != sent[begin % PERIOD] or batch[-1] != sent[(came - 1) % PERIOD]:
            raise Wrong(f"messages {begin + 1} to {came} are not what was sent as such")
    clock.stop()


def read_one_by_one(spec: Spec, clock: Clock) -> None:
    sent, log, came = payloads(spec.size), _log(spec), 0
    clock.start()
    while came < spec.messages:
        data = log.next()
        if data is None:
            log.wait()
            continue
        if data != sent[came % PERIOD]:
            raise Wrong(f"message {came + 1} is not what was sent as such")
        came += 1
    clock.stop()


def read_await(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        sent, log, came = payloads(spec.size), _log(spec), 0
        clock.start()
        async for data in log:
            if data != sent[came % PERIOD]:
                raise Wrong(f"message {came + 1} is not what was sent as such")
            came += 1
            if came == spec.messages:
                break
        clock.stop()

    asyncio.run(main())


def read_typed(spec: Spec, clock: Clock) -> None:
    sent, log, came = orders(spec.size), _log(spec), 0
    decode = msgspec.json.Decoder(Order).decode
    clock.start()
    while came < spec.messages:
        data = log.next()
        if data is None:
            log.wait()
            continue
        if decode(data) != sent[came % PERIOD]:
            raise Wrong(f"message {came + 1} is not what was sent as such")
        came += 1
    clock.stop()


def work(spec: Spec, clock: Clock) -> None:
    log, acks = _log(spec), _log(spec, "acks")
    came: list[bytes] = []
    clock.start()
    while len(came) < spec.messages:
        batch = log.next_many(BATCH.get(spec.row, 1))
        if not batch:
            log.wait()
            continue
        came += batch
        acks.append(ACK)
    clock.stop()
    (check_keys if spec.row.startswith("group") else check)(came, payloads(spec.size), spec.messages)


def send(spec: Spec, clock: Clock) -> None:
    """For the latency rows. An event loop is woken by a byte in a FIFO that it watches."""
    log, filler = _log(spec), b"x" * (spec.size - 8)
    bell = os.open(_bell(spec), os.O_RDWR | os.O_NONBLOCK) if spec.row == "latency-asyncio" else None
    clock.start()
    for _ in range(spec.messages):
        time.sleep(0.002)
        log.append(time.monotonic_ns().to_bytes(8, "big") + filler)
        if bell is not None:
            os.write(bell, b"!")
    clock.stop()


def hear(spec: Spec, clock: Clock) -> None:
    log, spinning = _log(spec), spec.row == "latency-spin"
    clock.start()
    while len(clock.latencies) < spec.messages:
        data = log.next()
        if data is not None:
            clock.latencies.append(time.monotonic_ns() - int.from_bytes(data[:8], "big"))
        elif not spinning:
            log.wait()
    clock.stop()


def hear_asyncio(spec: Spec, clock: Clock) -> None:
    async def main() -> None:
        log, loop = _log(spec), asyncio.get_running_loop()
        os.mkfifo(_bell(spec))
        bell = os.open(_bell(spec), os.O_RDWR | os.O_NONBLOCK)
        heard = loop.create_future()

        def rung() -> None:
            os.read(bell, 64)
            while (data := log.next()) is not None:
                clock.latencies.append(time.monotonic_ns() - int.from_bytes(data[:8], "big"))
            if len(clock.latencies) == spec.messages:
                heard.set_result(None)

        loop.add_reader(bell, rung)
        clock.start()
        await heard
        clock.stop()

    asyncio.run(main())


def _bell(spec: Spec) -> str:
    return os.path.join(spec.url, "bell")


SIDES: Sides = {
    ("append", "produce"): append,
    ("append", "consume"): read_batches,
    ("append-await", "produce"): append_await,
    ("append-await", "consume"): read_await,
    ("append-many", "produce"): append_many,
    ("append-many", "consume"): read_batches,
    ("append-typed", "produce"): append_typed,
    ("append-typed", "consume"): read_typed,
    ("group", "produce"): append_many,
    ("group", "consume"): work,
    ("group-batch", "produce"): append_many,
    ("group-batch", "consume"): work,
    ("queue", "produce"): append,
    ("queue", "consume"): work,
    ("queue-batch", "produce"): append_many,
    ("queue-batch", "consume"): work,
    ("channel", "produce"): append,
    ("channel", "consume"): read_one_by_one,
    ("latency", "produce"): send,
    ("latency", "consume"): hear,
    ("latency-asyncio", "produce"): send,
    ("latency-asyncio", "consume"): hear_asyncio,
    ("latency-spin", "produce"): send,
    ("latency-spin", "consume"): hear,
}
