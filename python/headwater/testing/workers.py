"""Starting, watching and killing the processes of `headwater.testing.worker`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any


class Worker:
    """A process that plays `role`, and the record that it keeps (a file of JSON lines, whole after a SIGKILL).

    spec: what the role is told; `url` among it.
    """

    def __init__(self, role: str, scratch: Path, **spec: Any) -> None:
        self.record = scratch / f"{role}-{uuid.uuid4().hex[:8]}.jsonl"
        self.record.touch()
        self._read = 0
        self._lines: list[dict[str, Any]] = []
        arguments = [sys.executable, "-m", "headwater.testing.worker", role, str(self.record), json.dumps(spec)]
        self.stderr = self.record.with_suffix(".err")
        with self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Everything recorded so far."""
        with self.record.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        self._lines += [json.loads(line) for line in whole.splitlines()]
        return self._lines

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    async def until(self, event: str, count: int = 1, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Waits until `event` was recorded `count` times; TimeoutError with what the process said otherwise."""
        deadline = time.monotonic() + timeout
        while len(found := self.of(event)) < count:
            ended = self.process.poll() is not None
            if ended and len(found := self.of(event)) >= count:
                break
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} {event!r} (exit {self.process.poll()}): {self.errors()}")
            await asyncio.sleep(0.01)
        return found

    async def wait(self, timeout: float = 30.0) -> int:
        """The exit code."""
        deadline = time.monotonic() + timeout
        while (code := self.process.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"worker still runs: {self.lines[-3:]} {self.errors()}")
            await asyncio.sleep(0.01)
        return code

    def errors(self) -> str:
        return self.stderr.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone. Does nothing to one that has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)
