"""What other programs of the machine take, so that runs they disturbed can be left out. From /proc/stat."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TICK = 1 / os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """Processor seconds of the whole machine since it started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _waiting, *interrupts = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(interrupts)) * TICK


def _own() -> float:
    """Of these, our own and those of our processes that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def others(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` answers, and how many processors others kept busy meanwhile."""
    busy, own, begin = _busy(), _own(), time.monotonic()
    answer = work()
    took = time.monotonic() - begin
    return answer, max(0.0, _busy() - busy - (_own() - own)) / took


def undisturbed(work: Callable[[], T], share: float, tries: int = 50) -> tuple[T, int]:
    """What `work` answers in a run in which others kept no more than `share` processors busy, and how many runs were left out; the
    least disturbed one after so many tries."""
    best: tuple[float, T] | None = None
    for left_out in range(tries):
        if others(lambda: time.sleep(0.2))[1] > share:
            continue
        answer, found = others(work)
        if best is None or found < best[0]:
            best = (found, answer)
        if found <= share:
            return answer, left_out
    return (work() if best is None else best[1]), tries
