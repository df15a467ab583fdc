"""What the suite runs against, and what a test gets in its hands."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import headwater as hw
from headwater.testing.workers import Worker


def _environment(name: str, default: float) -> float:
    return float(os.environ.get(name, default))


@dataclass(frozen=True)
class Target:
    """An engine under test.

    url: a URL, or a function that makes one for each test (names are unique either way).
    tick: seconds, the unit of every property about time; default $HEADWATER_TICK or 0.3.
    budget: seconds for what runs "for a while"; default $HEADWATER_BUDGET or 20.
    processes: other processes can connect to the URL. Where they can't, the engine must not claim to survive a process.
    restart: stops and starts the engine behind a URL, leaving its data; None: the engine ends with its last connection.
    directory: the engine keeps its files here (given the URL); only for properties about damaged files.
    death: seconds after which the messages of a killed process are out again, given the lease.
    late: seconds by which something that is due may come late.
    count: by what the numbers of messages are multiplied.
    """

    url: str | Callable[[], str]
    tick: float = field(default_factory=lambda: _environment("HEADWATER_TICK", 0.3))
    budget: float = field(default_factory=lambda: _environment("HEADWATER_BUDGET", 20.0))
    processes: bool = True
    restart: Callable[[str], None] | None = None
    directory: Callable[[str], Path] | None = None
    death: Callable[[float], float] = lambda lease: 2 * lease
    late: float = 1.0
    count: float = 1.0

    def new_url(self) -> str:
        return self.url if isinstance(self.url, str) else self.url()


class Trial:
    """One test's connections, names, times and processes; everything is closed when it ends."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tick = target.tick
        self.url = target.new_url()
        self._suffix = uuid.uuid4().hex[:8]
        self._connections = AsyncExitStack()
        self._processes = ExitStack()
        self._conn: hw.Connection | None = None
        self._scratch: Path | None = None

    @property
    def conn(self) -> hw.Connection:
        """The connection that most tests need only one of."""
        assert self._conn is not None
        return self._conn

    def name(self, base: str = "t") -> str:
        """A name of this test's own."""
        return f"{base}-{self._suffix}"

    async def connect(self, **options: Any) -> hw.Connection:
        """One more connection to the same engine."""
        return await self._connections.enter_async_context(hw.connect(self.url, **options))

    def worker(self, role: str, **spec: Any) -> Worker:
        """A process of its own; see `headwater.testing.worker` for the roles. Killed at the end if it still runs."""
        if self._scratch is None:
            self._scratch = Path(self._processes.enter_context(tempfile.TemporaryDirectory(prefix="headwater-trial-")))
        worker = Worker(role, self._scratch, url=self.url, **spec)
        self._processes.callback(worker.kill)
        return worker

    async def restart(self) -> None:
        """Closes every connection, restarts the engine where that can be done, and connects again."""
        await self._connections.aclose()
        if self.target.restart is not None:
            self.target.restart(self.url)
        self._conn = await self.connect()

    def n(self, count: int) -> int:
        """`count`, or more in a full run."""
        return max(1, int(count * self.target.count))

    async def sleep(self, ticks: float) -> None:
        await asyncio.sleep(ticks * self.tick)

    async def __aenter__(self) -> Self:
        self._conn = await self.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._processes:
            await self._connections.aclose()


def now() -> datetime:
    return datetime.now(UTC)
