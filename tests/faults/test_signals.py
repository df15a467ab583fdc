"""Signals: SIGTERM drains, SIGINT gives back, SIGSTOP of a writer stops nobody for good."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headwater as hw
from headwater.testing.workers import Worker

DRAINING = """
import asyncio, json, os, signal, sys
import headwater as hw

async def main(url, log):
    def record(**fields):
        os.write(log, json.dumps(fields).encode() + b"\\n")

    async def handler(message):
        record(began=message.value.decode())
        await asyncio.sleep(0.6)
        record(done=message.value.decode())

    async with hw.connect(url) as conn:
        queue = conn.queue("jobs", bytes)
        run = asyncio.create_task(queue.run(handler, concurrency=3))
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        await stopping.wait()
        await conn.drain(timeout=5)
        await run

asyncio.run(main(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)))
"""

WAITING = """
import os, sys
import headwater as hw
with hw.sync.connect(sys.argv[1]) as conn, conn.queue("jobs", bytes).consume() as consumer:
    with consumer.next(timeout=10):
        with conn.stream("nothing", bytes).read(follow=True) as reader:
            os.write(1, b"got\\n")
            reader.next()
"""


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def wait_for(condition: object, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_sigterm_drains(tmp_path: Path) -> None:
    """In-flight finishes and acks, what was only fetched goes back with its attempts unchanged, the exit is in time and clean."""
    url, log = f"local:{tmp_path / 'dir'}", tmp_path / "log"
    with hw.sync.connect(url) as conn:
        queue = conn.queue("jobs", bytes, lease=60.0)
        queue.put_many([str(i).encode() for i in range(12)])
        child = subprocess.Popen([sys.executable, "-c", DRAINING, url, str(log)], stderr=subprocess.PIPE)
        try:
            wait_for(lambda: sum("began" in line for line in lines(log)) >= 3)
            child.send_signal(signal.SIGTERM)
            began = time.monotonic()
            _, errors = child.communicate(timeout=20)
            assert child.returncode == 0, errors.decode()
            assert time.monotonic() - began < 6
        finally:
            child.kill()
        started = {line["began"] for line in lines(log) if "began" in line}
        done = {line["done"] for line in lines(log) if "done" in line}
        assert started == done
        rest = []
        with queue.consume() as consumer:
            while (message := consumer.next(timeout=0.5)) is not None:
                rest.append((message.value.decode(), message.attempt))
                message.ack()
        assert sorted(rest) == sorted((str(i), 1) for i in range(12) if str(i) not in done)


def test_sigint_in_a_blocking_wait(tmp_path: Path) -> None:
    """Ctrl-C ends a wait without timeout at once; the message in hand goes back and no attempt is counted."""
    url = f"local:{tmp_path / 'dir'}"
    with hw.sync.connect(url) as conn:
        queue = conn.queue("jobs", bytes, lease=60.0)
        conn.stream("nothing", bytes).declare()
        queue.put(b"x")
        child = subprocess.Popen([sys.executable, "-c", WAITING, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert child.stdout is not None and child.stdout.readline() == b"got\n"
            time.sleep(0.2)
            child.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, errors = child.communicate(timeout=20)
            assert time.monotonic() - began < 3
            assert b"KeyboardInterrupt" in errors
        finally:
            child.kill()
        with queue.consume() as consumer:
            message = consumer.next(timeout=5)
            assert message is not None and message.attempt == 1
            message.ack()


@pytest.mark.parametrize("turn", range(3))
def test_a_stopped_writer(tmp_path: Path, turn: int) -> None:
    """SIGSTOP at some instant: others go on, or are told who holds the stream; afterwards everything is there."""
    url = f"local:{tmp_path / 'dir'}"
    scratch = tmp_path / "records"
    scratch.mkdir()

    async def run() -> None:
        writer = Worker("produce", scratch, url=url, stream="s", prefix="w", count=10**9)
        try:
            await writer.until("sent", 20 + 7 * turn)
            async with hw.connect(url, op_timeout=1.0) as conn:
                stream = conn.stream("s", bytes)
                for i in range(20):
                    writer.signal(signal.SIGSTOP)
                    began = time.monotonic()
                    try:
                        await stream.append(b"mine:None:%d" % i, id=f"mine-{i}")
                    except hw.OperationTimeoutError as error:
                        assert error.holder and 0.9 <= time.monotonic() - began <= 2.0
                        writer.signal(signal.SIGCONT)
                        await stream.append(b"mine:None:%d" % i, id=f"mine-{i}")
                    writer.signal(signal.SIGCONT)
                    await asyncio.sleep(0.003 * (i % 5))
                writer.kill()
                async with stream.read() as reader:
                    found = {m.value.decode(): str(m.position) async for m in reader}
            assert {f"mine:None:{i}" for i in range(20)} <= set(found)
            assert all(found[line["value"]] == line["where"] for line in writer.of("sent"))
        finally:
            os.kill(writer.process.pid, signal.SIGCONT) if writer.process.poll() is None else None
            writer.kill()

    asyncio.run(run())
