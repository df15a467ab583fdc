"""How far long work has come, where there is no terminal."""

from __future__ import annotations

import pytest

from headwater.cli import progress
from headwater.cli.progress import Progress


def test_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with Progress("copy", 12_000) as copy:
        copy.advance(4_000)
        copy.advance(8_000)
    with Progress("count") as count:
        count.advance()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "copy: 4,000 of 12,000\ncopy: 12,000 of 12,000\ncount: 1\n")


def test_short_work_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("copy", 2) as copy:
        copy.advance(2)
    assert capfd.readouterr() == ("", "")
