"""What the fault tests need of the machine: a small disk, and a process without root's rights."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class Disk:
    """A directory with little room. Without the right to mount, RLIMIT_FSIZE of this process stands in: no file can grow."""

    def __init__(self, path: Path, mounted: bool) -> None:
        self.path, self.mounted = path, mounted
        self._filler = path / "filler"

    def fill(self) -> None:
        """Takes all the room that is left."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        if self.mounted:
            self._filler.unlink(missing_ok=True)
        else:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(path)], capture_output=True, check=False).returncode == 0
    if not mounted:
        print("no right to mount a small disk: RLIMIT_FSIZE instead")
    disk = Disk(path, mounted)
    try:
        yield disk
    finally:
        disk.free()
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=True)


_UNPRIVILEGED = """
import os, sys, traceback
import headwater as hw
{prelude}
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
{body}
"""


@pytest.fixture
def unprivileged(tmp_path: Path) -> Callable[[str], str]:
    """Runs a piece of Python in a process that is not root (headwater is imported as `hw` before); returns what it printed."""
    at: Path = tmp_path
    while at != at.parent and os.getuid() == 0:
        if at.owner() == "root" and not at.stat().st_mode & 0o001:
            at.chmod(at.stat().st_mode | 0o711)
        at = at.parent

    def run(body: str) -> str:
        # Everything that a connection imports lazily is imported while we may still read it.
        prelude = "with hw.sync.connect('memory:') as warm: warm.stream('s', bytes).append(b'x')"
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED.format(prelude=prelude, body=body)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
