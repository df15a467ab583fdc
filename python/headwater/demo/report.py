"""The report: index.html, which needs nothing but itself, and report.json with the same counts for programs."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

import headwater as hw

from . import plots
from .reconcile import Check
from .result import Result, as_json

__all__ = ["write"]

STYLE = """
:root { color-scheme: light; --ink: #1d2a35; --soft: #5b6b79; --line: #dde3e8; --good: #1d7a46; --bad: #b3261e; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); }
.verdict { border-left: 5px solid var(--good); padding: .6rem 1rem; background: #f1f8f4; margin: 1.2rem 0; }
.verdict.off { border-color: var(--bad); background: #fdf1f0; }
.answer { font-size: 1.05rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem; margin: 1.4rem 0; }
.figures div { border-top: 2px solid var(--line); padding-top: .4rem; }
.figures b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
table + table { margin-top: 1.4rem; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.n, th.n { text-align: right; white-space: nowrap; }
.ok { color: var(--good); } .no { color: var(--bad); font-weight: 600; }
"""


def write(result: Result, directory: Path) -> Path:
    """Writes both files into `directory`, which is made if it is not there; answers the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(as_json(result))) + b"\n")
    page = directory / "index.html"
    page.write_text(_page(result), encoding="utf-8")
    return page


def _page(result: Result) -> str:
    off = result.off
    verdict = (
        f"All {len(result.checks)} counts agree with an independent computation straight from the CSV."
        if not off
        else f"{len(off)} of {len(result.checks)} counts differ from the independent computation: {'; '.join(check.what for check in off)}."
    )
    plan = result.watch.plan
    flights = f"{plan.rows:,} flights that were to leave New York in 2013" if plan is not None else ""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>headwater: a year of flights</title><style>{STYLE}</style></head><body>",
        "<h1>A year of flights through headwater</h1>",
        f'<p class="soft">{flights}, through a stream, three groups, a queue and a channel on {html.escape(result.url)}; '
        f"seed {result.settings.seed}, headwater {hw.__version__}.</p>",
        f'<div class="verdict{" off" if off else ""}">{html.escape(verdict)}</div>',
        f'<p class="answer"><b>{html.escape(result.question)}</b><br>{html.escape(result.answer)}</p>',
        _figures(result),
        "<h2>Throughput</h2>",
        f'<div class="wide">{plots.throughput(result)}</div>',
        _table(
            ("", "n messages", "n seconds", "n a second"),
            ((what, count, f"{took:.1f}", f"{count / took:,.0f}") for what, count, took in result.throughput()),
        ),
        "<h2>Lag</h2>",
        f'<div class="wide">{plots.lag(result)}</div>',
        "<h2>Delays</h2>",
        f'<div class="wide">{plots.delays(result)}</div>',
        "<h2>Rebookings, retries and dead letters</h2>",
        f'<div class="wide">{plots.retries(result)}</div>',
        "<h2>Every count, beside the CSV</h2>",
        _table(
            ("", "n by the CSV", "n in the engine", "", ""),
            ((check.what, check.expected, check.found, _mark(check), check.off or check.note) for check in result.checks if not check.said),
        ),
        _table(
            ("", "by the CSV", "in the engine", ""),
            ((check.what, check.expected, "the same" if check.ok else check.found, _mark(check)) for check in result.checks if check.said),
        ),
        _left_out(result),
        "<h2>Who worked</h2>",
        f"<p>{html.escape(result.kill())}</p>",
        _table(
            ("process", "role", "n pid", "n handled", "n delivered before", "in the end"),
            (
                (worker.name, worker.spec.role, str(worker.process.pid), worker.handled, worker.again, worker.state)
                for worker in result.watch.crew.workers.values()
            ),
        ),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _figures(result: Result) -> str:
    facts = result.facts
    shown = (
        (f"{facts.departures:,}", "departures"),
        (f"{len(facts.histories['whereabouts'].planes):,}", "planes"),
        (f"{len(facts.heard):,}", "alerts and jobs"),
        (f"{len(facts.dead):,}", "dead letters"),
        (f"{result.redelivered():,}", "delivered again"),
        (f"{result.done:.1f} s", "until all was done"),
    )
    return '<div class="figures">' + "".join(f"<div><b>{figure}</b>{name}</div>" for figure, name in shown) + "</div>"


def _left_out(result: Result) -> str:
    plan = result.watch.plan
    if plan is None:
        return ""
    unarrived = result.facts.without_arrival
    return (
        f"<p>Left out: {plan.cancelled:,} cancelled flights, which have no departure ({plan.cancelled_without_plane:,} of them have no tail "
        f"number either). They and the {plan.departures:,} departures make the {plan.rows:,} flights of the CSV. {unarrived:,} departures have "
        "no arrival time: they are kept, and where such a plane landed is not known.</p>"
    )


def _mark(check: Check) -> str:
    return "✓" if check.ok else "✗"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    numeric = [name.startswith("n ") for name in head]
    cells = "".join(f"<th{' class=n' * number}>{html.escape(name.removeprefix('n '))}</th>" for name, number in zip(head, numeric, strict=True))
    lines = [f"<table><tr>{cells}</tr>"]
    for row in rows:
        line = "".join(_cell(value, number) for value, number in zip(row, numeric, strict=True))
        lines.append(f"<tr>{line}</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(value: Any, number: bool) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    kind = "n" if number else "ok" if text == "✓" else "no" if text == "✗" else ""
    return f"<td class={kind}>{html.escape(text)}</td>" if kind else f"<td>{html.escape(text)}</td>"
