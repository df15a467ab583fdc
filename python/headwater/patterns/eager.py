"""A coroutine that begins before anybody awaits it: most of the embedded engine's never suspend, and are then done at once."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


class Started:
    """A coroutine run up to its first suspension, outside of an await; awaiting this goes on from there."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.done = False
        self._result: Any = None
        self._pending: Any = None
        try:
            self._pending = coroutine.send(None)
        except StopIteration as stop:
            self.done = True
            self._result = stop.value

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.done:
            return self._result
        pending = self._pending
        while True:
            try:
                sent = yield pending
            # Whatever is thrown in here goes to the coroutine, as `await` would hand it on.
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
            else:
                step = partial(self._coroutine.send, sent)
            try:
                pending = step()
            except StopIteration as stop:
                self.done = True
                return stop.value
