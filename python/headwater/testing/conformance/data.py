"""Data: properties 60 to 62, and types."""

from __future__ import annotations

import unicodedata
from typing import Any

import msgspec
import pytest

import headwater as hw
from headwater import Feature
from headwater.testing.conformance.helpers import drain, everything
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial


@proves(60, needs={"stream": [], "queue": [], "channel": []})
async def test_60_sizes(t: Trial) -> None:
    limit = 2 * 2**20
    conn = await t.connect(max_message_bytes=limit)
    stream, queue, channel = conn.stream(t.name(), bytes), conn.queue(t.name(), bytes), conn.channel(t.name(), bytes)
    values = [b"", b"x", bytes(range(256)) * 4096, b"l" * limit]
    assert len(values[2]) == 2**20
    async with channel.subscribe(buffer=10, overflow="error") as sub:
        for value in values:
            await stream.append(value)
            await queue.put(value)
            await channel.publish(value)
            heard = await sub.next(timeout=5)
            assert heard is not None and heard.value == value
        for send in (stream.append, queue.put, channel.publish):
            with pytest.raises(hw.TooLargeError) as caught:
                await send(b"l" * (limit + 1))
            assert (caught.value.limit, (caught.value.size or 0) > limit) == (limit, True)
        assert await sub.next(timeout=0) is None
    assert [m.value for m in await everything(stream)] == values
    assert [m.value for m in await drain(queue, 5, timeout=t.tick / 3)] == values


@proves(60, needs={"stream": []})
async def test_60_the_largest_and_one_more(t: Trial) -> None:
    stream = t.conn.stream(t.name(), bytes)
    for size in (16 * 2**20 + 1, 100 * 2**20):
        with pytest.raises(hw.TooLargeError):
            await stream.append(b"x" * size)
    large = b"0123456789abcdef" * 2**19
    await stream.append(large)
    await stream.append(b"after")
    assert [m.value for m in await everything(stream)] == [large, b"after"]


HEADERS: list[dict[str, str]] = [
    {},
    {f"key-{i}": str(i) * i for i in range(100)},
    {"naïve": "Zürich", "日本": "語", "🦜": "🌊", "empty": ""},
    {"Case": "upper", "case": "lower", "CASE": "all"},
    {"with\nnewline": "a\r\nb", "colon:": "a: b", "nul\x00": "\x00"},
]


@proves(61, needs={"stream": [], "queue": [], "channel": []})
async def test_61_headers(t: Trial) -> None:
    stream, queue, channel = t.conn.stream(t.name(), bytes), t.conn.queue(t.name(), bytes), t.conn.channel(t.name(), bytes)
    async with channel.subscribe() as sub:
        heard: list[Any] = []
        for headers in HEADERS:
            await stream.append(b"x", headers=headers)
            await queue.put(b"x", headers=headers)
            await channel.publish(b"x", headers=headers)
            heard.append(await sub.next(timeout=5))
    for got in (await everything(stream), await drain(queue, len(HEADERS)), heard):
        assert [dict(m.headers) for m in got] == HEADERS
        assert all(dict(m.raw_headers) == {name: value.encode() for name, value in headers.items()} for m, headers in zip(got, HEADERS, strict=True))


@proves(61, needs={"stream": [], "queue": []})
async def test_61_any_bytes(t: Trial) -> None:
    """NUL, invalid UTF-8, and what looks like a record of the engine."""
    values = [b"\x00", b"\x00" * 1000, b"\xff\xfe\x80", bytes(range(256)), b"HWSEG\x1a\r\n" * 20, b"\x80\x00\x00\x20" * 64]
    stream, queue = t.conn.stream(t.name(), bytes), t.conn.queue(t.name(), bytes)
    await stream.append_many(values)
    await queue.put_many(values)
    assert [m.value for m in await everything(stream)] == values
    assert [m.value for m in await drain(queue, len(values))] == values


NAMES = [
    "plain",
    "Plain",
    "with spaces",
    "slash/es/",
    "ha#sh",
    "Zürich",
    "日本語",
    "🦜",
    "dots.in.it",
    "%41",
    "a%2Fb",
    "CON",
    "x" * 120,
    "~",
    "'\"\\",
    "?q=1&b",
]
BAD_NAMES = [
    "",
    "st*r",
    "*",
    "a\x00b",
    "new\nline",
    "tab\t",
    "\x7f",
    "x" * 201,
    "é" * 101,
    unicodedata.normalize("NFD", "Zürich"),
    "a..b",
    "..",
    "a/../b",
    ".a",
    "a.",
    "\ud800",
]


@proves(62, needs={"stream": [], "queue": [], "channel": [], "group": []})
async def test_62_names(t: Trial) -> None:
    """The same grammar on every engine: what may be a name, works; case is kept apart."""
    suffix = t.name("")
    for name in NAMES:
        stream, queue, channel = t.conn.stream(name + suffix, str), t.conn.queue(name + suffix, str), t.conn.channel(name + suffix, str)
        async with channel.subscribe() as sub:
            await channel.publish(name)
            heard = await sub.next(timeout=5)
            assert heard is not None and (heard.value, heard.name) == (name, name + suffix)
        await stream.append(name)
        await queue.put(name)
        assert [m.value for m in await drain(stream.group(name), 1)] == [name]
    for name in NAMES:
        assert [(m.value, m.name) for m in await everything(t.conn.stream(name + suffix, str))] == [(name, name + suffix)]
        assert [m.value for m in await drain(t.conn.queue(name + suffix, str), 2, timeout=0.01)] == [name]
    found = {info.name for info in await t.conn.names()}
    assert {name + suffix for name in NAMES} <= found


