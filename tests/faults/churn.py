"""The victims of test_sigkill_loop: `python churn.py URL` forks, for each line "RECORD SEED" of its input, a process that does random
operations of every kind until it is killed, and prints its process id. A record holds a JSON line before and after each step."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from typing import Any

import headwater as hw

QUEUE: dict[str, Any] = {"retry": hw.Retry(max_attempts=None, delay=0.01, max_delay=0.05), "lease": 5.0}
KEYS = [f"k{i}" for i in range(8)]


class Churn:
    def __init__(self, url: str, record: str, seed: int) -> None:
        self.conn = hw.sync.connect(url)
        self.fd = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.rng = random.Random(seed)
        self.tag, self.n = f"w{seed}", 0
        self.stream = self.conn.stream("s", str)
        self.group = self.stream.group("g", ordering="key")
        self.queue = self.conn.queue("q", str, **QUEUE)
        self.jobs: list[str] = []

    def record(self, event: str, **fields: Any) -> None:
        os.write(self.fd, json.dumps({"event": event, "t": time.time(), **fields}).encode() + b"\n")

    def value(self) -> str:
        self.n += 1
        return f"{self.tag}-{self.n}-" + "x" * self.rng.choice((0, 10, 100, 3000))

    def append(self) -> None:
        value, key = self.value(), self.rng.choice([None, *KEYS])
        self.record("appending", values=[value])
        where = self.stream.append(value, key=key, headers={"h": "v"} if self.rng.random() < 0.2 else None)
        self.record("appended", values=[value], where=[str(where)])

    def append_many(self) -> None:
        values = [self.value() for _ in range(self.rng.choice((2, 5, 40)))]
        self.record("appending", values=values, atomic=True)
        where = self.stream.append_many([hw.Item(value, key=self.rng.choice(KEYS)) for value in values], atomic=True)
        self.record("appended", values=values, where=[str(each) for each in where])

    def append_twice(self) -> None:
        value = self.value()
        self.record("appending", values=[value])
        first = self.stream.append(value, id=value)
        again = self.stream.append(value, id=value)
        self.record("appended", values=[value], where=[str(first)])
        assert first == again, "an id was given two positions"

    def trim(self) -> None:
        small = self.conn.stream("trimmed", str)
        where = small.append(self.value())
        if self.rng.random() < 0.3:
            small.trim(before=where)

    def put(self) -> None:
        value = self.value()
        self.record("putting", value=value)
        job = self.queue.put(value, key=self.rng.choice(KEYS), delay=self.rng.choice((0, 0, 0.02, 0.1)), priority=self.rng.choice((0, 0, 0, 3, 9)))
        self.record("put", value=value, id=job)
        self.jobs.append(job)

    def put_unique(self) -> None:
        value = self.value()
        self.record("putting", value=value)
        job = self.queue.put(value, unique=self.rng.choice(KEYS))
        self.record("put unique", value=value, id=job)

    def cancel(self) -> None:
        if self.jobs:
            job = self.jobs.pop(self.rng.randrange(len(self.jobs)))
            self.record("cancelling", id=job)
            if self.queue.cancel(job):
                self.record("cancelled", id=job)

    def settle(self, source: Any, name: str, count: int) -> None:
        for message in source.take(max=count, wait=0.0):
            about = {"source": name, "value": message.value, "key": message.key, "id": message.id}
            self.record("got", **about, attempt=message.attempt)
            choice = self.rng.random()
            if choice < 0.75 or name == "g":
                self.record("settling", **about)
                message.ack()
                self.record("acked", **about)
            elif choice < 0.85:
                message.retry(delay=self.rng.choice((0, 0.02)))
            elif choice < 0.95:
                self.record("settling", **about)
                message.reject("chance")
                self.record("rejected", **about)

    def take(self) -> None:
        self.settle(self.queue, "q", self.rng.choice((1, 3, 10)))

    def follow(self) -> None:
        self.settle(self.group, "g", self.rng.choice((1, 3, 10)))

    def redrive(self) -> None:
        if self.rng.random() < 0.1:
            self.queue.dead.redrive(max=2)

    def publish(self) -> None:
        channel = self.conn.channel(self.rng.choice(("c.a", "c.b")), str)
        if self.rng.random() < 0.2:
            with self.conn.channel("c.*", str).subscribe(buffer=4) as sub:
                channel.publish("x")
                assert sub.next(timeout=5) is not None
        else:
            channel.publish("x")

    def look(self) -> None:
        self.queue.stats()
        self.group.lag()
        with self.stream.read(last=5) as reader:
            list(reader)

    def flush(self) -> None:
        self.conn.flush()

    def run(self) -> None:
        weighted = [self.append] * 4 + [self.append_many, self.append_twice, self.trim] + [self.put] * 4 + [self.put_unique, self.cancel]
        weighted += [self.take] * 4 + [self.follow] * 4 + [self.redrive, self.publish, self.publish, self.look, self.flush]
        self.record("ready")
        while True:
            self.rng.choice(weighted)()


def main(url: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        record, seed = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                Churn(url, record, int(seed)).run()
            except BaseException:
                with open(record, "a") as file:
                    file.write(json.dumps({"event": "failed", "t": time.time(), "why": traceback.format_exc()}) + "\n")
            os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
