"""Every byte of a small store flipped, one at a time, through the public API: what is handed out is what was written, or an error of
the tree; never wrong bytes, never a silent hole, never a signal, never a hang."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

SENT = [b"record %02d " % i + b"." * 40 for i in range(20)]
JOBS = [b"job %02d" % i for i in range(10)]

CHILD = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_bitflips
for line in sys.stdin:
    file, offset = json.loads(line)
    print(json.dumps(test_bitflips.flip(Path(sys.argv[2]), Path(sys.argv[3]), file, offset)), flush=True)
"""


def store(path: Path) -> None:
    with hw.sync.connect(f"local:{path}?durability=always") as conn:
        stream, queue = conn.stream("s", bytes), conn.queue("q", bytes)
        for i, value in enumerate(SENT):
            stream.append(value, key=f"k{i % 3}", headers={"n": str(i)})
        for job in JOBS:
            queue.put(job)
        for message in queue.take(max=5, wait=1.0):
            message.ack()


def interesting(path: Path) -> list[tuple[str, int]]:
    """Every byte that is not zero, and every 512th that is, of every file but the volatile ones."""
    places = []
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.is_file() and not name.startswith(("run/", "reserve", "LOCK", "SETUP")):
            places += [(name, i) for i, byte in enumerate(file.read_bytes()) if byte or (i % 512 == 0 and i < 65536)]
    return places


def flip(original: Path, scratch: Path, file: str, offset: int) -> str:
    """Damages a copy, opens it and looks; returns what happened, or raises AssertionError."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(original, scratch, ignore=shutil.ignore_patterns("run", "reserve"))
    with (scratch / file).open("r+b") as damaged:
        damaged.seek(offset)
        byte = damaged.read(1)[0]
        damaged.seek(offset)
        damaged.write(bytes([byte ^ (1 << offset % 8)]))
    reports = _Reports()
    logging.getLogger("headwater").addHandler(reports)
    try:
        with hw.sync.connect(f"local:{scratch}", connect_timeout=5.0) as conn:
            told = _stream(conn) + _queue(conn)
    except hw.HeadwaterError as error:
        return type(error).__name__
    finally:
        logging.getLogger("headwater").removeHandler(reports)
    missing = [what for what in told if what.endswith("missing")]
    assert not missing or reports.count or any("Error" in what for what in told), f"silently {missing} after {file}@{offset}"
    return ",".join(told) or "intact"


class _Reports(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def _stream(conn: Any) -> list[str]:
    got: list[bytes] = []
    told = []
    try:
        with conn.stream("s", bytes).read() as reader:
            while (message := reader.next(timeout=0)) is not None:
                got.append(message.value)
                assert message.key == f"k{(len(got) - 1) % 3}" or got != SENT[: len(got)]
    except hw.HeadwaterError as error:
        told.append(type(error).__name__)
    assert all(value in SENT for value in got), "wrong bytes were handed out"
    assert got == sorted(got) and len(set(got)) == len(got)
    if len(got) < len(SENT):
        told.append("records missing")
    return told


def _queue(conn: Any) -> list[str]:
    got: list[bytes] = []
    told = []
    try:
        with conn.queue("q", bytes).consume() as consumer:
            while (message := consumer.next(timeout=0)) is not None:
                got.append(message.value)
                message.ack()
    except hw.HeadwaterError as error:
        told.append(type(error).__name__)
    assert all(value in JOBS for value in got), "wrong bytes were handed out"
    assert len(set(got)) == len(got)
    if not set(JOBS[5:]) <= set(got):
        told.append("jobs missing")
    return told


@pytest.mark.timeout(900)
def test_flips(tmp_path: Path, budget: float) -> None:
    """As many as the budget allows, spread evenly; every one in a full run. In a child, so that a signal is seen."""
    original = tmp_path / "store"
    store(original)
    places = interesting(original)
    stride = max(1, int(len(places) / (budget * 15)))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(original), str(tmp_path / "scratch")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    outcomes: dict[str, int] = {}
    done, end = 0, time.monotonic() + 2 * budget + 5
    try:
        for turn in range(0, len(places), stride):
            place = places[turn]
            child.stdin.write(json.dumps(place) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            assert line, f"the process ended at {place}: {child.communicate(timeout=10)[1][-3000:]}"
            outcome = json.loads(line)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            done += 1
            if stride > 1 and time.monotonic() > end:
                break  # slower than thought; what was done is printed
    finally:
        child.kill()
        child.communicate()
    print(f"{done} of {len(places)} bytes flipped: {outcomes}")
    assert any("Corruption" in outcome for outcome in outcomes), outcomes
