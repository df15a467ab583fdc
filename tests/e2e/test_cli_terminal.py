"""What is different on a terminal: `top` is live, deletion asks, long work shows a bar."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .conftest import Cli


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process, self.fd, self.shown = process, fd, ""

    def until(self, pattern: str, seconds: float = 20) -> None:
        """Waits until what was shown, without its colours, has this."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown
            if select.select([self.fd], [], [], 0.2)[0]:
                self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self.fd, 65536).decode(errors="replace"))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Its exit code. What it still has to show is taken, so that it can end."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.fd], [], [], 0.05)[0]:
                self.shown += os.read(self.fd, 65536).decode(errors="replace")
        return self.process.returncode


@contextmanager
def terminal(cli: Cli, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**cli.environment, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}, cwd=cli.cwd,
    )  # fmt: skip
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def test_top_is_live(cli: Cli) -> None:
    with cli.connect() as conn, terminal(cli, "top", "--interval", "0.2") as top:
        jobs = conn.queue("[bold]jobs")
        jobs.put(1)
        top.until(r"\[bold\]jobs +[\d.]+ +[\d.]+ +1 ")
        jobs.put_many([1] * 41)
        top.until(r"\[bold\]jobs +\d[\d.,]+ +[\d.]+ +42 ")
        jobs.delete()
        conn.stream("orders").append(1)
        top.until(r"orders +1 ")
        top.process.send_signal(signal.SIGINT)
        assert top.end() == 130
        assert "Traceback" not in top.shown
        assert [each.name for each in conn.names()] == ["orders"]


def test_deletion_asks(cli: Cli) -> None:
    cli("append", "orders", "1").ok()
    with terminal(cli, "delete", "stream", "orders") as asked:
        asked.until(r"Delete stream 'orders' .*\[y/N\]")
        asked.type("n\n")
        assert asked.end() == 1
    assert cli("read", "orders").ok().lines == ["1"]
    with terminal(cli, "delete", "stream", "orders") as asked:
        asked.until(r"\[y/N\]")
        asked.type("y\n")
        assert asked.end() == 0
    assert cli("ls").ok().lines == []


def test_long_work_shows_a_bar(cli: Cli) -> None:
    with cli.connect() as conn:
        jobs = conn.queue("jobs")
        jobs.put_many(list(range(12)))
        for job in jobs.take(12, wait=5):
            job.reject("no")
    with terminal(cli, "dead", "jobs", "redrive", "--rate", "10") as redrive:
        redrive.until(r"redrive jobs .*\d+/12")
        assert redrive.end() == 0
        assert "12" in redrive.shown
