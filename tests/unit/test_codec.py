"""Values to bytes and back: every codec, what does not fit, and what another codec wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.codec import CodecContext, coding_for


class Passenger(msgspec.Struct):
    name: str
    age: int


class Flight(msgspec.Struct):
    number: str
    passengers: list[Passenger]


@dataclass
class Plane:
    tail: str
    seats: int | None = None


class Gate(TypedDict):
    letter: str
    open: bool


class Bag(pydantic.BaseModel):
    owner: Passenger2 | None = None
    kilos: float


class Passenger2(pydantic.BaseModel):
    age: int


Bag.model_rebuild()

FLIGHT = Flight("HW1", [Passenger("Ada", 36), Passenger("Bob", 7)])


@pytest.fixture
def conn() -> Iterator[hw.sync.Connection]:
    with hw.sync.connect("memory:") as conn:
        yield conn


def last(stream: hw.sync.Stream[Any]) -> hw.Message[Any]:
    return stream.read(last=1).next_many()[0]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Flight, FLIGHT),
        (Plane, Plane("N14228", 180)),
        (Gate, Gate(letter="B", open=True)),
        (Bag, Bag(owner=Passenger2(age=3), kilos=1.5)),
        (list[Bag], [Bag(kilos=2)]),
        (int | str, 7),
        (int | str, "seven"),
        (dict[str, list[int]], {"a": [1, 2]}),
        (tuple[int, str], (1, "x")),
        (bool | None, None),
        (Any, {"any": [1, None, 2.5, "x"]}),
        (object, [1]),
        (str, "text ü 🦀"),
        (bytes, b"\x00\xff"),
    ],
    ids=str,
)
def test_there_and_back(conn: hw.sync.Connection, codec: Any, kind: Any, value: Any) -> None:
    stream = conn.stream("s", kind, codec=codec)
    stream.append(value)
    found = last(stream).value
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "content_type"), [(b"\x00", "application/octet-stream"), ("x", "application/json"), (bytearray(b"a"), "application/octet-stream")]
)
def test_bytes_among_anything_go_as_they_are(conn: hw.sync.Connection, value: Any, content_type: str) -> None:
    stream = conn.stream("s")
    stream.append(value)
    assert last(stream).content_type == content_type
    assert last(stream).value == value
    stream.append_many([value, 1])
    assert [m.value for m in stream.read(last=2).next_many()] == [value, 1]


@pytest.mark.parametrize(
    ("codec", "kind", "content_type", "raw"),
    [
        ("json", dict, "application/json", b'{"a":1}'),
        ("msgpack", dict, "application/msgpack", b"\x81\xa1a\x01"),
    ],
)
def test_bytes_on_the_wire(conn: hw.sync.Connection, codec: Any, kind: Any, content_type: str, raw: bytes) -> None:
    stream = conn.stream("s", kind, codec=codec)
    stream.append({"a": 1})
    assert (last(stream).raw, last(stream).content_type) == (raw, content_type)


def test_text_and_raw(conn: hw.sync.Connection) -> None:
    conn.stream("t", str).append("ü")
    assert (last(conn.stream("t", str)).raw, last(conn.stream("t", str)).content_type) == ("ü".encode(), "text/plain")
    raw = conn.stream("r", codec="raw")
    raw.append(b"\xff")
    assert last(raw).value == b"\xff"
    with pytest.raises(hw.EncodeError):
        raw.append({"a": 1})
    with pytest.raises(hw.UsageError, match="bytes and str"):
        conn.stream("r", int, codec="raw")


def test_what_another_codec_wrote_is_understood(conn: hw.sync.Connection) -> None:
    for codec in ("json", "msgpack"):
        conn.stream("s", Flight, codec=codec).append(FLIGHT)
    for codec in ("json", "msgpack"):
        assert [m.value for m in conn.stream("s", Flight, codec=codec).read()] == [FLIGHT, FLIGHT]
    assert [m.value for m in conn.stream("s").read()] == [msgspec.to_builtins(FLIGHT)] * 2
    assert [m.value for m in conn.stream("s", bytes).read()] == [m.raw for m in conn.stream("s").read()]


@pytest.mark.parametrize(
    ("kind", "value", "path", "says"),
    [
        (Flight, {"number": "x", "passengers": [{"name": "a", "age": 1}, {"name": "b", "age": "old"}]}, "$.passengers[1].age", "int"),
        (Flight, {"number": "x"}, "$", "passengers"),
        (Flight, [1], "$", "object"),
        (dict[str, int], {"a": "b"}, "$[...]", "int"),
        (list[Bag], [{"kilos": 1}, {"kilos": "heavy"}], "$[1].kilos", "number"),
        (int, "x", "$", "int"),
    ],
)
def test_the_path_of_what_does_not_fit(conn: hw.sync.Connection, kind: Any, value: Any, path: str, says: str) -> None:
    conn.stream("s").append(value)
    message = last(conn.stream("s", kind))
    with pytest.raises(hw.DecodeError, match=says) as caught:
        message.value  # noqa: B018 - the look is what decodes
    assert caught.value.path == path
    assert caught.value.__cause__ is not None
    assert message.raw == json.dumps(value, separators=(",", ":")).encode()


def test_a_payload_is_not_shown_by_its_error(conn: hw.sync.Connection) -> None:
    conn.stream("s").append({"kilos": "s3cret"})
    conn.stream("s").append({"number": "s3cret", "passengers": "s3cret"})
    for message, kind in zip(conn.stream("s", Bag).read(), (Bag, Flight), strict=True):
        with pytest.raises(hw.DecodeError) as caught:
            coding = coding_for("json", kind, CodecContext("s", "stream"))
            coding.decode_other(message.raw, message.content_type, "s")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[1,]", b'{"a":1}x'])
def test_no_json_at_all(conn: hw.sync.Connection, data: bytes) -> None:
    conn.stream("s").append(data)
    with pytest.raises(hw.DecodeError):
        last(conn.stream("s", Flight)).value  # noqa: B018 - the look is what decodes


def test_text_that_is_no_utf8(conn: hw.sync.Connection) -> None:
    conn.stream("s").append(b"ok\xff")
    with pytest.raises(hw.DecodeError, match="byte 2 is not UTF-8"):
        last(conn.stream("s", str)).value  # noqa: B018 - the look is what decodes


def test_reading_goes_on_behind_what_does_not_decode(conn: hw.sync.Connection) -> None:
    conn.stream("s").append_many([1, "x", 3])
    found: list[Any] = []
    for message in conn.stream("s", int).read():
        try:
            found.append(message.value)
        except hw.DecodeError:
            found.append(None)
    assert found == [1, None, 3]
    assert conn.metrics()["undecodable"] == 1


@pytest.mark.parametrize("value", [object(), {1: object()}, lambda: None])
def test_what_does_not_encode(conn: hw.sync.Connection, value: Any) -> None:
    stream, queue, channel = conn.stream("s"), conn.queue("q"), conn.channel("c")
    for _ in range(2):  # the first use declares, the second goes the short way
        for send in (stream.append, queue.put, channel.publish, lambda v: stream.append(v, key="k"), lambda v: queue.put(v, delay=60)):
            with pytest.raises(hw.EncodeError) as caught:
                send(value)
            assert caught.value.__cause__ is not None
        with pytest.raises(hw.BatchError) as batch:
            stream.append_many([1, value])
        assert [type(result) for result in batch.value.results] == [hw.Position, hw.EncodeError]
    assert stream.info().records == 2


async def test_what_does_not_encode_fails_at_the_await() -> None:
    async with hw.connect("memory:") as conn:
        stream, queue, channel = conn.stream("s"), conn.queue("q"), conn.channel("c")
        for _ in range(2):
            for send in (stream.append, queue.put, channel.publish):
                sending = send(object())
                with pytest.raises(hw.EncodeError):
                    await sending


class Reversed:
    """A codec of one's own."""

    content_type = "application/x-reversed"

    def __init__(self) -> None:
        self.told: list[CodecContext] = []

    def encode(self, value: Any, ctx: CodecContext, /) -> bytes:
        self.told.append(ctx)
        return str(value)[::-1].encode()

    def decode(self, data: bytes, type: Any, ctx: CodecContext, /) -> Any:
        if data == b"dab":
            raise ValueError("no such thing")
        return type(data.decode()[::-1])


