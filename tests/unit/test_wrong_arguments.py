"""Wrong arguments are a UsageError before anything is sent, and never an exception of the engine's or the interpreter's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import headwater as hw


@pytest.fixture
def conn() -> Iterator[hw.sync.Connection]:
    with hw.sync.connect("memory:") as conn:
        conn.stream("orders").append_many([1, 2, 3])
        conn.stream("orders").group("billing").declare()
        yield conn


def elsewhere(seq: int = 1) -> hw.Position:
    return hw.Position("other", seq)


OF_ANOTHER_STREAM: dict[str, Callable[[hw.sync.Stream[Any]], Any]] = {
    "expect": lambda s: s.append(4, expect=elsewhere(3)),
    "expect_key": lambda s: s.append(4, key="k", expect_key=elsewhere()),
    "start": lambda s: s.read(start=elsewhere()),
    "stop": lambda s: s.read(stop=elsewhere()),
    "after": lambda s: s.read(after=elsewhere()),
    "checkpoint": lambda s: next(iter(s.read(after=hw.Checkpoint((elsewhere(),))))),
    "trim": lambda s: s.trim(before=elsewhere(3)),
    "seek": lambda s: s.group("billing").seek(elsewhere()),
    "group": lambda s: s.group("late", start=elsewhere()).declare(),
}


@pytest.mark.parametrize("name", OF_ANOTHER_STREAM)
def test_a_position_of_another_stream(conn: hw.sync.Connection, name: str) -> None:
    orders = conn.stream("orders")
    with pytest.raises(hw.UsageError, match=r"@other is not a position of stream 'orders'"):
        OF_ANOTHER_STREAM[name](orders)
    assert orders.info().records == 3
    assert orders.group("billing").lag() == 3
    assert orders.info().groups == ("billing",)


def test_a_group_is_not_moved_beyond_the_end(conn: hw.sync.Connection) -> None:
    """It would pass over what is appended until the position is reached."""
    orders = conn.stream("orders")
    billing = orders.group("billing")
    with pytest.raises(hw.UsageError, match="the next position there is 4"):
        billing.seek(hw.Position("orders", 99))
    assert billing.lag() == 3
    billing.seek(hw.Position("orders", 4))
    orders.append(4)
    assert [message.value for message in billing.take(10, wait=1)] == [4]
    with pytest.raises(hw.UsageError, match="the next position there is 5"):
        orders.group("late", start=hw.Position("orders", 6)).declare()
    # Once it is there, its start is of no more interest.
    orders.group("billing", start=hw.Position("orders", 99)).declare()


def test_positions() -> None:
    for seq, shard in ((-1, 0), (2**64, 0), (1, -1), (1, 2**32), (1.5, 0), ("1", 0)):
        with pytest.raises(hw.UsageError, match="whole numbers from 0 on"):
            hw.Position("orders", seq, shard)  # type: ignore[arg-type]
    assert str(hw.Position("orders", 2**64 - 1, 2**32 - 1)) == f"{2**64 - 1}.{2**32 - 1}@orders"


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=UTC), datetime(1677, 9, 21, tzinfo=UTC), datetime(2262, 4, 12, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_times_that_cannot_be_stored(conn: hw.sync.Connection, time: datetime) -> None:
    orders, jobs = conn.stream("orders"), conn.queue("jobs")
    for call in (
        lambda: orders.append(4, time=time),
        lambda: orders.append_many([hw.Item(4, time=time)]),
        lambda: orders.read(start=time),
        lambda: orders.group("billing").seek(time),
        lambda: jobs.put(1, time=time),
    ):
        with pytest.raises(hw.UsageError, match="1678 and 2262"):
            call()
    assert orders.info().records == 3


def test_times_that_can_be_stored(conn: hw.sync.Connection) -> None:
    for time in (datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)):
        position = conn.stream("orders").append("x", time=time)
        assert next(iter(conn.stream("orders").read(start=position))).timestamp == time


@pytest.mark.parametrize("delay", [1e18, timedelta.max, datetime.max.replace(tzinfo=UTC), math.inf, math.nan, True, "5"])
def test_delays(conn: hw.sync.Connection, delay: Any) -> None:
    jobs = conn.queue("jobs")
    with pytest.raises(hw.UsageError, match="delay"):
        jobs.put(1, delay=delay)
    with pytest.raises(hw.UsageError, match="delay"):
        jobs.put_many([hw.Item(1, delay=delay)])
    assert jobs.stats().put_total == 0


@pytest.mark.parametrize("items", ["abc", b"abc", {"a": 1}, 5, None])
def test_a_batch_is_no_single_value(conn: hw.sync.Connection, items: Any) -> None:
    """Each letter, byte or key would be a message."""
    with pytest.raises(hw.UsageError, match="a batch is an iterable"):
        conn.stream("orders").append_many(items)
    with pytest.raises(hw.UsageError, match="a batch is an iterable"):
        conn.queue("jobs").put_many(items)


def test_numbers_of_messages(conn: hw.sync.Connection) -> None:
    for call in (
        lambda: conn.stream("orders").read().next_many(-1),
        lambda: conn.stream("orders").read(last=-1),
        lambda: conn.queue("jobs").take(0),
        lambda: conn.queue("jobs").take(wait=-1),
        lambda: conn.queue("jobs").consume(prefetch=-1),
        lambda: conn.channel("c").subscribe(buffer=0),
        lambda: conn.queue("jobs", max_length=0),
    ):
        with pytest.raises(hw.UsageError):
            call()
    assert conn.stream("orders").read().next_many(0) == []


async def test_asynchronous_ones_fail_where_they_are_awaited() -> None:
    async with hw.connect("memory:") as conn:
        reader = conn.stream("orders").read()
        for _ in range(2):
            # Before it is open, and after.
            with pytest.raises(hw.UsageError, match="max"):
                await reader.next_many(-1)
            await reader.next_many(0)


@pytest.mark.parametrize("job_id", ["", 5, None])
def test_ids(conn: hw.sync.Connection, job_id: Any) -> None:
    with pytest.raises(hw.UsageError, match="job_id"):
        conn.queue("jobs").cancel(job_id)
    with pytest.raises(hw.UsageError, match="not the id of a message"):
        conn.queue("jobs").cancel("weekly")
    with pytest.raises(hw.NotFoundError):
        conn.queue("jobs").cancel("0-99")


def test_after_close_though_another_connection_is_open() -> None:
    """What two connections of a process share lives on; the closed one's handles do not."""
    with hw.sync.connect("memory:shared") as other, hw.sync.connect("memory:shared") as conn:
        orders, jobs, chat = conn.stream("orders"), conn.queue("jobs"), conn.channel("chat")
        orders.append(1)
        jobs.put(1)
        chat.publish(1)
        conn.close()
        calls: list[Callable[[], Any]] = [
            lambda: orders.append(2),
            lambda: orders.append(2, key="k"),
            lambda: orders.append_many([2]),
            lambda: jobs.put(2),
            lambda: jobs.put(2, key="k"),
            lambda: jobs.put_many([2]),
            lambda: chat.publish(2),
            jobs.stats,
            jobs.take,
            conn.names,
        ]
        for call in calls:
            with pytest.raises(hw.ClosedError):
                call()
        assert other.stream("orders").info().records == 1
        assert other.queue("jobs").stats().put_total == 1


