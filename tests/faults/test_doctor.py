"""What doctor says of directories: nothing where nothing is wrong, whoever uses it and however it ended; and the file and the byte of
anything that is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import doctor

WORKER = """
import sys, headwater as hw
with hw.sync.connect(sys.argv[1], name="worker") as conn:
    stream, queue = conn.stream("orders", bytes), conn.queue("jobs", bytes, lease=5.0)
    group = stream.group("billing", ordering="key", lease=5.0)
    print("ready", flush=True)
    turn = 0
    while True:
        turn += 1
        stream.append_many([b"%d" % turn * 20] * 7, atomic=turn % 2 == 0)
        stream.append(b"x" * (turn % 3000), key=f"k{turn % 5}")
        queue.put(b"job", priority=turn % 3)
        for message in (*group.take(max=5, wait=0), *queue.take(max=2, wait=0)):
            message.ack()
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process that does everything in `tmp_path/dir`."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        worker = subprocess.Popen([sys.executable, "-c", WORKER, f"local:{tmp_path / 'dir'}"], stdout=subprocess.PIPE)
        started.append(worker)
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        return worker

    yield start
    for worker in started:
        worker.kill()
        # Closes its pipe, whatever the test did before.
        with worker:
            pass


def filled(path: Path) -> None:
    """Several segments, a group, a queue of two priorities, a dead letter; closed."""
    with hw.sync.connect(f"local:{path}") as conn:
        stream = conn.stream("orders", bytes)
        stream.append_many([b"%06d" % i + b"." * 200 for i in range(5000)])
        group = stream.group("billing", retry=hw.Retry(max_attempts=1))
        for i, message in enumerate(group.take(max=20, wait=1.0)):
            if i == 7:
                message.reject("no such customer")
            else:
                message.ack()
        queue = conn.queue("jobs", bytes)
        queue.put_many([hw.Item(b"job %d" % i, priority=i % 2) for i in range(100)])
        for message in queue.take(max=10, wait=1.0):
            message.ack()


def wrong(path: Path) -> list[doctor.Finding]:
    """What is more than worth a note."""
    return [each for each in doctor.check(f"local:{path}").findings if each.level in ("warning", "error")]


def test_a_closed_directory_is_healthy_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "dir"
    filled(path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.rglob("*") if p.is_file()}
    report = doctor.check(f"local:{path}")
    assert [each for each in report.findings if each.level != "ok"] == []
    assert report.worst == "ok" and report.records > 5100 and report.objects == 5 and report.processes == ()
    said = " ".join(each.what for each in report.findings)
    for name in ("stream orders: 5000 records", "group billing of stream orders", "queue jobs", "lane jobs/1"):
        assert name in said, said
    assert report.capabilities["queue"]["DELAY"].level == hw.Level.NATIVE
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.rglob("*") if p.is_file()} == before


def test_a_directory_in_use_is_healthy(tmp_path: Path, workers: Callable[[], subprocess.Popen[bytes]], budget: float) -> None:
    pids = {workers().pid for _ in range(3)}
    end = time.monotonic() + min(budget / 4, 20)
    looks = 0
    while time.monotonic() < end:
        report = doctor.check(f"local:{tmp_path / 'dir'}")
        assert wrong(tmp_path / "dir") == []
        assert {each.pid for each in report.processes} == pids
        assert {(each.state, each.name) for each in report.processes} == {("live", "worker")}
        looks += 2
    print(f"{looks} looks, at last {report.records} records")


def test_kills_are_no_damage(tmp_path: Path, workers: Callable[[], subprocess.Popen[bytes]], budget: float) -> None:
    """With a survivor that repairs, and with nobody left, before and after the next opening."""
    path = tmp_path / "dir"
    end = time.monotonic() + min(budget / 3, 40)
    rounds = 0
    while time.monotonic() < end or rounds < 3:
        crowd = [workers() for _ in range(3)]
        time.sleep(0.02 + rounds % 7 * 0.01)
        for worker in crowd[:2]:
            worker.kill()
        assert wrong(path) == []
        crowd[2].kill()
        for worker in crowd:
            worker.wait()
        assert wrong(path) == []
        report = doctor.check(f"local:{path}")
        assert {each.state for each in report.processes} <= {"dead"}
        with hw.sync.connect(f"local:{path}") as conn:
            assert conn.stream("orders", bytes).info().records > 0
            conn.queue("jobs", bytes).stats()
            conn.stream("orders", bytes).group("billing").stats()
            assert wrong(path) == []
        assert wrong(path) == []
        rounds += 1
    assert not (path / "quarantine").exists()


def flipped(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 16]))