def test_a_codec_of_ones_own(conn: hw.sync.Connection) -> None:
    codec = Reversed()
    stream = conn.stream("s", int, codec=codec)
    stream.append(123)
    message = last(stream)
    assert (message.raw, message.value, message.content_type) == (b"321", 123, "application/x-reversed")
    assert codec.told[0] == CodecContext("s", "stream")
    texts = conn.stream("t", str, codec=codec)
    texts.append("bad")
    with pytest.raises(hw.DecodeError, match="no such thing") as caught:
        last(texts).value  # noqa: B018 - the look is what decodes
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_codec_of_the_connection() -> None:
    with hw.sync.connect("memory:", codec="msgpack") as conn:
        conn.queue("q").put([1])
        (job,) = conn.queue("q").take()
        assert job.content_type == "application/msgpack"
        conn.queue("j", codec="json").put([1])
        (job,) = conn.queue("j").take()
        assert job.content_type == "application/json"


@pytest.mark.parametrize("codec", ["xml", 7, object(), None])
def test_no_codec(codec: Any) -> None:
    with pytest.raises(hw.UsageError):
        hw.sync.connect("memory:", codec=codec)


class Odd:
    pass


@pytest.mark.parametrize("kind", [Odd, object(), list[Odd], 3])
def test_no_type_of_a_message(conn: hw.sync.Connection, kind: Any) -> None:
    with pytest.raises(hw.UsageError, match="is no type of a message"):
        conn.stream("s", kind)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_anything_of_json(value: Any) -> None:
    for name in ("json", "msgpack"):
        coding = coding_for(name, Any, CodecContext("s", "stream"))
        assert coding.encode is not None
        assert coding.decode is not None
        assert coding.decode(coding.encode(value)) == value
