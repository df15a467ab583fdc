"""The live dashboard of a terminal: rates, depths, lag, retries, alerts, and who works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .data import NEW_YORK
from .model import DELAYS
from .watch import GROUPS, Sample, Watch

__all__ = ["Dashboard"]

#: Seconds over which a rate is taken.
WINDOW = 1.0
BARS = "▁▂▃▄▅▆▇█"
#: Looks that a line of bars shows.
SHOWN = 40


class Dashboard:
    """A `Screen` that is drawn again at every look."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._live.console.print(text, highlight=False, markup=False)

    def show(self, watch: Watch) -> None:
        self._live.update(picture(watch), refresh=True)


def picture(watch: Watch) -> RenderableType:
    """All of it."""
    now = watch.samples[-1]
    halves = (_jobs(watch, now), _workers(watch)), (_alerts(watch, now), _events(watch))
    return Group(_title(watch, now), _flow(watch, now), *(_side_by_side(left, right) for left, right in halves))


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _title(watch: Watch, now: Sample) -> RenderableType:
    total = watch.plan.departures if watch.plan is not None else 0
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column()
    grid.add_column(ratio=1)
    grid.add_column(justify="right")
    day = f"{watch.clock.astimezone(NEW_YORK):%a %d %b %Y}" if watch.clock is not None else "the year is being read"
    grid.add_row(Text(f"New York, {day}", style="bold"), ProgressBar(total or 1, now.fed), f"{now.fed:,} of {total:,} departures  {now.at:5.1f} s")
    return grid


def _flow(watch: Watch, now: Sample) -> RenderableType:
    table = Table(expand=True, title="one stream, keyed by tail number, and its groups", title_justify="left", title_style="bold")
    for name, justify in (("", "left"), ("ordering", "left"), ("done", "right"), ("records/s", "right"), ("lag", "right"), ("lag so far", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_row("appended", "by time", f"{now.fed:,}", f"{rate(watch, lambda sample: sample.fed):,.0f}", "", "")
    for name in GROUPS:
        if name not in now.done:
            table.add_row(f"group {name}", "by key", Text("joins at the half", style="dim"), "", "", "")
            continue
        speed = rate(watch, lambda sample, name=name: sample.done.get(name, 0))
        lags = [sample.lag.get(name, 0) for sample in watch.samples[-SHOWN:]]
        order = "none" if name == DELAYS else "by key"
        table.add_row(f"group {name}", order, f"{now.done[name]:,}", f"{speed:,.0f}", f"{now.lag[name]:,}", bars(lags))
    return table


def _jobs(watch: Watch, now: Sample) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("jobs put, for flights over an hour late", now.put),
        ("ready", now.ready),
        ("in hand", now.leased),
        ("waiting for their next attempt", now.waiting),
        ("booked", now.booked),
        ("attempts that failed", now.failed),
        ("dead letters", now.dead),
    ):
        table.add_row(name, f"{value:,}")
    return Panel(table, title=f"queue of rebookings, {rate(watch, lambda sample: sample.booked):,.0f}/s", title_align="left", height=11)


def _workers(watch: Watch) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    for worker in watch.crew.workers.values():
        style = "red" if worker.killed else "green" if worker.state == "works" else "dim"
        again = f"{worker.again:,} again" if worker.again else ""
        handled = f"{worker.handled:,}" if worker.handled else ""
        table.add_row(worker.name, str(worker.process.pid), Text(worker.state, style=style), handled, again)
    return Panel(table, title="processes: handled, and delivered a second time", title_align="left", height=11)


def _alerts(watch: Watch, now: Sample) -> RenderableType:
    lines = [
        f"{each.departed.astimezone(NEW_YORK):%d %b %H:%M}  {each.id[11:]:<11} {each.tail:<7} to {each.dest}  {each.delay:>5} min late"
        for each in list(watch.latest)[-6:]
    ]
    return Panel("\n".join(lines), title=f"channel of alerts: {now.heard:,} heard, {now.dropped:,} dropped", title_align="left", height=8)


def _events(watch: Watch) -> RenderableType:
    return Panel("\n".join(f"{at:5.1f} s  {text}" for at, text in watch.events[-6:]), title="events", title_align="left", height=8)


def rate(watch: Watch, count: Callable[[Sample], int]) -> float:
    """How much `count` grew a second, lately."""
    now = watch.samples[-1]
    then = next((sample for sample in reversed(watch.samples) if now.at - sample.at >= WINDOW), watch.samples[0])
    return (count(now) - count(then)) / (now.at - then.at) if now.at > then.at else 0.0


def bars(values: list[int]) -> str:
    """A line of bars, the greatest of them full."""
    top = max(values, default=0)
    return "".join(BARS[0 if not top else min(len(BARS) - 1, value * len(BARS) // (top + 1))] for value in values)
