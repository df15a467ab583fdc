"""The commands of the Makefile say what is missing, instead of failing somewhere inside."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SYSTEM = ("bash", "env", "dirname", "sed", "make", "rm", "mkdir", "git")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory with the system's plainest programs: no Python, no Rust, no compiler."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in SYSTEM:
        found = shutil.which(name)
        assert found, name
        (programs / name).symlink_to(found)
    return programs


def program(path: Path, answer: str) -> None:
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)


def build(programs: Path, target: str = "build") -> subprocess.CompletedProcess[str]:
    home = programs.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        ["make", target], cwd=ROOT, env={"PATH": str(programs), "HOME": str(home)}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("target", ["build", "demo", "bench", "wheel"])
def test_everything_missing_is_named_at_once(bare: Path, target: str) -> None:
    done = build(bare, target)
    assert done.returncode != 0
    for word in ("Python 3.11", "cargo", "C compiler"):
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("cargo", "echo 'cargo 1.60.0 (abc 2022-01-01)'", "Rust 1.85 or newer (found: cargo 1.60.0"),
        ("cargo", "echo 'rustup could not choose a version of cargo' >&2; exit 1", "rustup could not choose"),
        ("python3", "exit 1", "Python 3.11"),
    ],
)
def test_what_is_there_but_no_good_is_named(bare: Path, name: str, answer: str, says: str) -> None:
    program(bare / name, answer)
    done = build(bare)
    assert done.returncode != 0
    assert says in done.stderr


def test_the_list_of_commands(bare: Path) -> None:
    for name in ("grep", "expand"):
        (bare / name).symlink_to(shutil.which(name) or "")
    done = build(bare, "help")
    assert done.returncode == 0, done.stderr
    for target in ("build", "demo", "test", "check", "test-full", "bench", "fmt", "wheel"):
        assert f"\n{target} " in f"\n{done.stdout}", done.stdout
