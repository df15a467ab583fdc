"""How far long work has come: a bar on a terminal, a plain line now and then elsewhere. On stderr, so that stdout composes."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

#: Seconds before anything is shown, since most work is done by then; and between two plain lines.
PATIENCE = 0.5
EVERY = 5.0


class Progress:
    """`with Progress("backup", total=bytes) as progress: progress.advance(n)`. total: None where nobody knows."""

    def __init__(self, label: str, total: float | None = None) -> None:
        self._label, self._total = label, total
        self._done = 0.0
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (PATIENCE if self._terminal else EVERY)
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, by: float = 1) -> None:
        """So much more is done."""
        self._done += by
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif time.monotonic() >= self._next:
            self._show()

    def _show(self) -> None:
        if self._terminal:
            # Here, since it takes as long to import as most commands to run.
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(self._label, total=self._total, completed=self._done)
            self._bar.start()
        else:
            of = "" if self._total is None else f" of {self._total:,.0f}"
            sys.stderr.write(f"{self._label}: {self._done:,.0f}{of}\n")
            sys.stderr.flush()
            self._next = time.monotonic() + EVERY
