"""Directories that earlier versions wrote open in this one, with everything in them, and can be used on."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import headwater as hw
from golden.content import check, use

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


def test_there_are_some() -> None:
    assert {path.name for path in ARCHIVES} >= {"format-1.0.clean.tar.gz", "format-1.0.killed.tar.gz"}


def test_everything_is_there(directory: Path) -> None:
    with hw.sync.connect(f"local:{directory}") as conn:
        check(conn)


def test_and_again_by_the_next_process(directory: Path) -> None:
    """What opening it for the first time repaired, stays."""
    for _ in range(2):
        with hw.sync.connect(f"local:{directory}") as conn:
            check(conn)


def test_it_can_be_used_on(directory: Path) -> None:
    with hw.sync.connect(f"local:{directory}") as conn:
        use(conn)
    with hw.sync.connect(f"local:{directory}") as conn:
        assert conn.queue("jobs", dict[str, int]).stats().ready == 0


def test_without_what_is_only_a_cache(directory: Path) -> None:
    """Indexes, hash tables and the newest snapshots deleted: the same answers (I11)."""
    for path in [*directory.rglob("*.idx"), *directory.rglob("hash*")]:
        path.unlink()
    snapshots = sorted(directory.rglob("snap-*"))
    for group in {path.parent for path in snapshots}:
        max(path for path in snapshots if path.parent == group).unlink()
    with hw.sync.connect(f"local:{directory}") as conn:
        check(conn)
        use(conn)
