"""The command line as its users have it: processes over one directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import headwater as hw


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def ok(self) -> Done:
        assert (self.code, self.err) == (0, ""), self
        return self

    def refused(self, code: int, *words: str) -> Done:
        """It failed with this code and one line on stderr, which has these words."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.count("\n") == 1 and self.err.startswith("headwater: ") and "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err, self.err
        return self


@dataclass
class Cli:
    """`python -m headwater` with $HEADWATER_URL."""

    url: str
    cwd: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HEADWATER_URL": self.url}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "headwater", *arguments]

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> Done:
        done = subprocess.run(
            self.command(*arguments),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment,
            cwd=self.cwd,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on; it is killed at the end of the test if it still runs."""
        process = subprocess.Popen(
            self.command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, cwd=self.cwd
        )
        self.started.append(process)
        return process

    def connect(self) -> hw.sync.Connection:
        return hw.sync.connect(self.url)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(f"local:{tmp_path / 'data'}", tmp_path)
    yield cli
    for process in cli.started:
        if process.poll() is None:
            process.kill()
        # Closes its pipes, whatever the test closed already.
        with process:
            pass
