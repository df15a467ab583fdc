"""`Source.run` of a synchronous connection: the same by threads, without an event loop."""

from __future__ import annotations

import functools
import threading
from typing import Any

from ..errors import HeadwaterError, UsageError
from .run import Runner, Work

__all__ = ["ThreadRunner"]


class ThreadRunner(Runner):
    """One call of `headwater.sync.Queue.run` or `Group.run`. The first worker is the calling thread."""

    def run_here(self, native: Any) -> None:
        """Until the iterator `native` ends; the first failure of the source itself ends it too."""
        if self._is_async:
            native.close()
            raise UsageError(f"the handler of {self._label} is a coroutine function: use an asynchronous connection")
        self._takes_from(native)
        self._fetching = threading.Lock()
        self._state = threading.Condition()
        self._slots = threading.Semaphore(2 * self._concurrency)
        self._keys_in_hand: set[bytes] = set()
        self._failure: BaseException | None = None
        threads = [threading.Thread(target=self._guarded, name=f"headwater-run-{n}") for n in range(1, self._concurrency)]
        for thread in threads:
            thread.start()
        try:
            self._guarded()
            for thread in threads:
                thread.join()
        finally:
            # Ctrl-C in the calling thread: the others finish what they have in hand.
            native.stop()
            for thread in threads:
                thread.join()
            unbegun = [message for message in self._keys.parked() if not message.settled]
            try:
                if unbegun:
                    self._context.backend.drive(self.source.release(unbegun))
            finally:
                native.close()
                self._running = False
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        self.stop()

    def _guarded(self) -> None:
        try:
            self._one_by_one() if self._batch is None else self._batches()
        except BaseException as error:
            if threading.current_thread() is self.owner:
                raise
            self._failure = self._failure or error
        finally:
            self._native.stop()

    def _one_by_one(self) -> None:
        keys = self._keys
        while True:
            self._slots.acquire()
            with self._fetching:
                found: Any = self._native.next()
                with self._state:
                    mine = found is not None and keys.begin(found)
            if found is None:
                self._slots.release()
                return
            message = found if mine else None
            while message is not None:
                try:
                    with message.handled():
                        self._handler(message)
                finally:
                    self._slots.release()
                with self._state:
                    message = keys.end(message)

    def _batches(self) -> None:
        size = self._batch or 1
        while True:
            with self._fetching:
                first = self._native.next()
                if first is None:
                    return
                batch: Work = [first, *(self._native.poll_many(size - 1) if size > 1 else ())]
                keys: set[bytes] = {message.raw_key for message in batch if message.raw_key is not None}
                with self._state:
                    self._state.wait_for(functools.partial(self._keys_in_hand.isdisjoint, keys))
                    self._keys_in_hand |= keys
            try:
                self._batch_of(batch)
            finally:
                with self._state:
                    self._keys_in_hand -= keys
                    self._state.notify_all()

    def _batch_of(self, batch: Work) -> None:
        drive = self._context.backend.drive
        try:
            self._handler(batch)
        except BaseException as error:
            swallowed = True
            for message in batch:
                swallowed = drive(self.settler.on_error(message, error, True)) and swallowed
            if not swallowed:
                raise
            return
        unsettled = [message for message in batch if not message.settled]
        try:
            for message in drive(self.source.ack_many(unsettled)):
                self.settler.lost(message)
        except HeadwaterError as lost:
            for message in unsettled:
                self.settler.on_lost(message, lost)
