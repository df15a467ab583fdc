"""Copies of a directory that several processes write to: nothing acknowledged before is missing, what is there is a prefix of each
stream, no group is ahead of its stream, and each key's messages are in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import doctor

#: Appends, puts and acknowledges, and writes down what was acknowledged.
WRITER = """
import json, sys, time, headwater as hw
who, record = sys.argv[2], open(sys.argv[3], "w")
with hw.sync.connect(sys.argv[1], name=who) as conn:
    stream, queue = conn.stream("orders", str), conn.queue("jobs", str)
    group = stream.group("billing", ordering="key")
    say = lambda **fields: (record.write(json.dumps(fields) + "\\n"), record.flush())
    print("ready", flush=True)
    turn = 0
    while True:
        turn += 1
        # What a copy holds is read to its end by the test.
        time.sleep(0.003)
        value = f"{who} {turn}"
        stream.append(value, key=who)
        say(appended=value)
        many = [f"{who} {turn} {i} " + "." * 300 for i in range(20)]
        stream.append_many([hw.Item(each, key=who) for each in many], atomic=True)
        say(many=many)
        job = queue.put(value, priority=turn % 2)
        say(put=value)
        for message in group.take(max=7, wait=0):
            message.ack()
            say(acked=message.value)
        for message in queue.take(max=1, wait=0):
            message.ack()
            say(done=message.value)
