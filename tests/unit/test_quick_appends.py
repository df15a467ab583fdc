"""Once a stream is declared its object has the binding's own `append` and `append_many`: they do what the pattern's methods do."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headwater as hw


class Order(msgspec.Struct):
    number: int


def contents(stream: hw.sync.Stream[Any]) -> list[tuple[Any, str | None]]:
    with stream.read() as reader:
        return [(message.value, message.key) for message in reader]


async def test_they_are_there_once_it_is_declared_and_gone_with_it() -> None:
    async with hw.connect("memory:") as conn:
        stream = conn.stream("a", bytes)
        assert "append" not in vars(stream)
        await stream.append(b"declares")
        assert {"append", "append_many"} <= set(vars(stream))
        await stream.delete()
        assert "append" not in vars(stream)
        await stream.append(b"declares again")
        assert (await stream.info()).records == 1


def test_what_has_options_goes_the_same_way_as_what_has_none() -> None:
    with hw.sync.connect("memory:") as conn:
        stream = conn.stream("a", Order)
        stream.declare()
        positions = [
            stream.append(Order(1)),
            stream.append(value=Order(2)),
            stream.append(Order(3), key="k", headers={"a": "b"}, time=datetime(2020, 1, 1, tzinfo=UTC)),
            stream.append(Order(4), id="once"),
            *stream.append_many([Order(5), hw.Item(Order(6), key="k"), hw.Item(Order(7), key=b"k", headers={"a": "b"})]),
            *stream.append_many([hw.Item(Order(8)), Order(9)], atomic=True),
            *stream.append_many(Order(number) for number in (10, 11)),
        ]
        assert positions == sorted(positions)
        assert stream.append(Order(0), id="once") == positions[3]
        keys = {3: "k", 6: "k", 7: "k"}
        assert contents(stream) == [(Order(number), keys.get(number)) for number in range(1, 12)]
        with pytest.raises(hw.ConflictError):
            stream.append(Order(0), expect="empty")
        with pytest.raises(hw.UsageError):
            stream.append_many([hw.Item(Order(0), delay=1)])
        assert conn.metrics()["appended"] >= 11


def test_bytes_go_as_they_are_where_anything_may_come() -> None:
    with hw.sync.connect("memory:") as conn:
        stream = conn.stream("a")
        stream.declare()
        stream.append(b"bytes")
        stream.append(bytearray(b"array"))
        stream.append({"a": 1})
        stream.append_many([b"bytes", {"a": 2}])
        stream.append_many([{"a": 3}, {"a": 4}])
        with stream.read() as reader:
            found = [(message.content_type, message.value) for message in reader]
    raw, json = "application/octet-stream", "application/json"
    assert found == [
        (raw, b"bytes"), (raw, b"array"), (json, {"a": 1}), (raw, b"bytes"), (json, {"a": 2}), (json, {"a": 3}), (json, {"a": 4}),
    ]  # fmt: skip


def test_what_fails_is_explained() -> None:
    with hw.sync.connect("memory:", max_message_bytes=1000) as conn:
        stream, typed = conn.stream("a", bytes), conn.stream("b", Order)
        for each in (stream, typed):
            each.declare()
        with pytest.raises(hw.EncodeError, match="bytes"):
            stream.append("text")  # type: ignore[arg-type]
        with pytest.raises(hw.EncodeError, match="object does not encode"):
            typed.append(object())  # type: ignore[arg-type]
        with pytest.raises(hw.TooLargeError):
            stream.append(bytes(2000))
        with pytest.raises(hw.BatchError) as caught:
            stream.append_many([b"one", bytes(2000), b"three"])
        assert [type(each) for each in caught.value.results] == [hw.Position, hw.TooLargeError, hw.Position]
        with pytest.raises(hw.TooLargeError):
            stream.append_many([b"one", bytes(2000)], atomic=True)
        assert contents(stream) == [(b"one", None), (b"three", None)]
        assert contents(typed) == []


async def test_another_thread_and_a_closed_connection_are_refused() -> None:
    async with hw.connect("memory:quick") as other:
        async with hw.connect("memory:quick") as conn:
            stream = conn.stream("a", bytes)
            await stream.declare()
            found: list[BaseException] = []

            def elsewhere() -> None:
                for send in (lambda: stream.append(b"x"), lambda: stream.append_many([b"x"])):
                    try:
                        asyncio.run(_await(send()))
                    except hw.UsageError as error:
                        found.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert len(found) == 2
        with pytest.raises(hw.ClosedError):
            await stream.append(b"x")
        with pytest.raises(hw.ClosedError):
            await stream.append_many([b"x"])
        assert (await other.stream("a", bytes).info()).records == 0


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def test_an_append_waits_for_the_disk_where_the_directory_says_so(tmp_path: Path) -> None:
    async with hw.connect(f"local:{tmp_path / 'data'}?durability=always") as conn:
        stream = conn.stream("a", bytes)
        await stream.declare()
        first = await stream.append(b"one")
        assert await stream.append_many([b"two", b"three"]) > [first]
    with hw.sync.connect(f"local:{tmp_path / 'data'}?durability=always") as sync:
        again = sync.stream("a", bytes)
        again.declare()
        again.append(b"four")
        again.append_many([b"five", b"six"])
        assert [value for value, _ in contents(again)] == [b"one", b"two", b"three", b"four", b"five", b"six"]


def test_a_forgotten_stream_goes() -> None:
    with hw.sync.connect("memory:") as conn:
        stream = conn.stream("a", bytes)
        stream.declare()
        stream.append(b"x")
        gone = weakref.ref(stream)
        del stream
        gc.collect()
        assert gone() is None
