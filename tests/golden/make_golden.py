"""Writes the golden directories of this version: `python tests/golden/make_golden.py NAME`. Done once a format, and kept for ever.

NAME.clean.tar.gz was closed in order; the writer of NAME.killed.tar.gz was killed in the middle of its life.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from content import hold, write

import headwater as hw

HERE = Path(__file__).parent


def fill(directory: str, end: str) -> None:
    conn = hw.sync.connect(f"local:{directory}")
    write(conn)
    held = hold(conn)
    assert len(held) == 2
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    conn.close()


def volatile(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """What a session makes anew is not part of the format."""
    return None if "/run/" in f"{member.name}/" or member.name.endswith("/reserve") else member


def pack(name: str, end: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "data"
        done = subprocess.run([sys.executable, __file__, "--fill", str(directory), end], check=False)
        assert done.returncode == (-signal.SIGKILL if end == "killed" else 0), done
        with tarfile.open(HERE / f"{name}.{end}.tar.gz", "x:gz") as archive:
            archive.add(directory, "data", filter=volatile)


if __name__ == "__main__":
    if sys.argv[1] == "--fill":
        fill(sys.argv[2], sys.argv[3])
    else:
        for how in ("clean", "killed"):
            pack(sys.argv[1], how)
