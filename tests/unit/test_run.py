"""`run`: that a stop reaches it from its first moment on, and what it says of an attempt that failed."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.patterns.source import Source


async def test_a_stop_before_it_has_opened_ends_it() -> None:
    async with hw.connect("memory:") as conn:
        jobs = conn.queue("q", int)
        await jobs.put(1)
        running = asyncio.create_task(jobs.run(print))
        await asyncio.sleep(0)
        assert conn.metrics()["open"] == 1
        jobs.stop()
        await asyncio.wait_for(running, 10)
        # It ends that run, and no later one.
        seen: list[int] = []

        async def handler(message: hw.Delivery[int]) -> None:
            seen.append(message.value)
            jobs.stop()

        await jobs.put(2)
        await asyncio.wait_for(jobs.run(handler), 10)
        assert seen


def test_a_stop_while_a_synchronous_one_opens_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hw.sync.connect(f"local:{tmp_path / 'd'}") as conn:
        jobs = conn.queue("q", int)
        ready = Source._ready

        async def stopped_meanwhile(self: Source[Any]) -> None:
            await ready(self)
            self.stop()

        monkeypatch.setattr(Source, "_ready", stopped_meanwhile)
        thread = threading.Thread(target=jobs.run, args=(print,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()


async def test_what_is_tried_again_is_a_warning_and_what_is_dead_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async with hw.connect("memory:") as conn:
        jobs = conn.queue("q", int, retry=hw.Retry(max_attempts=2, delay=0.0, jitter=0))
        await jobs.put(1)

        async def handler(message: hw.Delivery[int]) -> None:
            if message.attempt == 2:
                jobs.stop()
            raise ValueError("no")

        with caplog.at_level(logging.WARNING, "headwater"):
            await asyncio.wait_for(jobs.run(handler), 10)
    failed = [record.levelno for record in caplog.records if "failed" in record.message]
    assert failed == [logging.WARNING, logging.ERROR]
