"""Processes that do everything, killed with SIGKILL at random instants, in a loop, while this one goes on working. In the end what
they recorded is reconciled with what is there: nothing acknowledged is lost, no position is given twice, batches are whole, no finished
job comes back, every unfinished one does, first deliveries of a key are in order, and no survivor has failed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

QUEUE: dict[str, Any] = {"retry": hw.Retry(max_attempts=None, delay=0.01, max_delay=0.05), "lease": 5.0}
Line = dict[str, Any]


class Victims:
    """Three at a time."""

    def __init__(self, url: str, records: Path) -> None:
        self.records = records
        self.stderr = (records / "stderr").open("w+")
        script = str(Path(__file__).with_name("churn.py"))
        self.zygote = subprocess.Popen([sys.executable, script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, text=True)
        self.alive: list[tuple[int, Path]] = []
        self.kills = 0

    def start(self) -> None:
        seed = self.kills * 10 + len(self.alive)
        record = self.records / f"{seed:06}.jsonl"
        record.touch()
        assert self.zygote.stdin is not None and self.zygote.stdout is not None
        self.zygote.stdin.write(f"{record} {seed}\n")
        self.zygote.stdin.flush()
        self.alive.append((int(self.zygote.stdout.readline()), record))

    def kill(self, rng: random.Random) -> None:
        """One of them, once it works, at an instant of chance."""
        pid, record = self.alive.pop(rng.randrange(len(self.alive)))
        end = time.monotonic() + 20
        while b'"ready"' not in (said := record.read_bytes()):
            assert time.monotonic() < end and b'"failed"' not in said, f"did not start: {said.decode()}"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        self.check()
        os.kill(pid, 9)
        self.kills += 1

    def check(self) -> None:
        for _, record in self.alive:
            assert b'"failed"' not in (said := record.read_bytes()), "a survivor failed: " + said.decode()[-3000:]

    def end(self) -> None:
        for pid, _ in self.alive:
            os.kill(pid, 9)
        assert self.zygote.stdin is not None and self.zygote.stdout is not None
        self.zygote.stdin.close()
        self.zygote.wait(timeout=20)
        self.zygote.stdout.close()

    def lines(self) -> list[Line]:
        found = []
        for record in sorted(self.records.glob("*.jsonl")):
            data = record.read_bytes()
            found += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        return found


def work(conn: Any, tag: int, mine: dict[str, str]) -> None:
    """What the survivor does meanwhile; each must succeed within the time-out of an operation."""
    value = f"survivor-{tag}"
    mine[value] = str(conn.stream("s", str).append(value, key="survivor"))
    conn.queue("q", str).put(value)


@pytest.mark.timeout(900)
def test_sigkill_loop(tmp_path: Path, budget: float) -> None:
    url = f"local:{tmp_path / 'dir'}"
    records = tmp_path / "records"
    records.mkdir()
    rng = random.Random(7)
    mine: dict[str, str] = {}
    with hw.sync.connect(url, op_timeout=10.0) as conn:
        conn.stream("s", str).group("g", ordering="key", lease=5.0, retry=hw.Retry(max_attempts=None, delay=0.0)).declare()
        queue = conn.queue("q", str, **QUEUE)
        queue.declare()
        victims = Victims(url, records)
        try:
            end = time.monotonic() + budget
            while time.monotonic() < end:
                while len(victims.alive) < 3:
                    victims.start()
                work(conn, victims.kills, mine)
                victims.kill(rng)
            victims.check()
        finally:
            victims.end()
        lines = victims.lines()
        failed = [line["why"] for line in lines if line["event"] == "failed"]
        assert not failed, failed[0]
        check_stream(conn, lines, mine)
        check_group(conn, lines)
        check_queue(conn, lines, mine)
    with victims.stderr as stderr:
        stderr.seek(0)
        assert not (said := stderr.read()), said[-3000:]
    print(f"{victims.kills} kills, {len(lines)} steps: {dict(Counter(line['event'] for line in lines))}")
    with hw.sync.connect(url) as conn:
        assert conn.stream("s", str).info().records == len({m.value for m in conn.stream("s", str).read()}), "as clean after a restart"


def check_stream(conn: Any, lines: list[Line], mine: dict[str, str]) -> None:
    messages = list(conn.stream("s", str).read())
    stored = {m.value: str(m.position) for m in messages}
    assert len(stored) == len(messages), "a value is there twice"
    assert len(set(stored.values())) == len(messages) and [m.position for m in messages] == sorted(m.position for m in messages)
    for line in lines:
        if line["event"] == "appended":
            assert [stored.get(value) for value in line["values"]] == line["where"], "what was acknowledged is gone or elsewhere"
        if line["event"] == "appending" and line.get("atomic"):
            assert len({value in stored for value in line["values"]}) == 1, "half a batch"
    assert {value: stored.get(value) for value in mine} == mine
    begun = {value for line in lines if line["event"] == "appending" for value in line["values"]}
    assert set(stored) <= begun | set(mine), "something that nobody wrote"


def drained(source: Any) -> list[Any]:
    """Everything that is still to be done, each acknowledged."""
    found = []
    with source.consume() as consumer:
        while (message := consumer.next(timeout=3.0)) is not None:
            found.append(message)
            message.ack()
    return found


def finished(lines: list[Line], source: str) -> tuple[dict[str, float], set[str]]:
    """What was surely finished, with the time; and what may have been, its finishing being under way at the kill."""
    done: dict[str, float] = {}
    for line in lines:
        if line["event"] == "acked" and line["source"] == source:
            assert line["value"] not in done, "acknowledged twice"
            done[line["value"]] = line["t"]
    begun = {line["value"] for line in lines if line["event"] == "settling" and line["source"] == source}
    return done, begun - set(done)


def check_group(conn: Any, lines: list[Line]) -> None:
    messages = list(conn.stream("s", str).read())
    done, maybe = finished(lines, "g")
    got = sorted((line for line in lines if line["event"] == "got" and line["source"] == "g"), key=lambda line: line["t"])
    again = [line for line in got if line["t"] > done.get(line["value"], float("inf"))]
    assert not again, f"delivered after its ack returned: {again[:3]}"
    rest = drained(conn.stream("s", str).group("g"))
    left = [m.value for m in rest]
    assert not set(left) & set(done), "acknowledged, yet delivered again"
    assert set(left) | set(done) | maybe >= {m.value for m in messages}, "never delivered"
    first: dict[str | None, list[str]] = {}
    seen: set[str] = set()
    for key, value in [(line["key"], line["value"]) for line in got] + [(m.key, m.value) for m in rest]:
        if value not in seen:
            seen.add(value)
            first.setdefault(key, []).append(value)
    rank = {m.value: i for i, m in enumerate(messages)}
    for key, values in first.items():
        ranks = [rank[value] for value in values]
        assert key is None or ranks == sorted(ranks), f"first deliveries of {key} out of order"


def check_queue(conn: Any, lines: list[Line], mine: dict[str, str]) -> None:
    queue = conn.queue("q", str)
    done, maybe = finished(lines, "q")
    dead = [letter.value for letter in queue.dead.read()]
    left = [m.value for m in drained(queue)]
    assert len(set(left)) == len(left) and len(set(dead)) == len(dead)
    assert not set(left) & set(done) and not set(dead) & set(done), "a finished job came back"
    again = [line for line in lines if line["event"] == "got" and line["source"] == "q" and line["t"] > done.get(line["value"], float("inf"))]
    assert not again, f"delivered after its ack returned: {again[:3]}"
    ids = {line["id"]: line["value"] for line in lines if line["event"] == "put"}
    assert len(ids) == len([line for line in lines if line["event"] == "put"]), "an id was given twice"
    cancelled = {ids[line["id"]] for line in lines if line["event"] == "cancelled"}
    cancelling = {ids[line["id"]] for line in lines if line["event"] == "cancelling"}
    assert not cancelled & (set(left) | set(done) | set(dead)), "a cancelled job was done"
    put = set(ids.values()) | set(mine)
    lost = put - set(done) - maybe - set(left) - set(dead) - cancelling
    assert not lost, f"{len(lost)} jobs are gone: {sorted(lost)[:3]}"
    begun = {line["value"] for line in lines if line["event"] == "putting"} | set(mine)
    assert set(left) | set(dead) | set(done) <= begun
    stats = queue.stats()
    assert (stats.ready, stats.delayed, stats.leased, stats.dead) == (0, 0, 0, len(dead))
