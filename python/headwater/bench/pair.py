"""Two processes for one run: a consumer that is ready first, then a producer."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import IO

import msgspec

from ..errors import HeadwaterError
from .side import Outcome, Spec


class PairError(HeadwaterError):
    """A side failed, or did not end in time."""


class _Process:
    """One side. Its lines come by a pipe; the pipe's end is the process's."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from headwater.bench.side import main; main()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self._say(msgspec.json.encode(spec).decode())

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise PairError("a pipe was not made")
        return pipe

    def _say(self, line: str) -> None:
        pipe = self._pipe(self._process.stdin)
        try:
            pipe.write(line + "\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # It ended; what it left behind says why.

    def ready(self) -> None:
        line = self._pipe(self._process.stdout).readline()
        if line != "ready\n":
            raise PairError(self._why(line))

    def begin(self) -> None:
        self._say("begin")

    def outcome(self) -> Outcome:
        line = self._pipe(self._process.stdout).readline()
        try:
            outcome = msgspec.json.decode(line, type=Outcome)
        except msgspec.DecodeError:
            raise PairError(self._why(line)) from None
        if outcome.error is not None:
            raise PairError(self._why(line))
        return outcome

    def _why(self, line: str) -> str:
        who = f"the {self.spec.side[:-1]}er of {self.spec.row}"
        try:
            return f"{who}: {msgspec.json.decode(line, type=Outcome).error}"
        except msgspec.DecodeError:
            return f"{who} ended without an answer, or not in time (exit code {self._process.poll()})"

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


def run_pair(consumer: Spec, producer: Spec, timeout: float) -> tuple[Outcome, Outcome]:
    """The outcomes of the consumer and the producer.

    Raises:
        PairError: one of them failed, or both together took longer than `timeout` seconds.
    """
    pair: list[_Process] = []

    def too_long() -> None:
        for each in pair:
            each.kill()

    timer = threading.Timer(timeout, too_long)
    timer.daemon = True
    timer.start()
    try:
        for spec in (consumer, producer):
            pair.append(_Process(spec))
            pair[-1].ready()
        for each in pair:
            each.begin()
        # The producer first: when it fails, the consumer waits in vain.
        sent = pair[1].outcome()
        heard = pair[0].outcome()
        return heard, sent
    finally:
        timer.cancel()
        for each in pair:
            each.end()
