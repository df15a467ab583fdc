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
    name = max(len(check.what) for check in result.checks)
    width = max(len(_shown(count)) for check in result.checks if not check.said for count in (check.expected, check.found))
    yield f"{'':2}{'':{name}}  {'by the CSV':>{width}}  {'found':>{width}}"
    for check in result.checks:
        yield from _check(check, name, width)
    yield ""
    yield result.kill()
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


def _check(check: Check, name: int, width: int) -> Iterator[str]:
    mark, expected, found = "✓" if check.ok else "✗", _shown(check.expected), _shown(check.found)
    if not check.said:
        yield f"{mark} {check.what:{name}}  {expected:>{width}}  {found:>{width}}  {check.off or check.note}".rstrip()
        return
    yield f"{mark} {check.what:{name}}  {expected}"
    if not check.ok:
        yield f"  {'found':>{name}}  {found}"


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?" if value is None else str(value)
