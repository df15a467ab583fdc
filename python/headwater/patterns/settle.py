"""What becomes of a delivery when its handler fails, is cancelled, or cannot even be given a value.

| what ended the block | the message | the exception |
|---|---|---|
| nothing | acked (natively) | |
| RetryLater | tried again after its delay, counted | out of `async with msg`; swallowed by `handled()` |
| RejectMessage | a dead letter | likewise |
| an Exception that the policy retries | tried again by the stored policy, or dead at its last attempt | likewise |
| any other Exception | a dead letter | likewise |
| CancelledError while this task is being cancelled, KeyboardInterrupt, GeneratorExit | given back, not counted | always out |
| CancelledError that leaked from elsewhere | like an Exception | like an Exception |
| SystemExit and other BaseExceptions | tried again, counted | always out |
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Literal

from .._engine import Delivery
from ..abc import ErrorNote, Source
from ..errors import DecodeError, HeadwaterError, LeaseLostError
from ..retry import RejectMessage, Retry, RetryLater
from .context import Context, current_task, running_loop
from .eager import Started

logger = logging.getLogger("headwater.consumer")

#: Characters of a traceback that are stored with an attempt.
TRACEBACK_LIMIT = 8_000

_DEFAULT = Retry()


class Settler:
    """The hooks of one source's consumers (headwater.abc.Hooks)."""

    def __init__(
        self, context: Context, source: Source, label: str, policy: Retry | None, on_decode_error: Literal["dead", "retry"] = "dead"
    ) -> None:
        self._context = context
        self._source = source
        self._label = label
        self._policy = policy or _DEFAULT
        self._on_decode_error = on_decode_error
        self._tasks: set[Any] = set()
        #: What the last handler that failed raised, for `health`.
        self.last_error: str | None = None

    async def on_error(self, delivery: Delivery[Any], error: BaseException, handled: bool) -> bool:
        """Settles what `error` has left unsettled; whether the exception ends here (`handled`)."""
        leaked = _is_cancelled(error) and not _being_cancelled()
        outcome: str | None = None
        if not delivery.settled:
            try:
                outcome = await self._settle(delivery, error, leaked)
            except HeadwaterError as lost:
                # The handler's own exception is what the program must see; this one is told by log and counter.
                self.on_lost(delivery, lost)
        swallowed = handled and (leaked or isinstance(error, Exception))
        if swallowed and not isinstance(error, (RetryLater, RejectMessage)):
            # What will be tried again is no loss yet.
            level = logging.WARNING if outcome == "retry" else logging.ERROR
            logger.log(level, "%s: attempt %d of message %s failed", self._label, delivery.attempt, delivery.id, exc_info=error)
        return swallowed

    async def _settle(self, delivery: Delivery[Any], error: BaseException, leaked: bool) -> str | None:
        """Whether it will be tried again ("retry") or is "dead"; None: neither by this error."""
        counters = self._context.counters
        if (_is_cancelled(error) and not leaked) or isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            counters.given_back += 1
            await self._source.release([delivery])
            return None
        note = note_of(error)
        if isinstance(error, RejectMessage):
            counters.rejected += 1
            await self._source.reject(delivery, error.reason, None)
            logger.info("%s: message %s was rejected at attempt %d", self._label, delivery.id, delivery.attempt)
            return None
        if isinstance(error, RetryLater):
            counters.retried += 1
            outcome = await self._source.retry(delivery, error.delay, True, note)
        else:
            counters.failed += 1
            self.last_error = f"{note.kind}: {note.message}"
            if leaked or not isinstance(error, Exception) or self._policy.retries(error):
                outcome = await self._source.retry(delivery, None, True, note)
            else:
                await self._source.reject(delivery, f"not retried: {note.kind}", note)
                outcome = "dead"
        if outcome == "dead":
            logger.error("%s: message %s is a dead letter after attempt %d", self._label, delivery.id, delivery.attempt)
        return outcome

    def lost(self, delivery: Delivery[Any]) -> None:
        """`on_lost`, where a batch's answer says so."""
        self.on_lost(delivery, LeaseLostError(f"the lease of message {delivery.id} was lost"))

    def on_lost(self, delivery: Delivery[Any], error: Exception) -> None:
        """A settlement came too late, or its connection is gone: the message comes again, here or elsewhere."""
        self._context.counters.leases_lost += 1
        what = "its lease was lost" if isinstance(error, LeaseLostError) else f"{type(error).__name__}: {error}"
        logger.warning("%s: message %s, attempt %d, could not be settled: %s", self._label, delivery.id, delivery.attempt, what)

    def on_undecodable(self, delivery: Delivery[Any], error: Exception) -> None:
        """The value does not fit its type: dead at once (or, by `on_decode_error`, tried again), never handed out."""
        self.last_error = str(error)
        work = self._undecodable(delivery, error)
        if self._context.sync:
            self._context.backend.drive(work)
            return
        started = Started(work)
        loop = running_loop()
        if not started.done and loop is not None:
            # Not awaited: the consumer goes on to the next message meanwhile. The set keeps the task alive.
            task = loop.create_task(_finish(started))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _undecodable(self, delivery: Delivery[Any], error: Exception) -> None:
        path = error.path if isinstance(error, DecodeError) else None
        note = ErrorNote(type(error).__name__, str(error))
        logger.error("%s: message %s does not decode%s", self._label, delivery.id, f" at {path}" if path else "")
        try:
            if self._on_decode_error == "retry":
                await self._source.retry(delivery, None, True, note)
            else:
                await self._source.reject(delivery, f"undecodable: {error}", note)
        except HeadwaterError as lost:
            self.on_lost(delivery, lost)


def note_of(error: BaseException) -> ErrorNote:
    """`error` as it is stored with an attempt."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = "".join(traceback.format_exception(error))
    if len(text) > TRACEBACK_LIMIT:
        # The end names the exception, the start who called: the middle can go.
        half = TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n…\n{text[-half:]}"
    return ErrorNote(name, str(error)[:TRACEBACK_LIMIT], text)


async def _finish(started: Started) -> None:
    await started


def _is_cancelled(error: BaseException) -> bool:
    # asyncio is not imported for the sake of a synchronous program: who raises its exception has imported it.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _being_cancelled() -> bool:
    task = current_task()
    return task is not None and task.cancelling() > 0
