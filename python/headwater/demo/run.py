"""The whole of `headwater demo`: a directory, a run in it, the counts beside those of the CSV, the answer, the report."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

import headwater as hw
from headwater import Feature, sync

from . import data, independent
from .crew import Crew, DemoError
from .endings import Endings
from .facts import gather, whereabouts
from .model import OP_TIMEOUT, WHEREABOUTS, Names
from .play import PLANE, Play, Settings
from .reconcile import reconcile
from .result import Result
from .screen import Screen
from .words import Words

__all__ = ["run"]

#: What the demo cannot do without, by pattern.
NEEDS = {
    "stream": (Feature.PERSIST, Feature.REPLAY, Feature.REPLAY_FROM_TIME, Feature.SET_TIME, Feature.IDEMPOTENT_APPEND, Feature.READ_BY_KEY),
    "group": (Feature.AT_LEAST_ONCE, Feature.KEY_ORDER, Feature.LAG),
    "queue": (Feature.AT_LEAST_ONCE, Feature.UNIQUE, Feature.DEAD_LETTERS),
    "channel": (Feature.WILDCARDS, Feature.DROPPED_COUNT),
}


def run(url: str | None, settings: Settings, screen: Screen) -> Result:
    """Plays a year of flights through every pattern, and reconciles.

    Args:
        url: where; None: $HEADWATER_URL, else a temporary directory that is removed afterwards.

    Raises:
        UsageError: the engine cannot do what the demo does, its directory holds an earlier run, or the data are not installed.
        DemoError: a worker failed, or nothing moved any more.
    """
    begin = time.monotonic()
    files = data.files()
    with contextlib.ExitStack() as stack:
        endings = stack.enter_context(Endings())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-", ignore_cleanup_errors=True)))
        url = url or os.environ.get("HEADWATER_URL") or f"local:{scratch / 'data'}"
        conn = stack.enter_context(sync.connect(url, name="demo", op_timeout=OP_TIMEOUT))
        names = _names(conn)
        audit = stack.enter_context(_audit(scratch, files, settings, endings))
        screen.say(f"flights of 2013 from {files}, through {conn.url}, seed {settings.seed}")
        with Crew(scratch, endings) as crew:
            play = Play(names, crew, settings, files, url, screen.show)
            play.run()
            screen.show(play.watch)
        asked = whereabouts(names, PLANE, settings.at)
        facts = gather(names)
        checks = reconcile(facts, asked, play.watch, _audited(audit, scratch), settings.at)
        words = Words(files)
        question, answer = words.question(PLANE, settings.at), words.answer(asked.last[f"the group {WHEREABOUTS}"], asked.following, settings.at)
        return Result(
            settings, conn.url, play.watch, facts, checks, question, answer, play.fed_after, play.done_after, time.monotonic() - begin
        )  # fmt: skip


def _names(conn: sync.Connection) -> Names:
    """The demo's names, made. UsageError where the engine cannot do it, or they are there already."""
    engine = conn.capabilities.engine
    if "process" not in conn.capabilities.survives:
        raise hw.UsageError(f"the demo's workers are processes, and what is in {engine}: is seen by one process alone: use local:DIR")
    for pattern, needs in NEEDS.items():
        lacking = [need for need in needs if not getattr(conn.capabilities, pattern)[need]]
        if lacking:
            raise hw.UsageError(f"the demo needs {', '.join(lacking)} of every {pattern}, which {engine} has not: use local:DIR")
    earlier = sorted(each.name for each in conn.names() if each.name.startswith("demo."))
    if earlier:
        raise hw.UsageError(f"{conn.url} holds an earlier run of the demo ({earlier[0]} and others): give it an empty directory")
    names = Names(conn)
    names.declare()
    return names


@contextlib.contextmanager
def _audit(scratch: Path, files: Path, settings: Settings, endings: Endings) -> Generator[subprocess.Popen[bytes]]:
    """The independent computation, beside the run: a process that cannot even import headwater."""
    # -I: isolated; -S would take the time zones away, where they come as a package.
    command = [sys.executable, "-I", independent.__file__, str(files), "--plane", PLANE]
    command += ["--seed", str(settings.seed), "--at", settings.at.isoformat()]
    if settings.rows is not None:
        command += ["--rows", str(settings.rows)]
    process = None
    try:
        with endings.held(), (scratch / "audit.json").open("wb") as out, (scratch / "audit.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True)
        yield process
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _audited(process: subprocess.Popen[bytes], scratch: Path) -> dict[str, Any]:
    if process.wait():
        raise DemoError(f"the independent computation failed: {(scratch / 'audit.log').read_text()[-500:]}")
    found: dict[str, Any] = msgspec.json.decode((scratch / "audit.json").read_bytes())
    return found
