"""A connection: whose it is, how long it lives, what it counts, and what its time-outs bound."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

import headwater as hw


async def test_ways_to_connect() -> None:
    async with hw.connect("memory:one") as conn:
        assert repr(conn) == "<headwater connection to memory:one>"
        await conn.stream("s", int).append(1)
    assert repr(conn) == "<headwater connection to memory:one (closed)>"
    conn = await hw.connect("memory:one")
    assert await conn.names() == []  # memory is gone with its last connection
    await conn.close()
    await conn.close()
    connecting = hw.connect("memory:")
    assert repr(connecting) == "<headwater connecting to memory:>"
    async with connecting:
        with pytest.raises(hw.UsageError, match="call connect"):
            await connecting


def test_the_default_is_a_directory_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWATER_URL", raising=False)
    with hw.sync.connect() as conn:
        conn.stream("s", int).append(1)
    assert (tmp_path / ".headwater" / "headwater.json").exists()


@pytest.mark.parametrize("wrong", [{"op_timeout": 0}, {"op_timeout": -1}, {"connect_timeout": float("nan")}, {"max_message_bytes": 0}], ids=str)
def test_wrong_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(hw.UsageError, match=next(iter(wrong))):
        hw.connect("memory:", **wrong)


async def test_memory_is_shared_by_name_and_private_without() -> None:
    async with hw.connect("memory:shared") as one, hw.connect("memory:shared") as two, hw.connect("memory:") as own, hw.connect("memory:") as other:
        await one.stream("s", int).append(1)
        await own.stream("s", int).append(2)
        assert [m.value async for m in two.stream("s", int).read()] == [1]
        assert await other.names() == []


def test_it_belongs_to_its_loop() -> None:
    async def use(conn: hw.Connection, stream: hw.Stream[int], queue: hw.Queue[int], channel: hw.Channel[int]) -> None:
        operations: list[Callable[[], Any]] = [
            lambda: stream.append(1),
            lambda: stream.append_many([1]),
            lambda: queue.put(1),
            lambda: channel.publish(1),
            lambda: queue.take(wait=0),
            lambda: queue.stats(),
            conn.names,
            conn.flush,
        ]
        for operation in operations:
            with pytest.raises(hw.UsageError, match="event loop"):
                await operation()

    async def main() -> None:
        async with hw.connect("memory:") as conn:
            stream, queue, channel = conn.stream("s", int), conn.queue("q", int), conn.channel("c", int)
            await stream.append(1)
            await queue.put(1)
            await channel.publish(1)
            await asyncio.to_thread(lambda: asyncio.run(use(conn, stream, queue, channel)))
            assert (await stream.info()).records == 1
            assert (await queue.stats()).ready == 1

    asyncio.run(main())


def test_a_synchronous_one_is_used_from_any_thread() -> None:
    with hw.sync.connect("memory:") as conn:
        stream, queue = conn.stream("s", int), conn.queue("q", int)

        def work(n: int) -> None:
            for i in range(50):
                stream.append(n * 50 + i)
                queue.put(n * 50 + i)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(m.value for m in stream.read()) == list(range(400))
        assert sorted(m.value for m in queue.take(max=1000)) == list(range(400))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_both_loops(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with hw.connect(f"local:{tmp_path / 'd'}") as conn:
            queue = conn.queue("q", int)

            async def worker() -> list[int]:
                async with queue.consume(idle=2) as consumer:
                    found = []
                    async for message in consumer:
                        async with message:
                            found.append(message.value)
                        if len(found) == 3:
                            break
                    return found

            task = asyncio.ensure_future(worker())
            await asyncio.sleep(0.05)
            for n in range(3):
                await queue.put(n)
            assert await task == [0, 1, 2]

    run(main())


def test_in_the_child_of_a_fork() -> None:
    with hw.sync.connect("memory:") as conn:
        stream, queue = conn.stream("s", int), conn.queue("q", int)
        stream.append(1)
        queue.put(1)
        child = os.fork()
        if child == 0:
            code = 0
            for use in (lambda: stream.append(2), lambda: queue.put(2), lambda: queue.stats(), lambda: conn.names(), lambda: stream.append_many([3])):
                try:
                    use()
                    code = 1
                except hw.ForkedError:
                    pass
                except BaseException:
                    code = 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert stream.append(2).seq == 2


async def test_with_timeout_bounds_what_is_declared_on_it() -> None:
    async with hw.connect("memory:") as conn:
        quick = conn.with_timeout(0.2)
        channel = conn.channel("c", int)
        async with channel.subscribe(buffer=1, overflow="block"):
            await channel.publish(1)
            began = time.monotonic()
            with pytest.raises(hw.OperationTimeoutError) as caught:
                await quick.channel("c", int).publish(2)
            assert 0.15 < time.monotonic() - began < 10
            assert isinstance(caught.value, TimeoutError)
        assert quick.metrics()["published"] == conn.metrics()["published"]
        with pytest.raises(hw.UsageError):
            conn.with_timeout(0)
        await quick.close()
        with pytest.raises(hw.ClosedError):
            await conn.names()


async def test_metrics_count_what_was_done() -> None:
    async with hw.connect("memory:") as conn:
        assert set(conn.metrics().values()) == {0}
        stream, queue, channel = conn.stream("s", int), conn.queue("q", int, retry=hw.Retry(max_attempts=1)), conn.channel("c", int)
        await stream.append(1)
        await stream.append(2, key="k")
        await stream.append_many([3, 4])
        await queue.put(1)
        await queue.put_many([2, 3])
        async with channel.subscribe() as sub:
            await channel.publish(1)
            assert await sub.next(timeout=5)
            assert conn.metrics()["open"] == 1
        async for _ in stream.read():
            pass
        async with queue.consume() as consumer:
            for act in ("ack", "reject", "fail"):
                message = await consumer.next(timeout=5)
                assert message is not None
                if act == "ack":
                    await message.ack()
                elif act == "reject":
                    async with message.handled():
                        raise hw.RejectMessage("no")
                else:
                    async with message.handled():
                        raise ValueError("x")
        found = conn.metrics()
    expected = {
        "appended": 4,
        "put": 3,
        "published": 1,
        "received": 8,
        "acked": 1,
        "rejected": 1,
        "failed": 1,
        "retried": 0,
        "leases_lost": 0,
        "open": 0,
    }
    assert {name: found[name] for name in expected} == expected


async def test_health() -> None:
    async with hw.connect("memory:") as conn:
        queue = conn.queue("q", int)
        async with queue.consume() as consumer:
            await queue.put(1)
            message = await consumer.next(timeout=5)
            assert message is not None
            health = await conn.health()
            assert (health.ok, health.error) == (True, None)
            (found,) = health.consumers
            assert (found.name, found.kind, found.ok, found.received, found.in_hand, found.lag) == ("q", "consumer", True, 1, 1, 1)
            async with message.handled():
                raise ValueError("a reason")
            (found,) = (await conn.health()).consumers
            assert found.last_error is not None and "a reason" in found.last_error


async def test_drain_waits_for_what_is_in_hand() -> None:
    async with hw.connect("memory:") as conn:
        queue = conn.queue("q", int)
        await queue.put_many(list(range(5)))
        done: list[int] = []

        async def handler(message: hw.Delivery[int]) -> None:
            await asyncio.sleep(0.1)
            done.append(message.value)

        running = asyncio.create_task(queue.run(handler, concurrency=2))
        await asyncio.sleep(0.05)
        assert await conn.drain(10)
        await running
        stats = await queue.stats()
        assert len(done) == 2
        assert (stats.acked_total, stats.ready) == (2, 3)
        await queue.put(9)  # it is still open


async def test_drain_says_what_it_did_not_manage() -> None:
    async with hw.connect("memory:") as conn:
        queue = conn.queue("q", int)
        await queue.put(1)
        release = asyncio.Event()

        async def handler(_: hw.Delivery[int]) -> None:
            await release.wait()

        running = asyncio.create_task(queue.run(handler))
        await asyncio.sleep(0.05)
        assert not await conn.drain(0.05)
        release.set()
        await running


async def test_an_exception_gives_back_at_once(tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'd'}"
    with pytest.raises(KeyError):
        async with hw.connect(url) as conn:
            queue = conn.queue("q", int)
            await queue.put(1)
            (message,) = await queue.take()
            raise KeyError(message.value)
    async with hw.connect(url) as conn:
        (again,) = await conn.queue("q", int).take(wait=1)
        assert again.attempt == 1, "giving back counts no attempt"


async def test_names(tmp_path: Path) -> None:
    async with hw.connect(f"local:{tmp_path / 'd'}") as conn:
        await conn.stream("s").group("g").declare()
        await conn.queue("q").declare()
        assert [(info.kind, info.name, info.parent) for info in sorted(await conn.names(), key=lambda info: info.kind)] == [
            ("group", "g", "s"),
            ("queue", "q", None),
            ("stream", "s", None),
        ]
        await conn.queue("q").delete()
        await conn.stream("s").delete()
        assert await conn.names() == []


async def test_a_changed_option_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with hw.connect("memory:") as conn:
        with caplog.at_level(logging.WARNING, "headwater"):
            await conn.queue("q", lease=10).declare()
            await conn.queue("q").declare()
            await conn.queue("q", lease=10).declare()
            assert not caplog.records
            await conn.queue("q", lease=20).declare()
        (record,) = caplog.records
        assert record.name == "headwater.declare"
        assert record.getMessage() == "queue 'q': lease changes from 10.0 to 20.0"
        assert (await conn.queue("q").config())["lease"] == 20


async def test_logs_name_no_payload(caplog: pytest.LogCaptureFixture) -> None:
    async with hw.connect("memory:") as conn:
        queue = conn.queue("q", int, retry=hw.Retry(max_attempts=1))
        await conn.queue("q", str).put("s3cret payload")
        await conn.queue("q").put({"s3cret": 1})
        with caplog.at_level(logging.DEBUG, "headwater"):
            async with queue.consume(idle=0.1) as consumer:
                async for message in consumer:
                    async with message.handled():
                        raise ValueError("handled")
            assert caplog.records
        assert all(record.name.startswith("headwater.") for record in caplog.records)
        assert "s3cret" not in caplog.text
        assert (await queue.stats()).dead == 2


def test_a_message_shows_no_payload() -> None:
    with hw.sync.connect("memory:") as conn:
        conn.stream("s", bytes).append(b"s3cret", key="k")
        (message,) = conn.stream("s", bytes).read().next_many()
        assert repr(message) == "<Message 's' \"1\", 6 bytes>"
        assert repr(conn.stream("s")) == "<headwater stream 's'>"
        assert repr(conn.queue("q")) == "<headwater queue 'q'>"
        assert repr(conn.channel("c")) == "<headwater channel 'c'>"
        assert repr(conn.stream("s").group("g")) == "<headwater group 'g' of stream 's'>"
        assert repr(conn.stream("s").read()) == "<headwater reader of 's'>"
        assert repr(conn.queue("q").dead) == "<headwater dead letters of 'q'>"
