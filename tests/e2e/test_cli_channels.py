"""`publish` and `tail` on channels."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from .conftest import Cli
from .test_cli_streams import MESSAGE


def listening(cli: Cli, *arguments: str) -> subprocess.Popen[bytes]:
    """`tail`, once it hears: the first message that reaches it says so, and is read away."""
    with cli.connect() as conn:
        name = arguments[0].replace("**", "probe").replace("*", "probe")
        process = cli.start("tail", *arguments)
        while not conn.channel(name).publish("probe"):
            assert process.poll() is None
            time.sleep(0.01)
    assert process.stdout is not None
    assert b"probe" in process.stdout.readline()
    return process


def test_who_listens_hears(cli: Cli) -> None:
    assert cli("publish", "chat.lobby", "nobody").ok().out == "0\n"
    process = listening(cli, "chat.lobby")
    assert cli("publish", "chat.lobby", "hello", '{"a": [1]}').ok().out == "1\n1\n"
    assert cli("publish", "chat.garden", "not here", "--json").ok().objects == [{"reached": 0}]
    assert cli("publish", "chat.lobby", "-", "--quiet", stdin="x\ny").ok().out == ""
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(4)] == [b"hello\n", b'{"a":[1]}\n', b"x\n", b"y\n"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_patterns_and_whole_messages(cli: Cli) -> None:
    process = listening(cli, "chat.*", "--json", "--max", "3")
    cli("publish", "chat.a.b", "too deep").ok()
    cli("publish", "chat.a", "1", "--key", "k", "--header", "h=v").ok()
    cli("publish", "chat.b", "two").ok()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    first, second = map(json.loads, out.splitlines())
    assert set(first) == MESSAGE
    assert (first["name"], first["value"], first["key"], first["headers"], first["position"]) == ("chat.a", 1, "k", {"h": "v"}, None)
    assert (second["name"], second["value"]) == ("chat.b", "two")
    cli("publish", "chat.*", "x").refused(2, "pattern")


def test_a_name_that_is_a_stream_too(cli: Cli) -> None:
    cli("append", "news", "stored").ok()
    assert cli("tail", "news").ok().lines == ["stored"]
    process = listening(cli, "news", "--channel", "--max", "2")
    cli("publish", "news", "said").ok()
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, b"said\n")
    cli("tail", "rumours", "-n", "3").refused(2, "no stream 'rumours'")


def test_what_was_lost_is_said(cli: Cli) -> None:
    """A reader of stdout that is slow makes a slow subscriber; what it missed is counted at the end."""
    process = listening(cli, "ticks", "--buffer", "10", "--max", "2")
    process.send_signal(signal.SIGSTOP)
    with cli.connect() as conn:
        for n in range(1000):
            conn.channel("ticks").publish(n)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(out.splitlines()) == 1
    assert b"messages were lost" in err and err.count(b"\n") == 1
