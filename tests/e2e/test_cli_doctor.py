"""`headwater doctor` and `headwater backup`."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater import doctor

from .conftest import Cli


def test_doctor(cli: Cli, tmp_path: Path) -> None:
    cli("append", "orders", "1", "2", "3", "--quiet").ok()
    said = cli("doctor").ok().out
    assert "ok      stream orders: 3 records in 1 files" in said
    assert "engine" in said.splitlines()[-1]
    assert "queue" not in said
    table = cli("doctor", "--capabilities").ok().out
    assert any(line.split()[:3] == ["queue", "DELAY", "NATIVE"] for line in table.splitlines()), table
    (found,) = cli("doctor", "--json").ok().objects
    report = doctor.check(cli.url)
    assert found["records"] == report.records == 3
    assert next(each["what"] for each in found["findings"]) == report.findings[0].what
    assert set(found["findings"][0]) == {"level", "what", "file", "offset", "advice"}
    assert found["capabilities"]["stream"]["PERSIST"]["level"] == "NATIVE"


def test_doctor_finds_damage(cli: Cli, tmp_path: Path) -> None:
    cli("append", "orders", "first", "second", "--quiet").ok()
    (segment,) = (tmp_path / "data").glob("s/*/*.seg")
    content = bytearray(segment.read_bytes())
    place = content.find(b"second")
    content[place] ^= 1
    segment.write_bytes(content)
    done = cli("doctor")
    assert done.code == 1
    assert done.err == ""
    (line,) = [line for line in done.lines if line.startswith("error")]
    assert str(segment) in line
    assert "all others are readable" in line


def test_doctor_looks_at_directories_only(cli: Cli, tmp_path: Path) -> None:
    cli("doctor").refused(1, str(tmp_path / "data"))
    cli("doctor", "--url", "memory:").refused(2, "local:PATH")
    assert list(tmp_path.iterdir()) == []


def test_backup(cli: Cli, tmp_path: Path) -> None:
    cli("append", "orders", "1", "2", "--quiet").ok()
    said = cli("backup", str(tmp_path / "data"), "copy").ok().out
    assert said.startswith("1 objects, ") and str(tmp_path / "copy") in said
    assert cli("read", "orders", "--url", "local:copy").ok().lines == ["1", "2"]
    (done,) = cli("backup", "second", "--json").ok().objects
    assert done["out"] == str(tmp_path / "second")
    assert set(done) == {"out", "objects", "files", "bytes"}


@pytest.mark.parametrize(("arguments", "code", "words"), [(("data", "copy"), 2, "not empty"), (("a", "b", "c"), 2, "DIR OUT"), ((), 2, "OUT")])
def test_backup_refuses(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    cli("append", "orders", "1", "--quiet").ok()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter.txt").write_text("dear")
    cli("backup", *arguments).refused(code, words)
    assert (tmp_path / "copy" / "letter.txt").read_text() == "dear"


def test_trace(cli: Cli) -> None:
    (id,) = cli("put", "crawl", '{"url": "x"}', "--key", "k").ok().lines
    done = cli("trace", "crawl", id).ok()
    assert done.lines[0] == f"{id} of queue crawl: waiting"
    assert "nobody has come to it yet" in done.lines[1]
    assert done.lines[2] == "11 bytes, key k"
    assert done.lines[3].split()[1] == "stored"
    (found,) = cli("trace", "crawl", id, "--json").ok().objects
    assert (found["state"], found["events"][0]["what"]) == ("waiting", "stored")
    cli("append", "orders", "1", "--quiet").ok()
    assert cli("trace", "orders", "1").ok().lines[0] == "1 of stream orders: stored"
    cli("trace", "orders", "7").refused(1, "7")
    cli("trace", "nothing", "7").refused(1, "nothing")
    cli("trace", "crawl", "x").refused(2, "x")
