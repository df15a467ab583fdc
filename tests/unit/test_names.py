"""The grammar of names: one for all engines."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.names import check_name, check_pattern, is_pattern

GOOD = ["a", "a.b.c", "A", "a b", "a/b#c?d", "ü", "日本語", "🦀", "-", "0", "x" * 200, "é" * 100, "a\u00a0b"]
BAD = ["", ".", "a.", ".a", "a..b", "a*", "*", "a.**", "x" * 201, "é" * 101, "a\nb", "a\x00", "\x7f", "\x85", "e\u0301", "\ud800"]
PATTERNS = ["*", "**", "a.*", "a.**", "*.b", "a.*.c", "*.*", "a.*.**"]
NO_PATTERNS = ["a*", "*a", "**.a", "a.**.b", "***", "a.b*", "*.", ".*", "a..*"]


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert check_name(name) == check_pattern(name) == name
    assert not is_pattern(name)


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    with pytest.raises(hw.InvalidNameError) as caught:
        check_name(name)
    assert caught.value.name == name
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str) -> None:
    assert check_pattern(pattern) == pattern
    assert is_pattern(pattern)


@pytest.mark.parametrize("pattern", NO_PATTERNS)
def test_no_patterns(pattern: str) -> None:
    with pytest.raises(hw.InvalidNameError):
        check_pattern(pattern)


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
def test_not_a_str(name: Any) -> None:
    with pytest.raises(hw.InvalidNameError, match="not a str"):
        check_name(name)


@pytest.mark.parametrize(
    "declare",
    [lambda c, n: c.stream(n), lambda c, n: c.queue(n), lambda c, n: c.channel(n), lambda c, n: c.stream("s").group(n)],
    ids=["stream", "queue", "channel", "group"],
)
@pytest.mark.parametrize("name", ["", "a..b", "a\x00", "e\u0301"])
def test_declarations_check(declare: Callable[[hw.sync.Connection, str], object], name: str) -> None:
    with hw.sync.connect("memory:") as conn, pytest.raises(hw.InvalidNameError):
        declare(conn, name)


@given(st.text(max_size=210))
def test_the_grammar(name: str) -> None:
    """As api.md writes it, said in another way."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    good = (
        1 <= size <= 200
        and unicodedata.normalize("NFC", name) == name
        and "*" not in name
        and "" not in name.split(".")
        and not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name)
    )
    try:
        assert check_name(name) == name
        assert good
    except hw.InvalidNameError:
        assert not good
