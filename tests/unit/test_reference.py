"""docs/reference/ says what the code is now, and leaves out nothing that is public."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "api_reference.py"))


def test_the_pages_are_up_to_date(script: dict[str, Any]) -> None:
    for name, text in script["pages"]().items():
        assert (script["DIRECTORY"] / name).read_text() == text, f"{name}: run python scripts/api_reference.py"


def test_nothing_is_left_out(script: dict[str, Any]) -> None:
    described = {name for _, _, names in script["TOPICS"].values() for name in names}
    #: On pages of their own, or said with what they belong to.
    elsewhere = {name for name in hw.__all__ if name.endswith("Error")} | {
        "__version__", "sync", "Capabilities", "Feature", "Level", "PatternSupport", "Support", "QueueStats",
    }  # fmt: skip
    assert described | elsewhere == set(hw.__all__)


def test_every_public_method_is_on_its_page(script: dict[str, Any]) -> None:
    pages = "\n".join(script["pages"]().values())
    for name in ("Connection", "Stream", "Queue", "Source", "Group", "Channel", "Delivery", "DeadLetters"):
        kind = getattr(hw, name)
        for member in (m for m in vars(kind) if not m.startswith("_")):
            if inspect.isroutine(inspect.getattr_static(kind, member)) and inspect.getdoc(getattr(kind, member)) and member not in script["INTERNAL"]:
                assert f"### {name}.{member}" in pages
