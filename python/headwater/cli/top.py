"""`headwater top`: depths and rates, live."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from .. import UsageError, sync
from .look import Row, Table, look, print_tables, rate, tables
from .options import Json, Url
from .output import objects, shown
from .session import reading, shown_name


def top(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="As of stats. Default: all.")] = None,
    interval: Annotated[float, typer.Option("--interval", "-i", metavar="S", help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Two looks, one table, and out.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show depths and rates, again and again until Ctrl-C; where stdout is no terminal, once and as plain columns.

    A rate is what was counted between two looks. With --json the fields of stats, and put_rate and acked_rate a second.
    """
    if not 0.05 <= interval <= 3600:
        raise UsageError(f"--interval {interval}: it is seconds, from 0.05 to 3600")
    with reading(url) as conn:
        before = look(conn, name)
        if json or once or not sys.stdout.isatty():
            time.sleep(interval)
            now = look(conn, name)
            if json:
                objects(_rated(now, before))
            else:
                print_tables(tables(now, before))
        else:
            _live(conn, name, interval, before)


def _rated(now: list[Row], before: list[Row]) -> list[dict[str, Any]]:
    old = {(row.info.kind, shown_name(row.info)): row for row in before}
    found: list[dict[str, Any]] = []
    for row in now:
        earlier = old.get((row.info.kind, shown_name(row.info)))
        took = 0.0 if earlier is None else row.seen - earlier.seen
        rates = {
            f"{what}_rate": rate(getattr(row.stats, f"{what}_total"), earlier and getattr(earlier.stats, f"{what}_total"), took)
            for what in ("appended", "put", "acked")
            if hasattr(row.stats, f"{what}_total")
        }
        found.append({**row.fields(), **rates})
    return found


def _live(conn: sync.Connection, name: str | None, interval: float, before: list[Row]) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(Text(f"looking at {conn.url} …"), screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            time.sleep(interval)
            now = look(conn, name) if name is None or _there(conn, name) else []
            head = Text(f"{conn.url}  {time.strftime('%H:%M:%S')}  every {interval:g} s, Ctrl-C ends\n", style="dim")
            live.update(Group(head, *(_drawn(each) for each in tables(now, before))))
            before = now


def _there(conn: sync.Connection, name: str) -> bool:
    return any(name in (shown_name(each), each.parent) for each in conn.names())


def _drawn(table: Table) -> Any:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    header, rows = table
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for at, title in enumerate(header):
        grid.add_column(title, justify="left" if at == 0 or title == "PAUSED" else "right", no_wrap=True)
    for row in rows:
        # What is dead or paused wants somebody's eye. Texts, since a name may look like markup.
        grid.add_row(
            *(Text(shown(cell), style="red" if cell and title in ("DEAD", "PAUSED") else "") for title, cell in zip(header, row, strict=True))
        )
    return grid
