"""`open` uses what is stored, and makes and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import headwater as hw


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"local:{tmp_path / 'data'}"


async def test_what_is_not_there_is_not_made(url: str) -> None:
    async with hw.connect(url) as conn:
        for named in (conn.stream("a"), conn.stream("a").group("g"), conn.queue("a")):
            with pytest.raises(hw.NotFoundError):
                await named.open()
        assert await conn.names() == []
        await conn.stream("a").declare()
        with pytest.raises(hw.NotFoundError, match="g"):
            await conn.stream("a").group("g").open()
        assert await conn.names() == [hw.Info("stream", "a")]
        await conn.channel("a").open()


async def test_what_is_there_is_used(url: str) -> None:
    async with hw.connect(url) as conn:
        await conn.stream("orders", int).append(1)
        orders = conn.stream("orders", int)
        await orders.open()
        assert (await orders.append(2)).seq == 2
        assert [message.value async for message in orders.read()] == [1, 2]
        await conn.queue("jobs").put("x")
        jobs = conn.queue("jobs")
        await jobs.open()
        await jobs.put("y")
        assert [job.value for job in await jobs.take(2)] == ["x", "y"]
        await orders.group("g").declare()
        group = conn.stream("orders", int).group("g")
        await group.open()
        assert await group.lag() == 2


async def test_options_are_not_stored(url: str) -> None:
    async with hw.connect(url) as conn:
        await conn.stream("orders", retention=hw.Retention(records=10)).declare()
        other = conn.stream("orders", retention=hw.Retention(records=20))
        await other.open()
        await other.append("x")
        assert (await other.config())["retention"] == hw.Retention(records=10)
        await other.declare()
        assert (await other.config())["retention"] == hw.Retention(records=20)


def test_without_async(url: str) -> None:
    with hw.sync.connect(url) as conn:
        with pytest.raises(hw.NotFoundError, match="orders"):
            conn.stream("orders").open()
        conn.stream("orders").declare()
        conn.stream("orders").open()
