"""Every exception that headwater raises. Errors of a client library, the engine or the system never leave unmapped; the original
is `__cause__`. Passwords never appear in messages.

HeadwaterError
├ UsageError(ValueError)                      a wrong argument or a wrong moment: the program needs a change
│ ├ InvalidNameError(.name)
│ ├ ForkedError                               used on the other side of a fork
│ └ IncomparableError                         positions of different shards or streams
├ DeclarationError(.stored .asked)            a declared option contradicts what is stored
├ UnsupportedError(.feature .engine .how .instead)
├ ConnectError
├ AuthenticationError
├ IncompatibleError(.found .supported)        not ours, a newer format, an old server
├ ConnectionLostError(.maybe_sent)
├ OperationTimeoutError(TimeoutError)(.maybe_sent .holder)
├ UnconfirmedError(.items)
├ ClosedError
├ NotFoundError(.name)
├ ConflictError(.actual)                      `expect` or `expect_key` did not hold
├ DuplicateError(.first)
├ TrimmedError(.first)
├ TransactionError(.maybe_committed)
├ DecodeError(.path)
├ EncodeError
├ TooLargeError(.size .limit)
├ SchemaError
├ FullError(.limit)
├ SlowConsumerError(.dropped)
├ LeaseLostError
├ CallTimeoutError(TimeoutError)
├ NoResponderError
├ OverloadedError
├ RemoteError(.type .message)
├ EntityError(.id .version .event)
├ StorageError
│ ├ StorageFullError(.path)
│ ├ DurabilityError(.last_synced)
│ └ CorruptionError(.file .offset)
├ TaskFailedError
├ TaskCancelledError
├ TaskTimeoutError
└ BatchError(ExceptionGroup)(.results)

Every class is made from its message alone, with its attributes as keywords; an attribute nobody gave is None (`maybe_sent` and
`maybe_committed`: False). All but BatchError pickle and copy with their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ._engine import Position
    from .capabilities import Feature

__all__ = [
    "AuthenticationError",
    "BatchError",
    "CallTimeoutError",
    "ClosedError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "CorruptionError",
    "DeclarationError",
    "DecodeError",
    "DuplicateError",
    "DurabilityError",
    "EncodeError",
    "EntityError",
    "ForkedError",
    "FullError",
    "HeadwaterError",
    "IncomparableError",
    "IncompatibleError",
    "InvalidNameError",
    "LeaseLostError",
    "NoResponderError",
    "NotFoundError",
    "OperationTimeoutError",
    "OverloadedError",
    "RemoteError",
    "SchemaError",
    "SlowConsumerError",
    "StorageError",
    "StorageFullError",
    "TaskCancelledError",
    "TaskFailedError",
    "TaskTimeoutError",
    "TooLargeError",
    "TransactionError",
    "TrimmedError",
    "UnconfirmedError",
    "UnsupportedError",
    "UsageError",
]


class HeadwaterError(Exception):
    """The root. `str()` says what happened, to what, and where it helps what to do."""

    def __init__(self, message: str = "", /, **attributes: Any) -> None:
        super().__init__(message)
        for name, value in attributes.items():
            # Only what the class declares: a misspelt attribute would otherwise be lost without a sound.
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), str(self.args[0]) if self.args else "", dict(self.__dict__)))


def _rebuild(kind: type[HeadwaterError], message: str, attributes: dict[str, Any]) -> HeadwaterError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error


class UsageError(HeadwaterError, ValueError):
    """A wrong argument, or a call at the wrong moment or on the wrong loop. Nothing was sent."""


class InvalidNameError(UsageError):
    """A name that the grammar of names refuses, on every engine alike."""

    name: str | None = None


class ForkedError(UsageError):
    """An object of the parent process was used in the child of a fork. Connect again in the child."""


class IncomparableError(UsageError):
    """Positions of different streams or shards have no order."""


class DeclarationError(HeadwaterError):
    """`ordering` or `partitions` differs from what is stored; they never change."""

    stored: Any = None
    asked: Any = None


class UnsupportedError(HeadwaterError):
    """The engine refuses a pattern, a feature or an argument. Raised before anything is sent.

    feature: what was needed. engine: which engine refuses. how: why it can't. instead: what would serve.
    """

    feature: Feature | None = None
    engine: str | None = None
    how: str | None = None
    instead: str | None = None


class ConnectError(HeadwaterError):
    """The engine could not be reached or opened."""


class AuthenticationError(HeadwaterError):
    """The server refused the user or the password."""


class IncompatibleError(HeadwaterError):
    """Not a directory of ours, a newer format than this version reads, or a server too old."""

    found: str | None = None
    supported: str | None = None


class ConnectionLostError(HeadwaterError):
    """The connection broke in an operation. maybe_sent: it may have taken effect."""

    maybe_sent: bool = False


class _TimedOut(HeadwaterError, TimeoutError):
    def __new__(cls, message: str = "", /, **attributes: Any) -> Self:
        # OSError, the base of TimeoutError, leaves `args` to `__init__`; the native module makes errors by `__new__` alone.
        self = super().__new__(cls, message)
        self.args = (message,)
        return self


class OperationTimeoutError(_TimedOut):
    """`op_timeout` is over. maybe_sent: the operation may have taken effect. holder: who held the lock, when known."""

    maybe_sent: bool = False
    holder: str | None = None


class UnconfirmedError(HeadwaterError):
    """Closed with sends that the engine never confirmed. items: what they were."""

    items: Sequence[Any] | None = None


class ClosedError(HeadwaterError):
    """The connection or iterator was closed."""


class NotFoundError(HeadwaterError):
    """No object, job or dead letter of this name or id."""

    name: str | None = None


class ConflictError(HeadwaterError):
    """`expect` or `expect_key` did not hold; nothing was appended. actual: the position found (None: empty, absent)."""

    actual: Position | None = None


class DuplicateError(HeadwaterError):
    """A unique job is unfinished, and `on_duplicate="raise"`. first: the id of the job that is there."""

    first: str | None = None


class TrimmedError(HeadwaterError):
    """A position below the retention floor was asked for. first: the first position that is kept."""

    first: Position | None = None


class TransactionError(HeadwaterError):
    """A transaction did not commit, or nobody can say (maybe_committed)."""

    maybe_committed: bool = False


class DecodeError(HeadwaterError):
    """Bytes that are not a value of the declared type. path: the field, as in `$.passengers[3].age` (None: the whole)."""

    path: str | None = None


class EncodeError(HeadwaterError):
    """A value that the codec cannot encode."""


class TooLargeError(HeadwaterError):
    """A message or batch above its limit. size, limit: bytes."""

    size: int | None = None
    limit: int | None = None


class SchemaError(HeadwaterError):
    """A schema registry refused a type."""


class FullError(HeadwaterError):
    """A queue at its `max_length` (limit, unfinished messages)."""

    limit: int | None = None


class SlowConsumerError(HeadwaterError):
    """A subscription with `overflow="error"` was overrun. Raised once; iteration may go on. dropped: messages, so far."""

    dropped: int | None = None


class LeaseLostError(HeadwaterError):
    """The lease of the delivery is over: another consumer may have it. The call changed nothing."""


class CallTimeoutError(_TimedOut):
    """No reply within the call's `timeout`."""


