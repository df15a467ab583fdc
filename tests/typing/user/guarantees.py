"""Features, capabilities, codecs and errors."""

from collections.abc import Iterable
from typing import Any, assert_type

import headwater as hw
from models import Job, Order


def features() -> list[hw.Feature]:
    f = hw.Feature
    return [
        f.PERSIST, f.REPLAY, f.REPLAY_FROM_TIME, f.SET_TIME, f.AT_LEAST_ONCE, f.LEASE_LIVENESS, f.LEASE_EXTENSION, f.IDEMPOTENT_APPEND,
        f.ATOMIC_BATCH, f.EXPECT, f.EXPECT_KEY, f.KEY_ORDER, f.KEY_ISOLATION, f.TOTAL_ORDER, f.READ_BY_KEY, f.PRIORITY, f.DELAY, f.TTL,
        f.UNIQUE, f.CANCEL, f.DEAD_LETTERS, f.MAX_LENGTH, f.LAG, f.SEEK, f.RETENTION, f.COMPACTION, f.TRANSACTION, f.WILDCARDS,
        f.SUBSCRIBE_CONFIRMED, f.DROPPED_COUNT, f.CALL, f.NO_RESPONDER, f.HISTORY, f.WATCH, f.FOREIGN,
    ]  # fmt: skip


def capabilities(conn: hw.Connection) -> None:
    caps = conn.capabilities
    for pattern in (caps.channel, caps.queue, caps.stream, caps.group, caps.call, caps.table, caps.entity):
        support = pattern[hw.Feature.DELAY]
        assert_type(support, hw.Support)
        print(support.level is hw.Level.NATIVE, hw.Level.EMULATED, hw.Level.REFUSED)
        assert_type(support.how, str)
        assert_type(support.instead, str)
        print(support.limits)
    print(caps.acknowledged == "page-cache", "process" in caps.survives, caps.server)


def needs(conn: hw.Connection) -> None:
    conn.queue("crawl", Job, needs=(hw.Feature.DELAY, hw.Feature.PRIORITY))
    try:
        conn.stream("orders", Order, needs=[hw.Feature.COMPACTION])
    except hw.UnsupportedError as error:
        print(error.feature, error.engine, error.how, error.instead)


class Upper:
    """A codec of the user's: anything with these three."""

    content_type = "text/x-upper"

    def encode(self, value: Any, ctx: Any) -> bytes:
        return str(value).upper().encode()

    def decode(self, data: bytes, type: Any, ctx: Any) -> Any:
        return data.decode().lower()


async def codecs(conn: hw.Connection) -> None:
    codec: hw.Codec = Upper()
    conn.stream("a", str, codec=codec)
    conn.queue("b", str, codec="raw")
    conn.channel("c", Order, codec="msgpack")
    async with hw.connect(codec=codec):
        pass


def error_tree(error: hw.HeadwaterError) -> Iterable[object]:
    usage: ValueError = hw.UsageError("x")
    timeout: TimeoutError = hw.OperationTimeoutError("x")
    usages: list[type[hw.UsageError]] = [hw.InvalidNameError, hw.ForkedError, hw.IncomparableError]
    storage: list[type[hw.StorageError]] = [hw.StorageFullError, hw.DurabilityError, hw.CorruptionError]
    others: list[type[hw.HeadwaterError]] = [
        hw.DeclarationError, hw.UnsupportedError, hw.ConnectError, hw.AuthenticationError, hw.IncompatibleError, hw.ConnectionLostError,
        hw.OperationTimeoutError, hw.UnconfirmedError, hw.ClosedError, hw.NotFoundError, hw.ConflictError, hw.DuplicateError,
        hw.TrimmedError, hw.TransactionError, hw.DecodeError, hw.EncodeError, hw.TooLargeError, hw.SchemaError, hw.FullError,
        hw.SlowConsumerError, hw.LeaseLostError, hw.CallTimeoutError, hw.NoResponderError, hw.OverloadedError, hw.RemoteError,
        hw.EntityError, hw.TaskFailedError, hw.TaskCancelledError, hw.TaskTimeoutError,
    ]  # fmt: skip
    yield from (usage, timeout, usages, storage, others)
    match error:
        case hw.OperationTimeoutError():
            yield error.maybe_sent, error.holder
        case hw.ConnectionLostError():
            yield error.maybe_sent
        case hw.DeclarationError():
            yield error.stored, error.asked
        case hw.IncompatibleError():
            yield error.found, error.supported
        case hw.UnconfirmedError():
            yield error.items
        case hw.ConflictError():
            yield error.actual
        case hw.DuplicateError() | hw.TrimmedError():
            yield error.first
        case hw.TransactionError():
            yield error.maybe_committed
        case hw.DecodeError():
            yield error.path
        case hw.TooLargeError():
            yield error.size, error.limit
        case hw.SlowConsumerError():
            yield error.dropped
        case hw.DurabilityError():
            yield error.last_synced
        case hw.CorruptionError():
            yield error.file, error.offset
        case hw.RemoteError():
            yield error.type, error.message
        case hw.EntityError():
            yield error.id, error.version, error.event
        case hw.BatchError():
            yield error.results, error.exceptions
        case _:
            pass


def a_batch_error_is_a_group(error: hw.BatchError) -> ExceptionGroup[Any]:
    return error
