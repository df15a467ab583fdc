"""The report's plots, as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
from matplotlib import figure as figures

from .model import DELAYS, REPLAY, WHEREABOUTS
from .result import Result

__all__ = ["delays", "lag", "retries", "throughput"]

COLOURS = {"appended": "#1b3a57", WHEREABOUTS: "#1f8a9e", DELAYS: "#e08e2b", REPLAY: "#7a5ea8"}
AIRPORTS = {"EWR": "#1f8a9e", "JFK": "#e08e2b", "LGA": "#7a5ea8"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Seconds over which a rate is taken.
WINDOW = 0.5
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headwater",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a97a3",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e8ec",
    "axes.labelcolor": "#44525f",
    "xtick.color": "#44525f",
    "ytick.color": "#44525f",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def _svg(draw: Callable[[Any], None], height: float = 3.2) -> str:
    style: Any = matplotlib  # whose stubs are only half typed
    # Text stays text (svg.fonttype), measured with the font that matplotlib brings.
    with style.rc_context(STYLE):
        figure: Any = figures.Figure(figsize=(9.2, height), layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")), transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _events(axes: Any, result: Result) -> None:
    """A line where the worker is killed and the group that replays joins."""
    at = next((at for at, text in result.watch.events if "SIGKILL" in text), None)
    if at is not None:
        axes.axvline(at, color="#c0392b", linestyle="--", linewidth=1)
        top = axes.get_ylim()[1]
        for text, side, offset in (("a worker is killed", "right", -4), ("replay joins", "left", 4)):
            axes.annotate(text, (at, top), (offset, -2), textcoords="offset points", ha=side, va="top", fontsize=9, color="#44525f")


def _legend(axes: Any) -> None:
    """Above the plot, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, borderaxespad=0.2)


def _thousands(axes: Any) -> None:
    axes.yaxis.set_major_formatter(_number)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the first departure")


def _number(value: float, _: int) -> str:
    return f"{value:,.0f}"


def _percent(value: float, _: int) -> str:
    return f"{value:.0f} %"


def _series(result: Result) -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """What was counted, and its counts by time."""
    samples = result.watch.samples
    yield "appended", [(sample.at, sample.fed) for sample in samples]
    for name in (WHEREABOUTS, DELAYS, REPLAY):
        yield name, [(sample.at, sample.done[name]) for sample in samples if name in sample.done]


def _rates(counts: list[tuple[float, int]]) -> Iterator[tuple[float, float]]:
    """How much a count grew a second, over the last WINDOW seconds."""
    start = 0
    for at, count in counts:
        while at - counts[min(start + 1, len(counts) - 1)][0] >= WINDOW:
            start += 1
        then, before = counts[start]
        if at > then:
            yield at, (count - before) / (at - then)


def throughput(result: Result) -> str:
    """Records a second, of the feed and of each group."""

    def draw(figure: Any) -> None:
        axes: Any = figure.subplots()
        for name, counts in _series(result):
            rates = list(_rates(counts))
            label = name if name == "appended" else f"group {name}"
            axes.plot([at for at, _ in rates], [speed for _, speed in rates], color=COLOURS[name], label=label)
        _thousands(axes)
        axes.set_ylabel("records/s")
        _events(axes, result)
        _legend(axes)

    return _svg(draw)


def lag(result: Result) -> str:
    """Records that a group has not finished, and jobs that are open."""

    def draw(figure: Any) -> None:
        axes: Any = figure.subplots()
        for name in (WHEREABOUTS, DELAYS, REPLAY):
            some = [sample for sample in result.watch.samples if name in sample.lag]
            axes.plot([sample.at for sample in some], [sample.lag[name] for sample in some], color=COLOURS[name], label=f"group {name}")
        jobs = [sample.open for sample in result.watch.samples]
        axes.plot([sample.at for sample in result.watch.samples], jobs, color="#8a97a3", label="rebooking jobs")
        _thousands(axes)
        axes.set_ylabel("not finished")
        _events(axes, result)
        _legend(axes)

    return _svg(draw)


def delays(result: Result) -> str:
    """The share of departures over an hour late, by month and airport."""

    def draw(figure: Any) -> None:
        axes: Any = figure.subplots()
        for place, (airport, colour) in enumerate(AIRPORTS.items()):
            cells = [result.facts.cells.get(f"{airport} {month:02}") for month in range(1, 13)]
            shares = [100 * cell[1] / cell[0] if cell else 0.0 for cell in cells]
            axes.bar([month + (place - 1) * 0.27 for month in range(12)], shares, width=0.25, color=colour, label=airport)
        axes.set_xticks(range(12), MONTHS)
        axes.yaxis.set_major_formatter(_percent)
        axes.set_ylabel("over an hour late")
        _legend(axes)

    return _svg(draw)


def retries(result: Result) -> str:
    """What became of the jobs, and what waited for its next attempt meanwhile."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
        outcomes: dict[str, int] = {}
        for number in sorted(result.facts.booked.values()):
            name = f"booked at attempt {number}"
            outcomes[name] = outcomes.get(name, 0) + 1
        outcomes["dead letters"] = len(result.facts.dead)
        colours = ["#c0392b" if name.startswith("dead") else COLOURS[WHEREABOUTS] for name in outcomes]
        shown = left.barh(list(outcomes), list(outcomes.values()), color=colours, height=0.6)
        left.bar_label(shown, fmt="{:,.0f}", padding=4)
        left.invert_yaxis()
        left.grid(visible=False)
        left.set_xticks([])
        left.spines["bottom"].set_visible(False)
        left.margins(x=0.25)
        samples = result.watch.samples
        times = [sample.at for sample in samples]
        right.plot(times, [sample.waiting for sample in samples], color=COLOURS[DELAYS], label="waiting for the next attempt")
        right.plot(times, [sample.dead for sample in samples], color="#c0392b", label="dead letters")
        _thousands(right)
        _legend(right)

    return _svg(draw, 2.6)
