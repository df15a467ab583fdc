"""What is typed, and what the API gets: values, places, times; and command lines that are wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.cli import main
from headwater.cli.options import checkpoint_of, delay_of, headers_of, place_of, seconds_of, stop_of, time_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": []}}', {"a": {"b": []}}),
        ("hello world", "hello world"),
        ("", ""),
        ("{a: 1}", "{a: 1}"),
        ("NaN", "NaN"),
        ("1 2", "1 2"),
        ("007", "007"),
        ("grün", "grün"),
    ],
)
def test_values(text: str, value: Any) -> None:
    """JSON where it parses, else text."""
    assert value_of(text, raw=False) == value
    assert type(value_of(text, raw=False)) is type(value)
    assert value_of(text.encode(), raw=False) == value
    assert value_of(text, raw=True) == text.encode()


def test_bytes() -> None:
    assert value_of(b"\xff", raw=True) == b"\xff"
    # As the interpreter gives an argument that is no UTF-8.
    assert value_of("\udcff", raw=True) == b"\xff"
    with pytest.raises(hw.UsageError, match="--raw"):
        value_of("a\udcff", raw=False)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("42", hw.Position.parse("42")),
        ("42@2026-01-01", hw.Position.parse("42@2026-01-01")),
        ("42.1@orders", hw.Position.parse("42.1@orders")),
        ("20261124", hw.Position.parse("20261124")),
        ("2026-11-24T18:30Z", datetime(2026, 11, 24, 18, 30, tzinfo=UTC)),
        ("20261124T183000Z", datetime(2026, 11, 24, 18, 30, tzinfo=UTC)),
        ("2026-11-24 19:30:00.5+01:00", datetime(2026, 11, 24, 18, 30, 0, 500000, tzinfo=UTC)),
    ],
)
def test_places(text: str, place: Any) -> None:
    assert place_of(text, "--start") == place
    if isinstance(place, hw.Position | datetime):
        assert stop_of(text, "--stop") == place
    else:
        with pytest.raises(hw.UsageError, match="--stop"):
            stop_of(text, "--stop")


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "2026-11-24T18:30", "-1", "1e3", "2026-11-24Z"])
def test_no_places(text: str) -> None:
    with pytest.raises(hw.UsageError, match="--start"):
        place_of(text, "--start")


def test_checkpoints() -> None:
    assert checkpoint_of(None, "--after") is None
    assert str(checkpoint_of("42.0,17.1@orders", "--after")) == "42.0,17.1@orders"
    for text in ("", "x", "1,", "earliest"):
        with pytest.raises(hw.UsageError, match="--after"):
            checkpoint_of(text, "--after")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), (".5s", 0.5), ("250ms", 0.25), ("5m", 300), ("2h", 7200), ("1d", 86400), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text, "--ttl") == seconds
    assert delay_of(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "5 m", "1e3", "inf", "5w", "1h30m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(hw.UsageError, match="--ttl"):
        seconds_of(text, "--ttl")


def test_delays() -> None:
    assert delay_of(None) == 0
    assert delay_of("2026-11-24T18:30Z") == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    with pytest.raises(hw.UsageError, match="--delay"):
        delay_of("soon")


def test_times_have_a_zone() -> None:
    assert time_of(None, "--time") is None
    with pytest.raises(hw.UsageError, match=r"write 2026-11-24T18:30:05Z for UTC"):
        time_of("2026-11-24T18:30:05", "--time")


def test_headers() -> None:
    assert headers_of(None) is None
    assert headers_of([]) is None
    assert headers_of(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(hw.UsageError, match="NAME=VALUE"):
            headers_of([wrong])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch",), "nosuch"),
        (("ls", "extra"), "extra"),
        (("ls", "--nosuch"), "--nosuch"),
        (("ls", "--url"), "--url"),
        (("read",), "STREAM"),
        (("append", "orders"), "VALUE"),
        (("read", "orders", "--last", "many"), "--last"),
        (("read", "orders", "--start", "yesterday"), "earliest, latest, a position"),
        (("read", "orders", "--start", "2026-11-24"), "write 2026-11-24T00:00Z"),
        (("read", "orders", "--after", "x"), "--after x"),
        (("append", "orders", "1", "--header", "x"), "NAME=VALUE"),
        (("append", "orders", "1", "--time", "noon"), "--time noon"),
        (("append", "orders", "1", "--expect", "x"), "--expect x"),
        (("append", "orders", "1", "2", "--id", "x"), "one value"),
        (("append", "orders", "1", "--codec", "pickle"), "--codec"),
        (("append", "a..b", "1"), "'a..b' is not a valid name"),
        (("append", "a*", "1"), "'a*' is not a valid name"),
        (("append", "a\tb", "1"), "not a valid name"),
        (("put", "jobs", "1", "--delay", "soon"), "--delay soon"),
        (("put", "jobs", "1", "--ttl", "-1"), "--ttl"),
        (("top", "--interval", "0"), "--interval"),
        (("group", "orders", "billing", "seek"), "needs a place"),
        (("group", "orders", "billing", "lag", "earliest"), "takes no place"),
        (("group", "orders", "billing", "lag", "--lease", "3"), "go with create"),
        (("dead", "jobs", "bury"), "ACTION"),
        (("dead", "jobs", "edit", "1"), "the new value"),
        (("dead", "jobs", "list", "--rate", "3"), "--rate goes with redrive"),
        (("delete", "table", "x"), "KIND"),
    ],
)
def test_a_wrong_command_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and one line that names what is wrong; nothing is made that was asked for wrongly."""
    monkeypatch.setenv("HEADWATER_URL", f"local:{tmp_path / 'data'}")
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("headwater: ") and err.count("\n") == 1, err
    assert words in err
    assert not (tmp_path / "data").exists() or arguments[1].startswith("a")
