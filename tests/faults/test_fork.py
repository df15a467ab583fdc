"""`os.fork` with a connection open: the child gets ForkedError or a clean re-open, the parent notices nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # 3.12: fork with threads is what is tested


def in_child(body: Callable[[], None], timeout: float = 30.0) -> None:
    """Runs `body` in a forked child; fails if it raises, hangs or dies."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            body()
            code = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(writing)
    killer = threading.Timer(timeout, os.kill, (pid, 9))
    killer.start()
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    killer.cancel()
    assert status == 0, f"status {status}: {said}"


def values(conn: Any) -> list[bytes]:
    with conn.stream("s", bytes).read() as reader:
        return [message.value for message in reader]


def reopened(url: str, use: Callable[[], Any]) -> None:
    """In the child: the parent's object either works, being opened again, or says ForkedError; a new connection works."""
    try:
        use()
    except hw.ForkedError:
        with hw.sync.connect(url) as conn:
            conn.stream("s", bytes).append(b"child")


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_sync_connection(tmp_path: Path, scheme: str) -> None:
    url = f"local:{tmp_path / 'dir'}" if scheme == "local" else "memory:forked"
    with hw.sync.connect(url) as conn:
        stream = conn.stream("s", bytes)
        for _ in range(5):
            stream.append(b"parent")
            in_child(lambda: reopened(url, lambda: stream.append(b"child")))
            stream.append(b"parent")
        got = values(conn)
        assert got.count(b"parent") == 10
        assert got.count(b"child") == (5 if scheme == "local" else 0), "memory of the child is not the parent's"
    if scheme == "local":
        with hw.sync.connect(url) as conn:
            assert len(values(conn)) == 15


def test_deliveries_stay_the_parents(tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'dir'}"
    with hw.sync.connect(url) as conn:
        queue = conn.queue("q", bytes, lease=2.0)
        queue.put_many([b"1", b"2"])
        with queue.consume() as consumer:
            message = consumer.next(timeout=5)

            def child() -> None:
                nonlocal message
                with pytest.raises(hw.ForkedError):
                    message.ack()
                message = None  # the child's copy goes: nothing may be given back
                with hw.sync.connect(url) as mine:
                    assert mine.queue("q", bytes).stats().leased >= 1

            in_child(child)
            assert queue.stats().leased >= 1
            message.ack()
            second = consumer.next(timeout=5)
            assert second is not None and (second.value, second.attempt) == (b"2", 1)
            second.ack()


def test_the_child_works_while_the_parent_does(tmp_path: Path) -> None:
    """Both append and consume at the same time; the child ends without and with closing."""
    url = f"local:{tmp_path / 'dir'}"
    with hw.sync.connect(url) as conn:
        queue, stream = conn.queue("q", bytes), conn.stream("s", bytes)
        queue.put_many([b"%d" % i for i in range(400)])
        pids = []
        for i in range(2):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    mine = hw.sync.connect(url)
                    for _ in range(100):
                        for message in mine.queue("q", bytes).take(max=1, wait=5.0):
                            mine.stream("s", bytes).append(message.value)
                            message.ack()
                    if i:
                        mine.close()
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
        for _ in range(200):
            for message in queue.take(max=1, wait=5.0):
                stream.append(message.value)
                message.ack()
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
        for message in queue.take(max=100, wait=0.5):
            stream.append(message.value)
            message.ack()
        assert sorted(map(int, values(conn))) == list(range(400))


def test_async_objects_refuse(tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'dir'}"

    async def parent() -> None:
        async with hw.connect(url) as conn:
            stream = conn.stream("s", bytes)
            await stream.append(b"parent")

            def child() -> None:
                async def use() -> None:
                    with pytest.raises(hw.UsageError):
                        await stream.append(b"child")

                asyncio.events._set_running_loop(None)  # the child has no running loop, yet thinks so
                asyncio.run(use())

            in_child(child)
            await stream.append(b"parent")
            async with stream.read() as reader:
                assert [m.value async for m in reader] == [b"parent", b"parent"]

    asyncio.run(parent())


def _append(arguments: tuple[str, int]) -> str:
    url, i = arguments
    with hw.sync.connect(url) as conn:
        return str(conn.stream("s", bytes).append(b"%d" % i))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    url = f"local:{tmp_path / 'dir'}"
    with hw.sync.connect(url) as conn:
        conn.stream("s", bytes).declare()
        with multiprocessing.get_context(method).Pool(2) as pool:
            positions = pool.map(_append, [(url, i) for i in range(20)])
        assert len(set(positions)) == 20
        assert sorted(map(int, values(conn))) == list(range(20))


def test_exec_frees_what_was_held(tmp_path: Path) -> None:
    """A process that execs another program is dead to the directory."""
    url = f"local:{tmp_path / 'dir'}"
    script = f"""
import os, sys
import headwater as hw
conn = hw.sync.connect({url!r})
(message,) = conn.queue("q", bytes).take(max=1, wait=5.0)
os.execv("/bin/sleep", ["sleep", "60"])
"""
    with hw.sync.connect(url) as conn:
        queue = conn.queue("q", bytes, lease=30.0)
        queue.put(b"x")
        child = subprocess.Popen([sys.executable, "-c", script])
        try:
            with queue.consume() as consumer:
                while queue.stats().leased == 0:
                    assert child.poll() is None
                message = consumer.next(timeout=10)
                assert message is not None and message.attempt == 2
                message.ack()
        finally:
            child.kill()
            child.wait()
