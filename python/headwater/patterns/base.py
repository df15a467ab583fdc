"""What channels, queues, streams and groups have in common: a name, a type, a declaration that does no I/O until it is needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields
from threading import get_ident
from typing import Any, ClassVar, Generic, TypeVar, cast

from .._engine import Decoding, Message
from ..abc import Declared, Wire
from ..capabilities import Feature
from ..codec import BYTES, Codec, CodecContext, CodecName, Coding, coding_for
from ..errors import BatchError, EncodeError, HeadwaterError, UsageError
from ..message import Item, Retention
from ..retry import Retry
from .arguments import BYTES_LIKE
from .context import Context, Gate, needs_of

T = TypeVar("T")

logger = logging.getLogger("headwater.declare")

#: threading.get_ident, looked up once: it stands on every hot path.
ident = get_ident


class Named(Generic[T]):
    """A declared name. Made by the connection; does no I/O before its first awaited operation, or `declare`."""

    pattern: ClassVar[str]

    def __init__(self, context: Context, name: str, type: Any, codec: CodecName | Codec | None, needs: Iterable[Feature | str]) -> None:
        context.capabilities.require(self.pattern, needs_of(needs))
        self._context = context
        self._name = name
        self._type = type
        self._coding = coding_for(codec if codec is not None else context.codec, type, CodecContext(name, self.pattern))
        self._wire = wire_of(self._coding, name, context)
        self._declared = False
        # What sends a value without options, once it is declared: the backend's own function.
        self._plain: Any = None
        self._gate: Gate | None = None
        # The loop's thread is compared on hot paths instead of the loop: asking for the running loop costs a system call.
        self._thread = context.thread
        context.declares(self)

    @property
    def name(self) -> str:
        """The name it was declared by."""
        return self._name

    @property
    def type(self) -> Any:
        """The type of its values."""
        return self._type

    def __repr__(self) -> str:
        return f"<headwater {self._label}>"

    @property
    def _label(self) -> str:
        return f"{self.pattern} {self._name!r}"

    async def declare(self) -> None:
        """Makes the engine's object where it is not there, and stores the options that were given explicitly.

        Raises:
            DeclarationError: `ordering` or `partitions` is stored with another value; they never change.
            UnsupportedError: the engine refuses an option.
        """
        self._context.check()
        async with self._entry():
            await self._declare()
            self._declared = True

    async def open(self) -> None:
        """Uses what is stored: makes nothing, and stores no option, now or later.

        Raises:
            NotFoundError: there is none of this name.
        """
        self._context.check()
        async with self._entry():
            await self._open()
            self._declared = True

    async def delete(self) -> None:
        """Deletes it with all that is in it: a stream's records and groups, a queue's jobs and dead letters, a group's progress and dead
        letters. NotFoundError where there is none. Of a channel nothing is stored: does nothing."""
        raise NotImplementedError

    async def config(self) -> Mapping[str, Any]:
        """The stored options, by the names of the declaration's arguments; of a channel none."""
        raise NotImplementedError

    async def _ready(self) -> None:
        """The start of every awaited operation."""
        self._context.check()
        if not self._declared:
            async with self._entry():
                # Whoever waited at the gate finds it done.
                if not self._declared:
                    await self._declare()
                    self._declared = True

    def forget(self) -> None:
        """Declares anew at the next use."""
        self._declared, self._plain = False, None

    def _entry(self) -> Gate:
        if self._gate is None:
            self._gate = Gate(self._context.sync)
        return self._gate

    async def _declare(self) -> None:
        raise NotImplementedError

    async def _open(self) -> None:
        raise NotImplementedError

    def _note(self, given: Any, found: Declared) -> None:
        """One WARNING for each option that this declaration changed."""
        if found.before is None:
            return
        before, after = normal(found.before), normal(found.after)
        for each in fields(given):
            name = each.name
            if getattr(given, name) is not None and name in before and before[name] != after.get(name):
                logger.warning("%s: %s changes from %s to %s", self._label, name, before[name], after.get(name))

    def _outcomes(self, values: list[Any], results: list[Any], what: str) -> list[Any]:
        """The results of a batch; BatchError where one is an exception."""
        if not any(issubclass(kind, BaseException) for kind in set(map(_kind, results))):
            return results
        for place, result in enumerate(results):
            if isinstance(result, Exception) and not isinstance(result, HeadwaterError):
                results[place] = self._explained(result, values[place])
        failed = sum(isinstance(result, Exception) for result in results)
        raise BatchError(f"{self._label}: {failed} of {len(results)} {what} failed; see .results", results)

    def _first_explained(self, error: Exception, values: list[Any]) -> Exception:
        """`_explained` for a batch that failed as a whole."""
        return next((told for value in values if (told := self._explained(error, value)) is not error), error)

    def _sender(self, send: Any) -> Any:
        """What sends a value without options by `send`. Where any type may come, bytes go as they are."""
        if not self._coding.any:
            return send

        def send_any(value: Any, /) -> Any:
            return send(value, content_type=BYTES) if isinstance(value, BYTES_LIKE) else send(value)

        return send_any

    def _explained(self, error: Exception, value: Any) -> Exception:
        """What sending `value` raised, as it is told: an error of the codec or the binding is an EncodeError, if it is the value's fault."""
        if isinstance(error, HeadwaterError):
            return error
        encoding = self._encoding_failed(cast("Any", value).value if isinstance(value, Item) else value)
        if encoding is None and isinstance(error, UnicodeEncodeError):
            told = UsageError(f"{self._label}: {error.object!r} among the key, id and headers is no text that UTF-8 can hold")
            told.__cause__ = error
            return told
        return encoding or error

    def _encoding_failed(self, value: Any) -> EncodeError | None:
        return self._coding.encoding_failed(value, self._label)


#: `type` is also the name of a property of Named.
_kind = type


def wire_of(coding: Coding, name: str, context: Context) -> Wire:
    """How values of `name` travel by `coding`."""
    counters = context.counters

    def fallback(message: Message[Any], error: BaseException | None) -> Any:
        # Only what the fast decoder did not manage comes here.
        try:
            if error is not None:
                raise coding.decoding_failed(name, error) from error
            return coding.decode_other(message.raw, message.content_type, name)
        except Exception:
            counters.undecodable += 1
            raise

    return Wire(coding.content_type, coding.encode, Decoding(name, coding.decode, coding.content_type, fallback))


def normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Stored options as the API's types."""
    found = dict(options)
    for name, kind in (("retry", Retry), ("retention", Retention)):
        stored = found.get(name)
        if isinstance(stored, Mapping):
            found[name] = kind(**cast("Mapping[str, Any]", stored))
    return found
