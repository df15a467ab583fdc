"""`headwater bench` runs every row between real processes, and says what it found. No test asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater.bench import ROWS, Plan, Row, chosen, measure
from headwater.bench.payloads import KEYS, PERIOD, Wrong, check, check_keys, orders, payloads
from headwater.errors import UsageError


def bench(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(cwd)}
    environment.pop("HEADWATER_URL", None)
    command = [sys.executable, "-m", "headwater", "bench", "--runs", "2", "--messages", "30", *arguments]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of all rows, in a directory of its own."""
    place = tmp_path_factory.mktemp("bench")
    found: dict[str, Any] = json.loads(bench("--json", cwd=place).stdout)
    assert list(place.iterdir()) == [], "the temporary directory is still there"
    return found


def test_every_row_is_there_with_all_its_runs(report: dict[str, Any]) -> None:
    assert [row["row"] for row in report["rows"]] == [row.name for row in ROWS]
    for row in report["rows"]:
        assert row["refused"] is None, row
        assert len(row["runs"]) == 2
        for run in row["runs"]:
            assert run["error"] is None, run
            assert run["messages"] == 30
        figures = [run["per_second" if row["unit"] == "messages/s" else "p50_us"] for run in row["runs"]]
        assert (row["min"], row["max"]) == (min(figures), max(figures))
        assert row["min"] <= row["median"] <= row["max"]
        assert (row["p99_us"] is not None) == (row["unit"] == "µs")


def test_the_report_says_where_and_how(report: dict[str, Any]) -> None:
    assert (report["size"], report["runs"], report["messages"]) == (100, 2, 30)
    assert report["machine"]["processors"] >= 1
    assert report["machine"]["python"] == sys.version.split()[0]
    assert report["machine"]["file_system"]
    assert report["when"]


def test_a_directory_that_is_given_is_left_as_it_was(tmp_path: Path) -> None:
    done = bench("--url", "local:data", "--rows", "append,latency-spin", cwd=tmp_path)
    assert done.stdout.splitlines()[0].split()[0] == "row"
    assert [text.split()[0] for text in done.stdout.splitlines()[1:3]] == ["append", "latency-spin"]
    assert subprocess.run(
        [sys.executable, "-m", "headwater", "ls", "--url", "local:data"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    ).stdout == ""  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rows", "stream,nothing"), "no row is named 'nothing'"),
        (("--size", "10", "--rows", "latency"), "16 to 65536 bytes"),
        (("--seconds", "1"), "not both"),
        (("--url", "memory:x"), "lives in one process"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in bench(*arguments, cwd=tmp_path, code=2).stderr


def test_a_failed_run_has_its_reason_and_no_figures(tmp_path: Path) -> None:
    nothing = Row("nothing", "a row without sides", "stream", "headwater.bench.streams", "messages/s", 1)
    (row,) = measure(Plan(f"local:{tmp_path / 'data'}", [nothing], runs=2, messages=1)).rows
    assert (row.median, row.min, row.max) == (None, None, None)
    assert len(row.failed) == 2
    assert all("the consumer of nothing" in text and "KeyError" in text for text in row.failed)


def test_rows_are_chosen_by_name_and_by_pattern() -> None:
    assert [row.name for row in chosen(["latency", "group"])] == ["group", "group-batch", "latency"]
    assert {row.pattern for row in chosen(["stream"])} == {"stream"}
    with pytest.raises(UsageError):
        measure(Plan(rows=chosen(["append"]), runs=0))


def test_the_check_sees_what_is_lost_twice_or_in_another_order() -> None:
    sent = payloads(20)
    came = [*sent, *sent[:10]]
    check(came, sent, PERIOD + 10)
    for wrong in (came[:-1], [*came, b""], came[:5] + came[6:] + came[5:6], came[:5] + came[5:6] * 2 + came[7:]):
        with pytest.raises(Wrong):
            check(wrong, sent, PERIOD + 10)


def test_the_check_of_keys_allows_another_order_of_keys_alone() -> None:
    sent = payloads(20)
    other = [*sent[1:KEYS], sent[0], *sent[KEYS:]]
    check_keys(other, sent, PERIOD)
    for wrong in (sent[KEYS : 2 * KEYS] + sent[:KEYS] + sent[2 * KEYS :], sent[:-1], [sent[0], *sent[:-1]]):
        with pytest.raises(Wrong):
            check_keys(wrong, sent, PERIOD)


def test_typed_payloads_have_the_size_that_is_asked_for() -> None:
    assert {len(msgspec.json.encode(order)) for order in orders(100)} == {100}


def test_the_bars_of_the_first_release_stand_beside_the_limit(tmp_path: Path) -> None:
    """benchmarks/first_light.py, with the C extension that it compiles."""
    script = Path(__file__).parent.parent.parent / "benchmarks" / "first_light.py"
    command = [sys.executable, str(script), "--runs", "1", "--messages", "30", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert [row["measured"]["row"] for row in found["rows"]] == [row.name for row in ROWS]
    for row in found["rows"]:
        assert row["floor"] > 0
        assert row["limit"]["runs"][0]["error"] is None, row
        assert row["ratio"] > 0
    assert found["fdatasync_us"][0] > 0
    assert list(tmp_path.iterdir()) == [], "it left something behind"
