"""What a process of the suite does: `python -m headwater.testing.worker ROLE RECORD SPEC`.

RECORD: a file to which each step is written as one JSON line by one write(2), before and after it is done, so that who survives can
reconcile. SPEC: JSON, see the functions. Uses the synchronous API throughout.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import headwater as hw

Spec = dict[str, Any]


class Record:
    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, event: str, **fields: Any) -> None:
        os.write(self._fd, json.dumps({"event": event, "t": time.time(), **fields}).encode() + b"\n")


def hold_gil(seconds: float) -> None:
    """Sleeps in C without giving the GIL up: no other Python thread of the process runs."""
    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))


def source(conn: Any, spec: Spec) -> Any:
    """The queue or group of a spec: {"queue": name} or {"stream": name, "group": name}, with their "options"."""
    options = dict(spec.get("options", {}))
    if "retry" in options:
        options["retry"] = hw.Retry(**options["retry"])
    if "queue" in spec:
        return conn.queue(spec["queue"], bytes, **options)
    return conn.stream(spec["stream"], bytes).group(spec["group"], **options)


def produce(conn: Any, spec: Spec, record: Record) -> None:
    """Sends b"PREFIX:KEY:I" for I in range("first", "first" + "count"), key I % "keys" ("keys" 0: none; "shared": the same keys whatever
    the prefix), to "queue" or "stream"; "pause": seconds between two."""
    keys, key_prefix = spec.get("keys", 0), "k" if spec.get("shared") else spec.get("prefix", "p")
    send = conn.queue(spec["queue"], bytes).put if "queue" in spec else conn.stream(spec["stream"], bytes).append
    first = spec.get("first", 0)
    for i in range(first, first + spec["count"]):
        key = f"{key_prefix}{i % keys}" if keys else None
        value = f"{spec.get('prefix', 'p')}:{key}:{i}"
        record("sending", value=value, key=key)
        where = send(value.encode(), key=key)
        record("sent", value=value, key=key, where=str(where))
        if spec.get("pause"):
            time.sleep(spec["pause"])
    record("done")


def consume(conn: Any, spec: Spec, record: Record) -> None:
    """Takes from a source until it was idle for "idle" seconds (default: for ever), or has acknowledged "limit".

    "work": seconds of sleep for each; "gil": seconds of a C call that holds the GIL; "then": what is done with it: "ack" (default),
    "hold" (nothing more is taken), "die" (SIGKILL to oneself), "late" (acknowledges when told by SIGCONT, after SIGSTOP)."""
    then = spec.get("then", "ack")
    acked = 0
    with source(conn, spec).consume(prefetch=spec.get("prefetch", 1)) as consumer:
        record("ready")
        while spec.get("limit") is None or acked < spec["limit"]:
            message = consumer.next(timeout=spec.get("idle"))
            if message is None:
                break
            about = {
                "value": message.value.decode(),
                "key": message.key,
                "attempt": message.attempt,
                "id": message.id,
                "where": str(message.position),
            }
            record("got", **about)
            if then == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if then == "hold":
                time.sleep(3600)
            if spec.get("work"):
                time.sleep(spec["work"])
            if spec.get("gil"):
                hold_gil(spec["gil"])
            record("acking", **about)
            try:
                message.ack()
            except hw.LeaseLostError:
                record("lost", **about)
            else:
                record("acked", **about)
                acked += 1
    record("done")


def read(conn: Any, spec: Spec, record: Record) -> None:
    """Reads "stream" to its end, or follows it until "count" were read."""
    n = 0
    with conn.stream(spec["stream"], bytes).read(follow="count" in spec) as reader:
        for message in reader:
            record("read", value=message.value.decode(), key=message.key, where=str(message.position))
            n += 1
            if n == spec.get("count"):
                break
    record("done")


def listen(conn: Any, spec: Spec, record: Record) -> None:
    """Subscribes to "channel" and records "count" messages; "overflow" and "buffer" as given; "stuck": takes nothing at all."""
    with conn.channel(spec["channel"], bytes).subscribe(buffer=spec.get("buffer", 1024), overflow=spec.get("overflow", "drop_oldest")) as sub:
        record("ready")
        if spec.get("stuck"):
            time.sleep(3600)
        for _ in range(spec["count"]):
            message = sub.next(timeout=spec.get("idle"))
            if message is None:
                break
            record("heard", value=message.value.decode(), dropped=sub.dropped)
        record("done", dropped=sub.dropped)


def publish(conn: Any, spec: Spec, record: Record) -> None:
    """Publishes "count" numbers to "channel"."""
    channel = conn.channel(spec["channel"], bytes)
    for i in range(spec["count"]):
        record("sent", value=str(i), reached=channel.publish(str(i).encode()))
    record("done")


def idle(conn: Any, spec: Spec, record: Record) -> None:
    """Waits "seconds" in "waiters" consumers at once, then records the CPU seconds that this cost."""
    import asyncio  # only here: the other roles run without a loop

    async def wait() -> None:
        async with hw.connect(spec["url"]) as waiting:
            queue = waiting.queue(spec["queue"], bytes)

            async def one() -> None:
                async with queue.consume() as consumer:
                    await consumer.next(timeout=spec["seconds"] + 3600)

            tasks = [asyncio.create_task(one()) for _ in range(spec["waiters"])]
            await asyncio.sleep(0.5)
            before = time.process_time()
            await asyncio.sleep(spec["seconds"])
            record("idle", cpu=time.process_time() - before)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(wait())
    record("done")


def fill(conn: Any, spec: Spec, record: Record) -> None:
    """Appends 1-KiB records to "stream" with RLIMIT_FSIZE at "limit" bytes until one fails; then lifts the limit and appends 10 more."""
    import resource  # not on every platform

    stream = conn.stream(spec["stream"], bytes)
    count = 0

    def append() -> None:
        nonlocal count
        stream.append(b"%012d" % count + b"x" * 1012)
        count += 1

    append()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spec["limit"], hard))
    try:
        while count < 10**6:
            append()
    except hw.HeadwaterError as error:
        record("full", error=type(error).__name__, message=str(error), count=count)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    began = time.monotonic()
    for _ in range(10):
        while True:
            try:
                append()
                break
            except hw.StorageFullError:
                if time.monotonic() - began > 5:
                    raise
                time.sleep(0.05)
    record("resumed", count=count)


ROLES: dict[str, Callable[[Any, Spec, Record], None]] = {f.__name__: f for f in (produce, consume, read, listen, publish, fill, idle)}


def main(arguments: list[str]) -> None:
    role, path, spec = arguments
    told: Spec = json.loads(spec)
    with hw.sync.connect(told["url"]) as conn:
        ROLES[role](conn, told, Record(path))


if __name__ == "__main__":
    main(sys.argv[1:])