@pytest.mark.parametrize("option", [{"key": "\udcff"}, {"headers": {"a": "\udcff"}}, {"headers": {"\udcff": "a"}}, {"id": "\udcff"}])
def test_text_that_is_no_utf8(conn: hw.sync.Connection, option: Any) -> None:
    orders = conn.stream("orders")
    with pytest.raises(hw.UsageError, match="UTF-8"):
        orders.append(4, **option)
    with pytest.raises(hw.BatchError) as caught:
        orders.append_many([4, hw.Item(5, **option)])
    assert isinstance(caught.value.results[0], hw.Position)
    assert isinstance(caught.value.results[1], hw.UsageError)
    with pytest.raises(hw.UsageError, match="UTF-8"):
        orders.append_many([4, hw.Item(5, **option)], atomic=True)
    jobs = conn.queue("jobs")
    if "id" in option:
        option = {"unique": option["id"]}
    with pytest.raises(hw.UsageError, match="UTF-8"):
        jobs.put(4, **option)
    assert orders.info().appended_total == 4


def test_an_item_whose_value_does_not_encode(conn: hw.sync.Connection) -> None:
    """The value is named, and not the Item round it."""
    with pytest.raises(hw.BatchError) as caught:
        conn.stream("orders").append_many([4, hw.Item(object(), key="k")])
    assert isinstance(caught.value.results[1], hw.EncodeError)
    assert str(caught.value.results[1]).startswith("object does not encode")


@pytest.mark.parametrize("given", [{"url": 5}, {"name": 5}, {"options": 5}, {"codec": 5}, {"op_timeout": "x"}, {"max_message_bytes": 1.5}])
def test_connect(given: Any) -> None:
    arguments: dict[str, Any] = {"url": "memory:", **given}
    for connect in (hw.connect, hw.sync.connect):
        with pytest.raises(hw.UsageError, match=next(iter(given))):
            connect(**arguments)


@pytest.mark.parametrize(
    "given",
    [{"max_attempts": "x"}, {"max_attempts": 1.5}, {"max_attempts": True}, {"delay": "x"}, {"factor": None}, {"max_delay": "x"}, {"jitter": "x"}],
)
def test_retry_policies(given: Any) -> None:
    with pytest.raises(hw.UsageError, match=next(iter(given))):
        hw.Retry(**given)


@pytest.mark.parametrize("given", [{"age": "x"}, {"bytes": 1.5}, {"records": "x"}, {"records": True}])
def test_retentions(given: Any) -> None:
    with pytest.raises(hw.UsageError, match=next(iter(given))):
        hw.Retention(**given)


def test_declarations(conn: hw.sync.Connection) -> None:
    wrong: Any = 5
    for call in (
        lambda: conn.queue("j", retry=wrong),
        lambda: conn.stream("s").group("g", retry=wrong),
        lambda: conn.stream("s", retention=wrong),
    ):
        with pytest.raises(hw.UsageError, match="not 5"):
            call()


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "x", True])
def test_a_handler_that_asks_for_a_wrong_delay(conn: hw.sync.Connection, delay: Any) -> None:
    """It fails as any handler does, and its message is settled."""
    jobs = conn.queue("jobs", retry=hw.Retry(max_attempts=1))
    jobs.put(1)
    (job,) = jobs.take()
    with job.handled():
        raise hw.RetryLater(delay)
    (letter,) = jobs.dead.read()
    assert letter.error is not None and "RetryLater(delay=)" in letter.error


def test_words(conn: hw.sync.Connection) -> None:
    jobs = conn.queue("jobs")
    wrong: Any = "bogus"
    for _ in range(2):
        # Before it is declared, and after.
        with pytest.raises(hw.UsageError, match="on_duplicate"):
            jobs.put(1, on_duplicate=wrong)
        jobs.declare()
    with pytest.raises(hw.UsageError, match=r"\['0-1'\]"):
        jobs.dead.redrive("0-1")
    assert jobs.stats().put_total == 0
