"""What a worker is told: its spec when it is started, and orders while it runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import msgspec

__all__ = ["Orders", "Spec"]


class Spec(msgspec.Struct, frozen=True):
    """What a worker is told.

    role: "feed", or a name in roles.ROLES. batch: messages at a time. speed: 1 for as slowly as it was; None: as fast as it goes.
    """

    role: str
    name: str
    url: str
    files: str
    rows: int | None
    seed: int
    speed: float | None
    batch: int


class Orders:
    """What is said by standard input: a line lets the feed go on, the end means stop. So when the demo itself dies, however it dies,
    the pipe ends and every worker with it."""

    def __init__(self) -> None:
        self.stopped = False
        self._lines = threading.Semaphore(0)
        self._then: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        # Not through sys.stdin: its lock would be held by this thread when the interpreter ends.
        while data := os.read(0, 4096):
            for _ in range(data.count(b"\n")):
                self._lines.release()
        with self._lock:
            self.stopped = True
            for each in self._then:
                each()
        self._lines.release()

    def on_stop(self, then: Callable[[], None]) -> None:
        """Calls `then` when it is to stop; at once, if that was said already."""
        with self._lock:
            if self.stopped:
                then()
            self._then.append(then)

    def await_line(self) -> bool:
        """Waits until told to go on. False: told to stop."""
        self._lines.acquire()
        return not self.stopped
