"""The processes of the demo, as the one that started them sees them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import msgspec

import headwater as hw

from .endings import Endings
from .orders import Spec

__all__ = ["Crew", "DemoError", "Worker"]

#: Seconds for a worker that was told to stop, before it is made to.
GRACE = 60.0


class DemoError(hw.HeadwaterError):
    """The demo could not go on."""


class Worker:
    """One process. handled, again: messages it has done, and how many of them had been delivered before."""

    def __init__(self, spec: Spec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.ready = False
        self.killed = False
        self.handled = 0
        self.again = 0
        # -P: what lies in the working directory is not imported. A session of its own: Ctrl-C is for the demo, which then stops all.
        command = [sys.executable, "-P", "-m", "headwater.demo.worker", msgspec.json.encode(spec).decode()]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def state(self) -> str:
        """For people."""
        if self.killed:
            return "SIGKILLed"
        code = self.process.poll()
        if code is None:
            return "works" if self.ready else "starts"
        return "done" if code == 0 else f"failed ({code})"

    def say(self, line: str) -> None:
        """Writes a line to its standard input."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(line.encode() + b"\n")
                pipe.flush()
            except BrokenPipeError:
                # It has died; `Crew.check` tells of it.
                pass

    def tell_to_stop(self) -> None:
        """Ends its standard input."""
        pipe = self.process.stdin
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def kill(self) -> None:
        """SIGKILL, in the midst of whatever it does."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Crew:
    """All of them. Leaving it ends those that still run."""

    def __init__(self, logs: Path, endings: Endings) -> None:
        self._logs = logs
        self._endings = endings
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """After an error or Ctrl-C: nobody is left behind, nor waited for."""
        for worker in self.workers.values():
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            worker.tell_to_stop()

    def start(self, spec: Spec) -> Worker:
        with self._endings.held():
            worker = self.workers[spec.name] = Worker(spec, self._logs / f"{spec.name}.log")
        return worker

    def check(self) -> None:
        """DemoError where one has failed by itself."""
        for worker in self.workers.values():
            code = worker.process.poll()
            if code and not worker.killed:
                raise DemoError(f"worker {worker.name} ended with exit code {code}: {worker.last_words()}")

    def stop(self) -> None:
        """Lets all finish what they have in hand, and waits for them."""
        for worker in self.workers.values():
            worker.tell_to_stop()
        deadline = time.monotonic() + GRACE
        for worker in self.workers.values():
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise DemoError(f"worker {worker.name} did not stop within {GRACE:.0f} s of being told: {worker.last_words()}") from None
        self.check()
