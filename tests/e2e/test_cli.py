"""What every command has in common: help, exit codes, errors as one line, nothing made by looking."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from headwater.cli import COMMANDS

from .conftest import Cli

#: A call of each command that only looks or changes what is there.
LOOKING = [
    ("ls",), ("stats",), ("stats", "x"), ("top", "--once"), ("read", "x"), ("tail", "x"), ("dead", "x"), ("group", "x", "y"),
    ("group", "x", "y", "pause"), ("trim", "x", "--before", "1"), ("delete", "stream", "x", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli: Cli, command: str) -> None:
    """What it does, and the options that all have."""
    done = cli(command, "--help").ok()
    assert done.lines[0].startswith(f"Usage: headwater {command} ")
    assert "--url" in done.out
    assert "--json" in done.out


def test_the_program(cli: Cli) -> None:
    listed = cli("--help").ok().out
    for command in COMMANDS:
        assert f"\n  {command} " in listed, f"{command} is not in the help"
    assert cli("--version").ok().out == f"{hw.__version__}\n"
    # Nothing asked: the help, but no success.
    done = cli()
    assert done.code == 2
    assert done.out == listed


def test_the_entry_point_is_the_module(cli: Cli) -> None:
    program = Path(sys.executable).parent / "headwater"
    assert program.exists(), "the package is not installed: make build"
    done = subprocess.run([program, "--help"], env=cli.environment, cwd=cli.cwd, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, cli("--help").out)


def test_looking_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    for arguments in LOOKING:
        cli(*arguments).refused(1, "data is no directory of headwater's", "write something there first")
        assert not (tmp_path / "data").exists(), arguments


def test_what_is_no_directory_of_ours_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("dear")
    cli("ls").refused(1, "letter.txt")
    cli("append", "orders", "1").refused(1, str(tmp_path / "data"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["letter.txt"]


def test_the_url(cli: Cli, tmp_path: Path) -> None:
    """--url before $HEADWATER_URL before local:./.headwater."""
    cli("append", "here", "1").ok()
    cli("append", "there", "1", "--url", f"local:{tmp_path / 'other'}").ok()
    assert cli("ls").lines == ["stream  here"]
    assert cli("ls", "--url", f"local:{tmp_path / 'other'}").lines == ["stream  there"]
    cli.url = ""
    cli("append", "default", "1").ok()
    assert (tmp_path / ".headwater").is_dir()
    assert cli("ls").lines == ["stream  default"]


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("nosuch:x", 2, "unknown URL scheme"),
        ("nosuch://x", 2, "unknown URL scheme"),
        ("/some/where", 2, "begins with no scheme"),
        ("local:", 2, "names no directory"),
        ("local:x?colour=blue", 2, "unknown key 'colour'"),
        ("local:x?durability=maybe", 2, "interval, always or never"),
        ("local:/dev/null", 1, "/dev/null"),
        ("local:/dev/null/x", 1, "/dev/null/x"),
    ],
)
def test_bad_urls(cli: Cli, url: str, code: int, words: str) -> None:
    cli.url = url
    cli("ls").refused(code, words)
    cli("append", "orders", "1").refused(code, words)


def test_what_is_not_there(cli: Cli) -> None:
    cli("append", "orders", "1").ok()
    for arguments in LOOKING[2:]:
        if arguments[0] not in ("top", "tail"):
            cli(*arguments).refused(1, "there is no", "x")
    assert cli("ls").lines == ["stream  orders"]


def test_a_directory_without_permission(cli: Cli, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Root may do everything but this: what is no directory cannot be opened as one.
        (tmp_path / "data").write_text("a file")
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data").chmod(stat.S_IRUSR)
    cli("append", "orders", "1").refused(1, str(tmp_path / "data"))


def test_nobody_reads_stderr_or_stdout(cli: Cli) -> None:
    """A closed pipe is no error of ours: it ends quietly."""
    with cli.connect() as conn:
        conn.stream("orders", str).append_many(["x" * 100] * 5000)
    process = cli.start("read", "orders")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"x" * 100 + b"\n"
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == b""


def shell(cli: Cli, command: str) -> subprocess.CompletedProcess[str]:
    """A command with what only a shell can do to it."""
    headwater = " ".join(cli.command())
    return subprocess.run(
        ["bash", "-c", command.replace("headwater ", f"{headwater} ")], env=cli.environment, cwd=cli.cwd, capture_output=True, text=True, timeout=60
    )


def test_a_full_disk_behind_stdout(cli: Cli) -> None:
    """Whether it shows in the middle or at the last flush."""
    with cli.connect() as conn:
        conn.stream("orders").append_many(["x" * 100] * 5000)
    for command in ("headwater read orders > /dev/full", "headwater ls > /dev/full"):
        done = shell(cli, command)
        assert (done.returncode, done.stderr) == (1, "headwater: No space left on device\n"), command


def test_standard_files_that_are_closed(cli: Cli) -> None:
    """Nothing of the engine's becomes stdout, and nothing is written into it."""
    assert shell(cli, "headwater append orders 1 2 >&-").returncode == 0
    assert shell(cli, "headwater append orders - <&-").returncode == 0
    assert shell(cli, "headwater append orders 3 <&- >&- 2>&-").returncode == 0
    assert shell(cli, "headwater nosuch <&- >&- 2>&-").returncode == 2
    assert shell(cli, "headwater read orders >&- 2>&-").returncode == 0
    assert cli("read", "orders").ok().lines == ["1", "2", "3"]


@pytest.mark.parametrize("option", ["--key", "--id", "--header a="])
def test_an_argument_that_is_no_utf8(cli: Cli, option: str) -> None:
    done = shell(cli, f"headwater append orders x {option}{'' if '=' in option else ' '}$'\\xff'")
    assert done.returncode == 2
    assert done.stderr.startswith("headwater: ") and done.stderr.count("\n") == 1 and "UTF-8" in done.stderr


def test_it_starts_fast(cli: Cli) -> None:
    """No command's own needs are loaded for another's help: rich, asyncio, plots."""
    script = (
        "import sys; from headwater.cli import main; main(['--help']); "
        "sys.exit(' '.join({'rich', 'asyncio', 'concurrent.futures', 'matplotlib', 'click'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=cli.environment, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, ""), done.stderr