#: A file by a pattern, which of them, and a byte that matters in it.
FLIPS = [
    ("headwater.json", 0, 3),
    ("session", 0, 600),
    ("s/*/meta.bin", 0, 40),
    ("s/*/meta.bin", 0, 4200),
    ("s/*/*.seg", 0, 0x31),
    ("s/*/*.seg", 1, 0x205),
    ("s/*/*.seg", 0, 0x405),
    ("s/*/*.seg", -1, 0x605),
    ("s/*/*.seg", 0, 0x900),
    ("s/*/*.seg", 0, 5000),
    ("s/*/*.seg", 1, 30_000),
    ("s/*/*.seg", -1, 4101),
    ("s/*/*.idx", 1, 70),
    ("s/*/g/*/meta.bin", 0, 4200),
    ("s/*/g/*/*.jrn", 0, 4140),
    ("s/*/g/*/notes-*.seg", 0, 4130),
    ("q/*/*.seg", 0, 4500),
    ("q/*/l1/*.seg", 0, 4500),
    ("q/*/g/*/*.jrn", 0, 4140),
]


@pytest.mark.parametrize(("pattern", "number", "offset"), FLIPS)
def test_a_flipped_bit_is_named(tmp_path: Path, pattern: str, number: int, offset: int) -> None:
    path = tmp_path / "dir"
    filled(path)
    file = sorted(path.glob(pattern))[number]
    # As it is, and as a copy, which the next opening would not trust.
    copy = tmp_path / "copy"
    flipped(file, offset)
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("run"))
    for root in (path, copy):
        found = [each for each in wrong(root) if each.file == str(root / file.relative_to(path))]
        assert found, f"{file.name} byte {offset}: not told: {wrong(root)}"
        # A frame's damage is told where the frame begins.
        assert any(each.offset is None or each.offset <= offset < each.offset + (256 << 10) for each in found), found


def test_damage_says_what_is_lost_and_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "dir"
    filled(path)
    segment = next(each for each in sorted(path.glob("s/*/*.seg")) if b"000123" in each.read_bytes())
    place = segment.read_bytes().find(b"000123")
    with hw.sync.connect(f"local:{path}") as conn:
        lost = [m.position.seq for m in conn.stream("orders", bytes).read() if m.value.startswith(b"000123")]
    flipped(segment, place + 50)
    (found,) = wrong(path)
    assert found.level == "error" and found.file == str(segment) and found.offset is not None and found.offset <= place
    first, last = (int(word) for word in found.what.split() if word.isdigit())
    assert first <= lost[0] <= last and "all others are readable" in found.what and "stream orders" in found.what


def test_what_does_not_belong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "dir"
    filled(path)
    (path / "thesis.tex").write_text("x")
    (path / "s" / ".gone-1234").mkdir(mode=0o700)
    stream = next(p for p in (path / "s").iterdir() if not p.name.startswith("."))
    (stream / "poisoned").touch(mode=0o600)
    (path / "session").chmod(0o644)
    segments = sorted(stream.glob("*.seg"))
    segments[1].unlink()
    report = doctor.check(f"local:{path}")
    told = {each.file: each for each in report.findings if each.file is not None}
    assert told[str(path / "thesis.tex")].level == "warning"
    assert told[str(path / "s" / ".gone-1234")].level == "note"
    assert told[str(stream / "poisoned")].level == "error" and "fsync" in told[str(stream / "poisoned")].what
    assert told[str(segments[1])].level == "error" and "missing" in told[str(segments[1])].what
    assert "0644" in told[str(path / "thesis.tex")].what or any("mode" in each.what for each in report.findings)
    assert report.worst == "error"


def test_a_stopped_process_and_its_lock_are_named(tmp_path: Path, workers: Callable[[], subprocess.Popen[bytes]]) -> None:
    worker = workers()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        (process,) = doctor.check(f"local:{tmp_path / 'dir'}").processes
        assert (process.pid, process.state) == (worker.pid, "stopped")
        (found,) = [each for each in wrong(tmp_path / "dir") if "stopped" in each.what]
        assert str(worker.pid) in found.what and "worker" in found.what
    finally:
        os.kill(worker.pid, signal.SIGCONT)


@pytest.mark.parametrize("url", ["memory:", "local:{}/missing", "local:{}"])
def test_what_is_no_directory_of_ours(tmp_path: Path, url: str) -> None:
    with pytest.raises((hw.UsageError, hw.ConnectError)):
        doctor.check(url.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_quarantine_is_told(tmp_path: Path) -> None:
    """What recovery kept aside, and the hole that it noted."""
    path = tmp_path / "dir"
    filled(path)
    segment = max(path.glob("s/*/*.seg"))
    flipped(segment, 4200)
    copy = tmp_path / "copy"
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("run"))
    with hw.sync.connect(f"local:{copy}") as conn, pytest.raises(hw.CorruptionError):
        _all(conn)
    said = [each.what for each in wrong(copy)]
    assert any("kept aside" in what and "stream orders" in what for what in said), said
    assert any("were lost" in what for what in said), said


def _all(conn: Any) -> list[bytes]:
    with conn.stream("orders", bytes).read() as reader:
        return [message.value for message in reader]