@proves(62, needs={"stream": [], "queue": [], "channel": [], "group": []})
async def test_62_forbidden_names(t: Trial) -> None:
    for name in BAD_NAMES:
        if not name.isprintable() or "*" not in name:
            with pytest.raises(hw.InvalidNameError):
                t.conn.channel(name, bytes)
        for declare in (t.conn.stream, t.conn.queue, t.conn.stream("fine").group):
            with pytest.raises(hw.InvalidNameError):
                declare(name)  # type: ignore[operator]
    assert issubclass(hw.InvalidNameError, hw.UsageError) and issubclass(hw.UsageError, ValueError)


@proves(62, needs={"channel": [Feature.WILDCARDS]})
async def test_62_wildcards(t: Trial) -> None:
    """`*` is exactly one word, `**` at the end one or more."""
    base = t.name("w")
    names = [base, f"{base}.a", f"{base}.b", f"{base}.a.x", f"{base}.b.x", f"{base}.a.x.y"]
    patterns = {
        f"{base}.*": {f"{base}.a", f"{base}.b"},
        f"{base}.*.x": {f"{base}.a.x", f"{base}.b.x"},
        f"{base}.**": set(names[1:]),
        f"{base}.a.**": {f"{base}.a.x", f"{base}.a.x.y"},
        base: {base},
    }
    heard: dict[str, set[str]] = {}
    subs = {pattern: await t.conn.channel(pattern, str).subscribe().__aenter__() for pattern in patterns}
    for name in names:
        await t.conn.channel(name, str).publish(name)
    for pattern, sub in subs.items():
        heard[pattern] = set()
        while (message := await sub.next(timeout=t.tick / 3)) is not None:
            assert message.value == message.name
            heard[pattern].add(message.name)
        await sub.__aexit__(None, None, None)
    assert heard == patterns
    for pattern in (f"{base}.*", f"{base}.**"):
        with pytest.raises(hw.UsageError):
            await t.conn.channel(pattern, str).publish("x")


@proves(62, needs={"stream": [], "queue": []})
async def test_62_keys(t: Trial) -> None:
    keys = ["", "k", "K", " ", "*", "a/b", "日本語", "\x00", "\n", "x" * 1000, "e\u0301", "\u00e9"]
    stream, queue = t.conn.stream(t.name(), str), t.conn.queue(t.name(), str)
    for key in keys:
        await stream.append("v", key=key)
        await queue.put("v", key=key)
    assert [m.key for m in await everything(stream)] == keys
    assert [m.raw_key for m in await everything(stream)] == [key.encode() for key in keys]
    assert [m.key for m in await drain(queue, len(keys))] == keys


class Order(msgspec.Struct):
    customer: str
    total: float
    lines: list[int] = []


@proves(60, needs={"stream": [], "queue": [], "channel": []})
async def test_60_types(t: Trial) -> None:
    order = Order("c-7", 12.5, [1, 2, 3])
    cases: list[tuple[Any, Any]] = [
        (Order, order),
        (str, "Zürich"),
        (int, -(2**60)),
        (float, 1.5),
        (bool, True),
        (list[int], [1, 2]),
        (dict[str, Any], {"a": [None]}),
        (int | None, None),
        (Any, {"x": 1}),
    ]
    for codec in ("json", "msgpack"):
        for i, (kind, value) in enumerate(cases):
            stream, queue = t.conn.stream(t.name(f"{codec}{i}"), kind, codec=codec), t.conn.queue(t.name(f"{codec}{i}"), kind, codec=codec)
            await stream.append(value)
            await queue.put(value)
            assert [m.value for m in await everything(stream)] == [value]
            assert [m.value for m in await drain(queue, 1)] == [value]


@proves(60, needs={"stream": [], "queue": []})
async def test_60_what_does_not_fit(t: Trial) -> None:
    """What can't be encoded is not sent; what doesn't decode is dead at once in a queue, and an error at `.value` for a reader."""
    stream, queue = t.conn.stream(t.name(), Order), t.conn.queue(t.name(), Order)
    for send in (stream.append, queue.put):
        with pytest.raises(hw.EncodeError):
            await send(object())  # type: ignore[arg-type]
    loose_stream, loose_queue = t.conn.stream(t.name(), dict[str, Any]), t.conn.queue(t.name(), dict[str, Any])
    for value in ({"customer": "c-1", "total": "many"}, {"customer": "c-2", "total": 2}):
        await loose_stream.append(value)
        await loose_queue.put(value)
    bad, good = await everything(stream)
    with pytest.raises(hw.DecodeError) as caught:
        bad.value  # noqa: B018 - the look is the point
    assert "total" in str(caught.value.path)
    assert good.value == Order("c-2", 2.0)
    assert [m.value for m in await drain(queue, 2, timeout=t.tick)] == [Order("c-2", 2.0)]
    async with loose_queue.dead.read() as letters:
        (letter,) = [letter async for letter in letters]
    assert letter.value == {"customer": "c-1", "total": "many"}
    assert "total" in str(letter.error) + letter.reason
