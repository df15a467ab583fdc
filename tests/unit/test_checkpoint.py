"""Positions and checkpoints: printed, parsed, compared."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater import Checkpoint, Position

STREAMS = st.text(st.characters(exclude_categories=("Cs",)), min_size=0, max_size=20)
POSITIONS = st.builds(Position, STREAMS, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(POSITIONS)
def test_printed_and_parsed(position: Position) -> None:
    assert Position.parse(str(position)) == position
    assert eval(repr(position), {"Position": Position}) == position
    assert hash(Position.parse(str(position))) == hash(position)
    assert pickle.loads(pickle.dumps(position)) == copy.copy(position) == position  # noqa: S301 - made on the line itself


def test_as_text() -> None:
    assert str(Position("orders", 42)) == "42@orders"
    assert str(Position("orders", 42, 3)) == "42.3@orders"
    assert (Position.parse("42").stream, Position.parse("42").seq, Position.parse("42").shard) == ("", 42, 0)
    assert Position.parse("1@a@b.c").stream == "a@b.c"


@pytest.mark.parametrize(
    "text", ["", "x", "@orders", "-1@orders", "+1@o", "1.@o", ".1@o", "1.2.3@o", " 1@o", "1_0@o", "٣@o", str(2**64), f"1.{2**32}"]
)
def test_no_position(text: str) -> None:
    with pytest.raises(hw.UsageError, match="position"):
        Position.parse(text)


@given(st.integers(0, 99), st.integers(0, 99))
def test_ordered_within_a_shard(a: int, b: int) -> None:
    one, two = Position("s", a), Position("s", b)
    assert ((one < two), (one <= two), (one > two), (one >= two), (one == two), (one != two)) == (a < b, a <= b, a > b, a >= b, a == b, a != b)
    assert sorted([two, one]) == [Position("s", n) for n in sorted([a, b])]


@pytest.mark.parametrize("other", [Position("t", 1), Position("s", 1, 1), Position("", 1)])
def test_no_order_across(other: Position) -> None:
    here = Position("s", 1)
    assert here != other
    for compare in (lambda: here < other, lambda: here >= other, lambda: max(here, other)):
        with pytest.raises(hw.IncomparableError, match="have no order"):
            compare()


def test_no_order_with_anything_else() -> None:
    assert Position("s", 1) != 1
    with pytest.raises(TypeError):
        Position("s", 1) < 2  # type: ignore[operator] # noqa: B015 - what is compared is the test


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 99)), max_size=5), STREAMS)
def test_checkpoints(places: list[tuple[int, int]], stream: str) -> None:
    checkpoint = Checkpoint(tuple(Position(stream, seq, shard) for seq, shard in places))
    assert Checkpoint.parse(str(checkpoint)) == checkpoint


def test_checkpoint_as_text() -> None:
    assert str(Checkpoint((Position("o", 42),))) == "42@o"
    assert str(Checkpoint((Position("o", 42, 0), Position("o", 17, 1)))) == "42.0,17.1@o"


@pytest.mark.parametrize("text", ["x", "1,@o", ",", "1@o,2@o.", "1.2.3@o"])
def test_no_checkpoint(text: str) -> None:
    # A stream's name may hold commas: the second place of "1@o,2@o." is part of one.
    if text == "1@o,2@o.":
        assert Checkpoint.parse(text).positions == (Position("o,2@o.", 1),)
        return
    with pytest.raises(hw.UsageError, match="not a checkpoint"):
        Checkpoint.parse(text)


def test_where_a_reader_stands() -> None:
    with hw.sync.connect("memory:") as conn:
        stream = conn.stream("s", int)
        positions = stream.append_many(list(range(10)))
        reader: Any = stream.read()
        with pytest.raises(hw.UsageError, match="nowhere"):
            reader.checkpoint  # noqa: B018 - the look is what raises
        with reader:
            assert reader.checkpoint.positions == (Position("s", 0),)
            assert [reader.next().value for _ in range(4)] == [0, 1, 2, 3]
            assert reader.checkpoint.positions == (positions[3],)
            text = str(reader.checkpoint)
        assert [m.value for m in stream.read(after=Checkpoint.parse(text))] == [4, 5, 6, 7, 8, 9]
        assert [m.value for m in stream.read(after=Position.parse(text))] == [4, 5, 6, 7, 8, 9]
        assert conn.channel("c").subscribe().checkpoint is None
