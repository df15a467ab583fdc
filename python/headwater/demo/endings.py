"""Ctrl-C and its relatives: the demo ends with all that it started, and without its temporary directory."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any, Self

__all__ = ["Endings"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Endings:
    """While it is entered, each of these signals ends the demo by an exception: the first one, and not while a process is started,
    which would be known to nobody then."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._held = False
        self._pending = 0
        self._ending = False

    def __enter__(self) -> Self:
        # Python lets the main thread alone set them.
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._received) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """What comes inside ends the demo afterwards."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pending:
                self._end(self._pending)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self._held:
            self._pending = number
        else:
            self._end(number)

    def _end(self, number: int) -> None:
        # Once is enough: a second one must not interrupt the clearing up.
        if not self._ending:
            self._ending = True
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