class NoResponderError(HeadwaterError):
    """Nobody serves the name."""


class OverloadedError(HeadwaterError):
    """All who serve the name are at their limit."""


class RemoteError(HeadwaterError):
    """A handler at the other side raised. type: the name of its exception's class. message: its text."""

    type: str | None = None
    message: str | None = None


class EntityError(HeadwaterError):
    """An event of an entity could not be folded."""

    id: str | None = None
    version: int | None = None
    event: Any = None


class StorageError(HeadwaterError):
    """The disk or file system failed."""


class StorageFullError(StorageError):
    """No space left. Nothing acknowledged is lost; free space and try again. path: the directory or file."""

    path: str | None = None


class DurabilityError(StorageError):
    """An fsync failed; that is final. last_synced: the last position known to be on disk."""

    last_synced: int | None = None


class CorruptionError(StorageError):
    """Bytes on disk that are not what was written. file, offset: where."""

    file: str | None = None
    offset: int | None = None


class TaskFailedError(HeadwaterError):
    """A task's result is an exception."""


class TaskCancelledError(HeadwaterError):
    """A task was cancelled."""


class TaskTimeoutError(_TimedOut):
    """A task did not finish in its time."""


class BatchError(HeadwaterError, ExceptionGroup[Exception]):
    """Part of a batch failed. results: one entry for each item, in order: what the call returns for one, or its exception."""

    results: Sequence[Any]

    def __new__(cls, message: str, results: Sequence[Any]) -> Self:
        self = super().__new__(cls, message, [r for r in results if isinstance(r, Exception)])
        self.results = results
        return self

    def __init__(self, message: str, results: Sequence[Any]) -> None:
        super().__init__(message)

    def derive(self, excs: Sequence[Any], /) -> Any:
        """A BatchError of some of the exceptions, as `except*` and `split` need it; `results` are these exceptions."""
        return BatchError(self.message, list(excs))
