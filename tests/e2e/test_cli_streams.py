"""`append`, `read`, `tail`, `trim`, `stats`, `top`, `ls` and `delete` on streams."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import time
from datetime import UTC, datetime

import pytest

import headwater as hw

from .conftest import Cli

MESSAGE = {"value", "key", "headers", "id", "name", "timestamp", "position", "reply_to", "correlation_id", "foreign"}


def test_values_go_in_and_come_out(cli: Cli) -> None:
    """JSON where it parses, else text; out again as text, or compact JSON, one a line."""
    assert cli("append", "orders", '{"item": "tea", "amount": 2}', "hello world", "5", '"5"', "null").ok().lines == [
        f"{n}@orders" for n in range(1, 6)
    ]
    assert cli("read", "orders").ok().lines == ['{"item":"tea","amount":2}', "hello world", "5", "5", "null"]
    with cli.connect() as conn:
        assert [message.value for message in conn.stream("orders").read()] == [{"item": "tea", "amount": 2}, "hello world", 5, "5", None]


def test_bytes(cli: Cli) -> None:
    cli("append", "blobs", "-", "--raw", stdin=b"\xff\x00\xfe\n{not json").ok()
    with cli.connect() as conn:
        assert [message.value for message in conn.stream("blobs").read()] == [b"\xff\x00\xfe", b"{not json"]
    done = subprocess.run(cli.command("read", "blobs"), env=cli.environment, capture_output=True, timeout=60)
    assert done.stdout == b"\xff\x00\xfe\n{not json\n"
    assert cli("read", "blobs", "--json", "--max", "1").objects[0]["value"] == "/wD+"
    cli("append", "blobs", "-", stdin=b"a\xff").refused(2, "--raw")


def test_codecs(cli: Cli) -> None:
    cli("append", "packed", '{"a":[1]}', "--codec", "msgpack").ok()
    assert cli("read", "packed").ok().out == '{"a":[1]}\n'
    raw = subprocess.run(cli.command("read", "packed", "--raw"), env=cli.environment, capture_output=True, timeout=60)
    assert raw.stdout == b"\x81\xa1a\x91\x01\n"


def test_options_of_append(cli: Cli) -> None:
    cli("append", "orders", "1", "--key", "k", "--header", "a=b=c", "--header", "d=", "--time", "2013-07-04T12:00-04:00").ok()
    with cli.connect() as conn:
        (message,) = conn.stream("orders").read()
    assert (message.key, dict(message.headers)) == ("k", {"a": "b=c", "d": ""})
    assert message.timestamp == datetime(2013, 7, 4, 16, tzinfo=UTC)
    assert cli("append", "orders", "2", "--id", "once").lines == ["2@orders"]
    assert cli("append", "orders", "2", "--id", "once").lines == ["2@orders"]
    cli("append", "orders", "3", "--expect", "empty").refused(1, "found 2")
    cli("append", "orders", "3", "--expect", "1@orders").refused(1, "found 2")
    assert cli("append", "orders", "3", "--expect", "2@orders").lines == ["3@orders"]
    cli("append", "orders", "4", "--key", "k", "--expect-key", "absent").refused(1)
    assert cli("append", "orders", "4", "--key", "k", "--expect-key", "1").lines == ["4@orders"]
    assert cli("append", "orders", "5", "--json").objects == [{"position": "5@orders"}]
    assert cli("append", "orders", "6", "--quiet").ok().out == ""


def test_lines_of_stdin(cli: Cli) -> None:
    assert cli("append", "orders", "first", "-", "last", stdin="1\n\n2").ok().lines == [f"{n}@orders" for n in range(1, 6)]
    assert cli("read", "orders").lines == ["first", "1", "", "2", "last"]
    many = "\n".join(str(n) for n in range(30_000))
    assert len(cli("append", "many", "-", "--key", "k", stdin=many).ok().lines) == 30_000
    assert cli("read", "many", "--key", "k").ok().out == many + "\n"
    assert cli("append", "orders", "-", "--atomic", "--quiet", stdin="a\nb").ok().out == ""
    assert cli("append", "empty", "-", stdin="").ok().out == ""


def test_a_slow_writer_is_not_waited_for(cli: Cli) -> None:
    """A line is appended when it is there, not when there are many."""
    process = cli.start("append", "orders", "-")
    assert process.stdin is not None and process.stdout is not None
    for n in range(3):
        process.stdin.write(f"{n}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline() == f"{n + 1}@orders\n".encode()
    # Half a line is none, until the end says that it is all.
    process.stdin.write(b"ha")
    process.stdin.flush()
    process.stdin.write(b"lf")
    process.stdin.close()
    assert process.stdout.readline() == b"4@orders\n"
    assert process.wait(20) == 0
    assert cli("read", "orders").lines == ["0", "1", "2", "half"]


def test_too_large(cli: Cli) -> None:
    cli("append", "orders", "-", stdin="x" * (17 * 2**20)).refused(1, "16777216")
    assert cli("read", "orders").lines == []


def test_places(cli: Cli) -> None:
    with cli.connect() as conn:
        for n in range(1, 6):
            conn.stream("orders").append(n, key="even" if n % 2 == 0 else "odd", time=datetime(2026, 1, n, tzinfo=UTC))

    def read(*options: str) -> list[str]:
        return cli("read", "orders", *options).ok().lines

    assert read("--start", "3@orders") == read("--after", "2") == read("--last", "3") == ["3", "4", "5"]
    assert read("--start", "2026-01-03T01:00+01:00") == ["3", "4", "5"]
    assert read("--start", "2", "--stop", "2026-01-04T00:00Z") == ["2", "3"]
    assert read("--start", "latest") == []
    assert read("--key", "even") == ["2", "4"]
    assert read("--max", "2") == ["1", "2"]
    assert read("--max", "0") == []
    cli("read", "orders", "--start", "3", "--last", "1").refused(2, "one of start, after and last")
    cli("read", "orders", "--start", "3@other").refused(2, "3@other")


def test_whole_messages(cli: Cli) -> None:
    cli("append", "orders", '{"a":1}', "--key", "k", "--header", "h=v").ok()
    (found,) = cli("read", "orders", "--json").ok().objects
    assert set(found) == MESSAGE
    assert (found["value"], found["key"], found["headers"], found["position"], found["name"]) == ({"a": 1}, "k", {"h": "v"}, "1@orders", "orders")
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None


def test_follow_and_interrupt(cli: Cli) -> None:
    """What is appended comes out at once; Ctrl-C ends it with 130 and no word."""
    cli("append", "orders", "1").ok()
    process = cli.start("read", "orders", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    cli("append", "orders", "2").ok()
    assert process.stdout.readline() == b"2\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_follow_ends_after_max(cli: Cli) -> None:
    cli("append", "orders", "1").ok()
    process = cli.start("read", "orders", "-f", "--max", "2")
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    cli("append", "orders", "2", "3").ok()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"2\n", b"")


def test_pipes(cli: Cli) -> None:
    with cli.connect() as conn:
        conn.stream("orders").append_many([{"n": n} for n in range(20_000)])
    headwater = " ".join(cli.command())

    def shell(command: str) -> str:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command.replace("headwater ", headwater + " ")],
            env=cli.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    assert shell("headwater read orders | head -1") == '{"n":0}\n'
    assert shell("headwater read orders | grep -c 9").strip() == str(sum("9" in str(n) for n in range(20_000)))
    shell("headwater read orders | headwater append copy - --quiet")
    assert shell("headwater read copy") == shell("headwater read orders")


def test_what_does_not_decode_is_named_and_left_out(cli: Cli) -> None:
    class Lies:
        content_type = "application/json"

        def encode(self, value: object, ctx: hw.CodecContext, /) -> bytes:
            return b"{no json"

        def decode(self, data: bytes, type: object, ctx: hw.CodecContext, /) -> object:
            return None

    cli("append", "orders", "1").ok()
    with cli.connect() as conn:
        conn.stream("orders", codec=Lies()).append("x")
    cli("append", "orders", "3").ok()
    done = cli("read", "orders")
    assert (done.code, done.lines) == (1, ["1", "3"])
    assert done.err.startswith("headwater: 2@orders: ") and done.err.count("\n") == 1
    assert cli("read", "orders", "--raw").ok().lines == ["1", "{no json", "3"]


def test_tail(cli: Cli) -> None:
    cli("append", "orders", "-", stdin="\n".join(map(str, range(20)))).ok()
    assert cli("tail", "orders").ok().lines == [str(n) for n in range(10, 20)]
    assert cli("tail", "orders", "-n", "2").ok().lines == ["18", "19"]
    process = cli.start("tail", "orders", "-n", "1", "-f")
    assert process.stdout is not None
    assert process.stdout.readline() == b"19\n"
    cli("append", "orders", "20").ok()
    assert process.stdout.readline() == b"20\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_trim(cli: Cli) -> None:
    with cli.connect() as conn:
        for day in (1, 2, 3):
            conn.stream("orders").append(day, time=datetime(2026, 1, day, tzinfo=UTC))
    assert cli("trim", "orders", "--before", "2").ok().out == "2@orders\n"
    assert cli("trim", "orders", "--before", "2026-01-02T12:00Z").ok().out == "3@orders\n"
    cli("read", "orders", "--start", "1").refused(1, "trimmed")
    assert cli("read", "orders", "--start", "1", "--trimmed", "skip").ok().lines == ["3"]
    (info,) = cli("trim", "orders", "--before", "2030-01-01T00:00Z", "--json").ok().objects
    assert set(info) == {field.name for field in dataclasses.fields(hw.StreamInfo)}
    assert (info["records"], info["first"]) == (0, None)
    cli("append", "orders", "4").ok()
    assert cli("read", "orders").lines == ["4"]
    cli("trim", "orders", "--before", "earliest").refused(2, "--before earliest")


def test_stats(cli: Cli) -> None:
    cli("append", "orders", "1", "2", "3").ok()
    cli("append", "other", "1").ok()
    every = cli("stats", "--json").ok().objects
    assert {each["name"] for each in every} == {"orders", "other"}
    (one,) = cli("stats", "orders", "--json").ok().objects
    assert set(one) == {field.name for kind in (hw.Info, hw.StreamInfo) for field in dataclasses.fields(kind)}
    assert (one["kind"], one["records"], one["first"], one["last"], one["appended_total"]) == ("stream", 3, "1@orders", "3@orders", 3)
    plain = cli("stats").ok().lines
    assert plain[0].split() == ["STREAM", "RECORDS", "BYTES", "FIRST", "LAST", "GROUPS"]
    assert [row.split()[:2] for row in plain[1:]] == [["orders", "3"], ["other", "1"]]
    cli("stats", "nosuch").refused(1, "'nosuch'")


def test_rates(cli: Cli) -> None:
    """top counts what comes between its two looks."""
    with cli.connect() as conn:
        orders = conn.stream("orders")
        orders.append(0)
        process = cli.start("top", "--once", "--interval", "1", "--json")
        while process.poll() is None:
            orders.append(1)
            time.sleep(0.01)
    assert process.stdout is not None and process.stderr is not None
    found = json.loads(process.stdout.read())
    assert (process.returncode, process.stderr.read()) == (0, b"")
    assert 20 < found["appended_rate"] <= 100
    table = cli("top", "orders", "--interval", "0.1").ok().lines
    assert table[0].split()[:3] == ["STREAM", "RECORDS", "IN/S"]
    assert table[1].split()[0::2][:2] == ["orders", "0.0"]


def test_ls_and_delete(cli: Cli) -> None:
    for name in ("b", "a.x", "ü"):
        cli("append", name, "1").ok()
    assert sorted(cli("ls").ok().lines) == ["stream  a.x", "stream  b", "stream  ü"]
    assert all(set(each) == {"kind", "name", "parent"} for each in cli("ls", "--json").ok().objects)
    cli("delete", "stream", "b").refused(2, "--yes")
    assert cli("read", "b").ok().lines == ["1"]
    assert cli("delete", "stream", "b", "--yes").ok().out == ""
    cli("read", "b").refused(1, "there is no stream")
    cli("delete", "stream", "b", "-y").refused(1, "there is no stream")


@pytest.mark.parametrize("url", ["memory:", "memory:shared"])
def test_memory(cli: Cli, url: str) -> None:
    """Gone with the process, but no error."""
    cli.url = url
    assert cli("append", "orders", "1").ok().lines == ["1@orders"]
    assert cli("ls").ok().lines == []
