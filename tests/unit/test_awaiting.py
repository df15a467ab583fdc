"""What `append`, `put` and `publish` return: done at once, and yet a coroutine in every respect."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
from typing import Any

import pytest

import headwater as hw
from headwater._engine import Ready, drive, failed


async def test_ready() -> None:
    assert await Ready(5) == 5
    assert await Ready() is None
    once = Ready("x")
    assert [await once, await once, once.result()] == ["x", "x", "x"]
    assert isinstance(once, collections.abc.Coroutine)
    assert inspect.isawaitable(once)
    assert drive(once) == "x"


async def test_failed() -> None:
    sending = failed(ValueError("why"))
    with pytest.raises(ValueError, match="why"):
        await sending
    with pytest.raises(ValueError, match="why"):
        sending.result()
    with pytest.raises(ValueError, match="why"):
        drive(failed(ValueError("why")))
    with pytest.raises(TypeError):
        failed("text")  # type: ignore[arg-type]


async def test_by_hand() -> None:
    with pytest.raises(StopIteration) as stop:
        Ready((1, 2)).send(None)
    assert stop.value.value == (1, 2)
    with pytest.raises(StopIteration) as stop:
        next(Ready([3]).__await__())
    assert stop.value.value == [3]
    with pytest.raises(KeyError):
        Ready(1).throw(KeyError("x"))
    with pytest.raises(KeyError):
        Ready(1).throw(KeyError)
    for wrong in ((), (5,)):
        with pytest.raises(TypeError):
            Ready(1).throw(*wrong)
    Ready(1).close()


async def test_every_way_to_run_a_coroutine() -> None:
    assert await asyncio.create_task(Ready(1)) == 1
    assert await asyncio.ensure_future(Ready(2)) == 2
    assert await asyncio.wait_for(Ready(3), 1) == 3
    assert await asyncio.shield(Ready(4)) == 4
    assert await asyncio.gather(Ready(5), Ready(6)) == [5, 6]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(Ready(n)) for n in range(3)]
    assert [task.result() for task in tasks] == [0, 1, 2]
    outcome = await asyncio.gather(failed(ValueError("x")), Ready(7), return_exceptions=True)
    assert isinstance(outcome[0], ValueError)
    assert outcome[1] == 7


async def test_a_task_that_is_cancelled_before_it_began() -> None:
    task = asyncio.create_task(Ready(1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "Ready" in repr(asyncio.create_task(Ready(1)))


def test_of_a_loop() -> None:
    assert asyncio.run(Ready(8)) == 8


SENDS: list[Any] = [
    lambda c, v: c.stream("s", int).append(v),
    lambda c, v: c.stream("s", int).append(v, key="k"),
    lambda c, v: c.queue("q", int).put(v),
    lambda c, v: c.queue("q", int).put(v, priority=3),
    lambda c, v: c.channel("c", int).publish(v),
    lambda c, v: c.channel("c", int).publish(v, key="k"),
]


@pytest.mark.parametrize("send", SENDS)
async def test_operations_are_coroutines_that_fail_when_awaited(send: Any) -> None:
    """Before and after the declaration: the first call goes another way than the second."""
    async with hw.connect("memory:") as conn:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                group.create_task(send(conn, 1))
            bad = send(conn, object())
            good = send(conn, 2)
            outcome = await asyncio.gather(bad, good, return_exceptions=True)
            assert isinstance(outcome[0], hw.EncodeError)
            assert not isinstance(outcome[1], Exception)


async def test_settling_fails_when_awaited() -> None:
    async with hw.connect("memory:") as conn:
        queue = conn.queue("q", int)
        await queue.put(1)
        (message,) = await queue.take()
        await message.ack()
        again = [message.ack(), message.retry(), message.reject("no"), message.extend(5)]
        outcome = await asyncio.gather(*again, return_exceptions=True)
        assert all(isinstance(each, hw.UsageError) for each in outcome), outcome
        late = message.retry(delay=-1)
        with pytest.raises(hw.UsageError):
            await late
