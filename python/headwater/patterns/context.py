"""What all objects of one connection share: the backend, the loop it belongs to, what is running, the counters."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ClosedError, ForkedError, UsageError

if TYPE_CHECKING:
    import asyncio

    from ..abc import Backend
    from ..capabilities import Capabilities, Feature
    from ..codec import Codec, CodecName
    from ..message import ConsumerHealth

logger = logging.getLogger("headwater.connection")


_ONE_LOOP = "an asynchronous connection belongs to the event loop it was made in: connect in each, or use headwater.sync"


class Counters:
    """What this connection did, for `metrics()`. Plain integers: several threads may make one a little too low."""

    __slots__ = ("appended", "failed", "given_back", "leases_lost", "published", "put", "rejected", "retried", "undecodable")

    appended: int
    failed: int
    given_back: int
    leases_lost: int
    published: int
    put: int
    rejected: int
    retried: int
    undecodable: int

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Running:
    """Something that `drain` and `close` end: an iterator or a `run`. Kept by the context while it is open."""

    #: The task (asynchronous) or thread (synchronous) that runs it: `drain` does not wait for the one that drains.
    owner: Any = None
    #: The backend's queue or group that it takes from, if any.
    source: Any = None

    def stop(self) -> None:
        """Ends it, from any thread."""
        raise NotImplementedError

    def busy(self) -> bool:
        """Whether `drain` has to wait for it."""
        return False

    def abandon(self) -> None:
        """`close` is here: let go at once, giving back what is in hand."""
        raise NotImplementedError

    async def examine(self) -> ConsumerHealth | None:
        """Whether it makes progress or has nothing to do; None: nobody asks."""
        return None


class Declared(Protocol):
    """A declared name."""

    def forget(self) -> None:
        """It counts as not declared any more."""
        ...


class Context:
    """One connection, as its patterns see it."""

    def __init__(self, backend: Backend, codec: CodecName | Codec, root: Context | None = None) -> None:
        self.backend = backend
        self.codec: CodecName | Codec = codec
        self.sync = backend.settings.sync
        self._root = root or self
        self.pid = os.getpid()
        self._granted: set[tuple[str, Feature]] = set()
        #: What is true of all views of a connection is kept by the first.
        if root is None:
            self.counters = Counters()
            self.running: set[Running] = set()
            # Held while `running` is looked at or changed: a synchronous connection is used from any thread.
            self._lock = threading.RLock()
            self._closed = False
            self._declared: weakref.WeakSet[Declared] = weakref.WeakSet()
            self.loop = None if self.sync else running_loop()
            self.thread = threading.get_ident()
        else:
            self.counters, self.running, self._lock, self.loop, self.thread = root.counters, root.running, root._lock, root.loop, root.thread

    @property
    def capabilities(self) -> Capabilities:
        return self.backend.capabilities

    @property
    def closed(self) -> bool:
        return self._root._closed

    def close(self) -> None:
        """From now on `check` raises, and what was declared asks it first again."""
        root = self._root
        root._closed = True
        with root._lock:
            declared = list(root._declared)
        for each in declared:
            each.forget()

    def declares(self, named: Declared) -> None:
        """`close` ends what `named` does without asking `check`."""
        with self._lock:
            self._root._declared.add(named)

    def view(self, backend: Backend) -> Context:
        """The same connection through a backend with another `op_timeout`."""
        return Context(backend, self.codec, self._root)

    def check(self) -> None:
        """UsageError outside the connection's loop, ForkedError in a child process, ClosedError after `close`."""
        if self.pid != os.getpid():
            raise ForkedError(f"the connection to {self.backend.settings.url} belongs to the parent process: connect again after the fork")
        if self.closed:
            raise ClosedError(f"the connection to {self.backend.settings.url} is closed")
        if not self.sync and running_loop() is not self.loop:
            raise UsageError(_ONE_LOOP)

    def check_closing(self) -> None:
        """UsageError outside the connection's loop, unless that is no more: what a dead loop left behind can be closed from anywhere."""
        if self.loop is not None and running_loop() is not self.loop and not self.loop.is_closed() and self.pid == os.getpid():
            raise UsageError(_ONE_LOOP)

    def refuse(self, pattern: str, feature: Feature) -> None:
        """UnsupportedError where the engine refuses `feature`. Asked for each item of a batch, so what was granted is remembered."""
        asked = (pattern, feature)
        if asked not in self._granted:
            self.backend.capabilities.require(pattern, (feature,))
            self._granted.add(asked)

    def has(self, pattern: str, feature: Feature) -> bool:
        return bool(self.backend.capabilities.pattern(pattern)[feature])

    def add(self, running: Running) -> None:
        running.owner = current_task() if not self.sync else threading.current_thread()
        with self._lock:
            self.running.add(running)

    def remove(self, running: Running) -> None:
        with self._lock:
            self.running.discard(running)

    def now_running(self) -> list[Running]:
        with self._lock:
            return list(self.running)

    async def drain(self, timeout: float) -> bool:
        """Stops everything and waits until what was in hand is settled. Whether that came to pass in time."""
        for each in self.now_running():
            each.stop()
        return await self._idle(timeout)

    async def abandon(self) -> None:
        """Lets go of everything: handlers are cancelled, what is in hand is given back."""
        for each in self.now_running():
            each.abandon()
        # A cancelled handler needs a moment to give back; `close` itself does it for those that take longer.
        await self._idle(1.0)

    async def _idle(self, timeout: float) -> bool:
        me = current_task() if not self.sync else threading.current_thread()
        deadline = time.monotonic() + timeout
        pause = 0.001
        while any(each.owner is not me and alive(each.owner) and each.busy() for each in self.now_running()):
            if time.monotonic() >= deadline:
                return False
            await self.backend.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True


def alive(owner: Any) -> bool:
    if owner is None:
        return False
    return not owner.done() if hasattr(owner, "done") else bool(owner.is_alive())


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The running event loop; None outside one, and where nobody has imported asyncio."""
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    loop: asyncio.AbstractEventLoop | None = module._get_running_loop()
    return loop


def current_task() -> asyncio.Task[Any] | None:
    loop = running_loop()
    return None if loop is None else sys.modules["asyncio"].current_task(loop)


def needs_of(needs: Iterable[Feature | str] | Feature | str) -> tuple[Feature | str, ...]:
    return (needs,) if isinstance(needs, str) else tuple(needs)


class Gate:
    """Lets one caller at a time through: tasks of a loop, or the threads of a synchronous connection, where it never suspends."""

    __slots__ = ("_lock",)

    def __init__(self, sync: bool) -> None:
        if sync:
            self._lock: Any = threading.Lock()
        else:
            import asyncio

            self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        if isinstance(self._lock, _THREAD_LOCK):
            self._lock.acquire()
        else:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


_THREAD_LOCK = type(threading.Lock())
