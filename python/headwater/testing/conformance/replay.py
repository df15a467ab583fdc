"""Replay, seek, retention: properties 43 to 48."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, everything, nothing_from, numbers
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial, now


@proves(43, needs={"stream": [Feature.REPLAY], "group": []})
async def test_43_from_the_beginning(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    positions = await stream.append_many(numbers(100))
    assert [m.value for m in await drain(stream.group("g"), 100)] == numbers(100)
    assert [m.value for m in await drain(stream.group("half", start=positions[50]), 50)] == numbers(100)[50:]
    latest = stream.group("latest", start="latest")
    await latest.declare()
    await stream.append(b"new")
    assert [m.value for m in await drain(latest, 1)] == [b"new"]


@proves(43, needs={"stream": [Feature.REPLAY]})
async def test_43_reading_from_anywhere(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    positions = await stream.append_many(numbers(100))

    async def values(**options: Any) -> list[int]:
        return [int(m.value) for m in await everything(stream, **options)]

    assert await values(start=positions[40]) == list(range(40, 100))
    assert await values(after=positions[40]) == list(range(41, 100))
    assert await values(after=hw.Position.parse(str(positions[40]))) == list(range(41, 100))
    assert await values(start=positions[40], stop=positions[50]) == list(range(40, 50))
    assert await values(last=5) == [95, 96, 97, 98, 99]
    assert await values(last=500) == list(range(100))
    assert await values(start="latest") == []
    assert sorted(positions) == positions and len(set(positions)) == 100


@proves(43, needs={"stream": [Feature.REPLAY, Feature.READ_BY_KEY]})
async def test_43_the_last_of_a_key(t: Trial) -> None:
    """However many records of other keys come behind them."""
    stream = t.conn.stream(t.name(), bytes)
    await stream.append_many([hw.Item(b"%d" % n, key=f"k{n % 10}" if n < 50 else "other") for n in range(100)])

    async def values(**options: Any) -> list[int]:
        return [int(m.value) for m in await everything(stream, **options)]

    assert await values(key="k3", last=1) == [43]
    assert await values(key="k3", last=2) == [33, 43]
    assert await values(key="k3", last=99) == [3, 13, 23, 33, 43]
    assert await values(key="k3", last=0) == await values(key="nobody", last=5) == []
    async with stream.read(key="k3", last=1, follow=True) as reader:
        await stream.append(b"100", key="k3")
        assert [int(m.value) for m in [await reader.next(5), await reader.next(5)] if m is not None] == [43, 100]


@proves(43, needs={"stream": [Feature.REPLAY]})
async def test_43_a_checkpoint_resumes(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    await stream.append_many(numbers(100))
    got: list[int] = []
    checkpoint: Any = None
    while len(got) < 100:
        async with stream.read(after=checkpoint) as reader:
            got += [int(m.value) for m in await reader.next_many(max=7)]
            checkpoint = hw.Checkpoint.parse(str(reader.checkpoint))
    assert got == list(range(100))


@proves(43, needs={"stream": [Feature.READ_BY_KEY]})
async def test_43_by_key(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    for i in range(300):
        await stream.append(str(i).encode(), key=f"k{i % 7}")
    assert [int(m.value) for m in await everything(stream, key="k3")] == list(range(3, 300, 7))
    assert await everything(stream, key="k") == []
    async with stream.read(key="k3", start="latest", follow=True) as reader:
        await stream.append(b"other", key="k4")
        await stream.append(b"mine", key="k3")
        message = await reader.next(timeout=5)
        assert message is not None and message.value == b"mine"


@proves(43, needs={"stream": []})
async def test_43_following(t: Trial) -> None:
    """Without `follow` the end is the tail at the call; with it there is none until `stop`."""
    stream = t.conn.stream(t.name(), bytes)
    await stream.append_many(numbers(3))
    async with stream.read() as bounded:
        await stream.append(b"too late")
        assert len([m async for m in bounded]) == 3
    async with stream.read(follow=True) as reader:

        async def later() -> None:
            await t.sleep(1)
            await stream.append(b"at last")
            await t.sleep(1)
            reader.stop()

        task = asyncio.create_task(later())
        got = [m.value async for m in reader]
        await task
    assert got == [*numbers(3), b"too late", b"at last"]


@proves(44, needs={"stream": [Feature.REPLAY_FROM_TIME]})
async def test_44_from_a_time(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    await stream.append_many(numbers(50))
    await t.sleep(0.5)
    middle = now()
    await t.sleep(0.5)
    await stream.append_many([b"after-%d" % i for i in range(50)])
    got = await everything(stream, start=middle)
    assert [m.value for m in got] == [b"after-%d" % i for i in range(50)]
    assert all(m.timestamp >= middle for m in got)
    assert len(await everything(stream, stop=middle)) == 50


@proves(44, needs={"stream": [Feature.REPLAY_FROM_TIME, Feature.SET_TIME], "group": [Feature.SEEK]})
async def test_44_times_are_event_times(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    base = now().replace(microsecond=123456) - timedelta(days=400)
    for hour in range(48):
        await stream.append(str(hour).encode(), time=base + timedelta(hours=hour))
    got = await everything(stream, start=base + timedelta(hours=30))
    assert [int(m.value) for m in got] == list(range(30, 48))
    assert got[0].timestamp == base + timedelta(hours=30)
    assert int((await everything(stream, start=base + timedelta(hours=29, minutes=1)))[0].value) == 30
    assert [int(m.value) for m in await everything(stream, start=base + timedelta(hours=2), stop=base + timedelta(hours=5))] == [2, 3, 4]
    group = stream.group("g")
    await group.seek(base + timedelta(hours=40))
    assert [int(m.value) for m in await drain(group, 8)] == list(range(40, 48))
    with pytest.raises(hw.UsageError):
        await stream.append(b"x", time=base.replace(tzinfo=None))


@proves(45, needs={"group": [Feature.SEEK]})
async def test_45_seek(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    positions = await stream.append_many(numbers(50))
    a, b = stream.group("a"), stream.group("b")
    assert len(await drain(a, 50)) == len(await drain(b, 50)) == 50
    await a.seek(positions[30])
    again = await drain(a, 20)
    assert [int(m.value) for m in again] == list(range(30, 50))
    assert all(m.attempt == 1 for m in again)
    await nothing_from(a, t.tick / 3)
    await nothing_from(b, t.tick / 3)
    await a.seek("earliest")
    assert len(await drain(a, 50)) == 50
    await a.seek("earliest")
    await a.seek("latest")
    await nothing_from(a, t.tick / 3)
    assert await a.lag() in (0, None)


async def _oldest(t: Trial, stream: hw.Stream[bytes], count: int, above: int = 0, timeout: float = 20.0) -> list[int]:
    """The numbers still there, once the first is above `above`; what is kept is always the newest, without a hole."""
    async with asyncio.timeout(timeout):
        while True:
            kept = [int(m.value.split(b":")[0]) for m in await everything(stream, trimmed="skip")]
            assert kept == list(range(count - len(kept), count))
            if len(kept) < count - above:
                return kept
            await t.sleep(0.3)


@proves(46, needs={"stream": [Feature.RETENTION]})
async def test_46_retention(t: Trial) -> None:
    """By records, bytes and age: old data goes, and only old data."""
    count, filler = 4000, b":" + b"x" * 200
    sent = [number + filler for number in numbers(count)]
    limits = {"records": hw.Retention(records=500), "bytes": hw.Retention(bytes=100_000), "age": hw.Retention(age=t.tick)}

    async def one(kind: str, retention: hw.Retention) -> None:
        stream = t.conn.stream(t.name(kind), bytes, retention=retention)
        for i in range(0, count, 500):
            await stream.append_many(sent[i : i + 500])
            await t.sleep(0.1)
        kept = await _oldest(t, stream, count)
        if kind == "records":
            assert len(kept) >= 500
        if kind == "bytes":
            assert len(kept) * len(sent[-1]) >= 100_000 * 0.5

    await asyncio.gather(*(one(kind, retention) for kind, retention in limits.items()))


@proves(46, needs={"stream": [Feature.RETENTION]})
async def test_46_a_reader_of_what_goes(t: Trial) -> None:
    """Retention and trim pass a reader that stands still; it then learns of it, or skips."""
    stream = t.conn.stream(t.name(), bytes)
    positions = await stream.append_many([number + b":" + b"x" * 500 for number in numbers(2000)])
    async with stream.read() as strict, stream.read(trimmed="skip") as easy:
        for reader in (strict, easy):
            first = await reader.next(timeout=5)
            assert first is not None and first.value.startswith(b"0:")
        await stream.trim(before=positions[1500])
        rest = [int(m.value.split(b":")[0]) async for m in easy]
        assert rest == sorted(rest) and rest[-500:] == list(range(1500, 2000))
        with pytest.raises(hw.TrimmedError) as caught:
            async for message in strict:
                assert message.value
        assert caught.value.first == positions[1500]


@proves(47, needs={"stream": [Feature.RETENTION]})
async def test_47_below_the_floor(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    positions = await stream.append_many(numbers(100))
    await stream.trim(before=positions[60])
    for options in ({"start": positions[10]}, {"after": positions[10]}):
        with pytest.raises(hw.TrimmedError) as caught:
            await everything(stream, **options)
        assert caught.value.first == positions[60]
        assert [int(m.value) for m in await everything(stream, **options, trimmed="skip")] == list(range(60, 100))
    assert [int(m.value) for m in await everything(stream)] == list(range(60, 100)), "earliest is what there is"
    assert [int(m.value) for m in await everything(stream, after=positions[59])] == list(range(60, 100)), "nothing is missed"
    info = await stream.info()
    assert info.first == positions[60] and info.records == 40
    group = stream.group("g")
    assert [int(m.value) for m in await drain(group, 40)] == list(range(60, 100))
    await stream.trim(before=positions[99])
    assert await stream.append(b"x") > positions[99]


@proves(48, needs={"stream": [Feature.COMPACTION]})
async def test_48_compaction(t: Trial) -> None:
    """The last value of each key stays."""
    stream = t.conn.stream(t.name(), bytes, needs=[Feature.COMPACTION])
    for i in range(200):
        await stream.append(str(i).encode(), key=f"k{i % 10}")
    last = {m.key: int(m.value) for m in await everything(stream, trimmed="skip")}
    assert last == {f"k{i % 10}": i for i in range(190, 200)}
