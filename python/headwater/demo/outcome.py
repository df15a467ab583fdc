"""The last words of a run, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .reconcile import Check
from .result import Result

__all__ = ["lines"]


def lines(result: Result, page: Path | None) -> Iterator[str]:
    """The counts beside those of the CSV, what was delivered again, the throughput, the answer, and where the report is."""
    yield ""
    shown = [(check, _shown(check.expected), _shown(check.found)) for check in result.checks]
    name = max(len(check.what) for check in result.checks)
    width = max(len(text) for _, expected, found in shown for text in (expected, found) if len(text) <= 16)
    yield f"{'':2}{'':{name}}  {'by the CSV':>{width}}  {'found':>{width}}"
    for check, expected, found in shown:
        yield from _check(check, expected, found, name, width)
    yield ""
    again = result.redelivered()
    killed = ", ".join(worker.name for worker in result.watch.crew.workers.values() if worker.killed)
    yield f"{killed} was killed by SIGKILL: {again:,} messages that it had in hand were delivered again, and changed nothing twice"
    for what, count, seconds in result.throughput():
        yield f"{count:>9,} {what} in {seconds:.1f} s: {count / seconds:,.0f}/s"
    yield ""
    yield result.question
    yield f"  {result.answer}"
    yield ""
    if page is not None:
        yield f"report: {page}"
    off = result.off
    if off:
        yield f"{len(off)} of {len(result.checks)} counts are OFF: {'; '.join(check.what for check in off)}"
    else:
        yield f"all {len(result.checks)} counts agree with the CSV; {result.took:.1f} s in all"


def _check(check: Check, expected: str, found: str, name: int, width: int) -> Iterator[str]:
    mark = "✓" if check.ok else "✗"
    note = check.off or check.note
    if max(len(expected), len(found)) <= width:
        yield f"{mark} {check.what:{name}}  {expected:>{width}}  {found:>{width}}{f'  {note}' if note else ''}"
        return
    # A sentence: not twice where both are the same.
    yield f"{mark} {check.what:{name}}  {expected}"
    if expected != found:
        yield f"  {'found':>{name}}  {found}"


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?" if value is None else str(value)