"""


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[Path]]:
    """Three writers at work; what each acknowledged, as it is written down."""
    records, started = [], []
    for number in range(3):
        record = tmp_path / f"{number}.jsonl"
        command = [sys.executable, "-c", WRITER, f"local:{tmp_path / 'dir'}", f"w{number}", str(record)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(writer)
        records.append(record)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    yield records
    for writer in started:
        writer.kill()
        with writer:
            pass


def lines(records: list[Path]) -> list[dict[str, Any]]:
    found = []
    for record in records:
        data = record.read_bytes()
        found += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    return found


@pytest.mark.timeout(300)
def test_a_copy_under_full_load(tmp_path: Path, writers: list[Path], budget: float) -> None:
    time.sleep(0.3)
    end = time.monotonic() + min(budget / 4, 60)
    turn = 0
    while time.monotonic() < end or turn == 0:
        out = tmp_path / f"copy-{turn}"
        before = lines(writers)
        done = doctor.backup(tmp_path / "dir", out)
        after = lines(writers)
        assert done.objects == 5 and not out.with_name(out.name + ".unfinished").exists()
        check(out, before, after)
        turn += 1
        time.sleep(0.1)
    print(f"{turn} copies, {len(after)} steps")
    assert len(after) > len(before), "the writers went on meanwhile"


def check(out: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    assert all((p.stat().st_mode & 0o077) == 0 for p in (out, *out.rglob("*"))), "private to the user"
    assert [each for each in doctor.check(f"local:{out}").findings if each.level in ("warning", "error")] == []
    with hw.sync.connect(f"local:{out}") as conn:
        stream, queue = conn.stream("orders", str), conn.queue("jobs", str)
        stored = list(stream.read())
        values = [message.value for message in stored]
        there = set(values)
        assert len(there) == len(values)
        for line in before:
            written = {line["appended"]} if "appended" in line else set(line.get("many", ()))
            assert written <= there, "acknowledged before, and not in the copy"
        for line in after:
            if "many" in line:
                assert len({each in there for each in line["many"]}) == 1, "half a batch"
        # Of each writer a prefix of what it wrote, in its order.
        for who in ("w0", "w1", "w2"):
            turns = [int(value.split()[1]) for value in values if value.startswith(who + " ") and len(value.split()) == 2]
            assert turns == list(range(1, len(turns) + 1))
        progress(stream, before, values)
        jobs(queue, before, after)


def progress(stream: Any, before: list[dict[str, Any]], values: list[str]) -> None:
    """What was acknowledged before is done; nothing that is not in the stream is; the rest comes, each key in order."""
    group = stream.group("billing")
    acked = {line["acked"] for line in before if "acked" in line}
    stats = group.stats()
    # What was in hand is of processes that the copy has never seen: it comes again.
    assert stats.acked_total + stats.ready + stats.leased + stats.delayed == len(values)
    rest = []
    with group.consume(prefetch=100) as consumer:
        while (message := consumer.next(timeout=0.3)) is not None:
            rest.append(message.value)
            message.ack()
    assert not acked & set(rest), "acknowledged before the copy, and delivered from it"
    assert len(rest) == len(set(rest)) and set(rest) <= set(values)
    rank = {value: n for n, value in enumerate(values)}
    for who in ("w0", "w1", "w2"):
        ranks = [rank[value] for value in rest if value.startswith(who + " ")]
        assert ranks == sorted(ranks), f"the messages of {who} are out of order"


def jobs(queue: Any, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    left = []
    with queue.consume(prefetch=100) as consumer:
        while (message := consumer.next(timeout=0.3)) is not None:
            left.append(message.value)
            message.ack()
    put = {line["put"] for line in before if "put" in line}
    done = {line["done"] for line in before if "done" in line}
    perhaps = {line["done"] for line in after if "done" in line}
    assert len(left) == len(set(left)) and not done & set(left)
    assert put <= set(left) | perhaps, "put before the copy, and neither there nor done"


def test_the_copy_of_a_closed_directory_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "dir"
    with hw.sync.connect(f"local:{source}?durability=always") as conn:
        conn.stream("orders", str).append_many([str(i) for i in range(3000)])
        conn.queue("jobs", str, retry=hw.Retry(max_attempts=1)).put("bad")
        (message,) = conn.queue("jobs", str).take(wait=1.0)
        message.reject("no use")
    (tmp_path / "copy").mkdir()
    doctor.backup(source, tmp_path / "copy")
    with hw.sync.connect(f"local:{tmp_path / 'copy'}") as conn:
        assert [m.value for m in conn.stream("orders", str).read()] == [str(i) for i in range(3000)]
        (letter,) = list(conn.queue("jobs", str).dead.read())
        assert letter.value == "bad" and "no use" in letter.reason
        assert conn.capabilities.acknowledged == "fsync"
        assert conn.stream("orders", str).append("next").seq > 3000
    with hw.sync.connect(f"local:{source}") as conn:
        assert conn.stream("orders", str).info().records == 3000


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "dir"
    with hw.sync.connect(f"local:{source}") as conn:
        conn.stream("s", bytes).append(b"x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for out in (full, source, source / "inside", tmp_path / "file", tmp_path / "no" / "where"):
        with pytest.raises(hw.UsageError):
            doctor.backup(source, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir", "file", "full"]
    assert not (source / "inside").exists() and (full / "letter.txt").read_text() == "dear"
    with pytest.raises(hw.ConnectError):
        doctor.backup(tmp_path / "missing", tmp_path / "out")
    assert not (tmp_path / "missing").exists() and not (tmp_path / "out").exists()


def test_a_copy_that_finds_no_room_leaves_nothing(tmp_path: Path, disk: Any) -> None:
    source = tmp_path / "dir"
    with hw.sync.connect(f"local:{source}") as conn:
        conn.stream("s", bytes).append_many([b"x" * 100_000] * 20)
        disk.fill()
        with pytest.raises(hw.StorageFullError):
            doctor.backup(source, disk.path / "copy")
        disk.free()
        assert [p.name for p in disk.path.iterdir()] == []
        doctor.backup(source, disk.path / "copy")
    with hw.sync.connect(f"local:{disk.path / 'copy'}") as conn:
        assert conn.stream("s", bytes).info().records == 20


def test_a_copy_that_was_killed_is_no_directory(tmp_path: Path, writers: list[Path]) -> None:
    """It is named as unfinished, is refused, and is replaced by the next."""
    out = tmp_path / "copy"
    unfinished = out.with_name("copy.unfinished")
    command = f"from headwater import doctor; print(flush=True); doctor.backup({str(tmp_path / 'dir')!r}, {str(out)!r})"
    for attempt in range(40):
        child = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.002 * attempt)
        child.kill()
        child.communicate()
        if unfinished.exists():
            break
        if out.exists():
            os.rename(out, tmp_path / f"whole-{attempt}")
    assert unfinished.exists(), "none was killed in the middle"
    if not (unfinished / "headwater.json").exists():
        with pytest.raises((hw.IncompatibleError, hw.ConnectError)), hw.sync.connect(f"local:{unfinished}"):
            pass
    doctor.backup(tmp_path / "dir", out)
    assert out.exists() and not unfinished.exists()
