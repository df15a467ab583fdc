"""What is wrong with a directory, if anything."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from .. import _engine
from ..capabilities import PATTERNS, Capabilities, Feature, Support
from ..errors import UsageError
from ..url import Url

__all__ = ["Finding", "Level", "Process", "Report", "Versions", "check", "directory_of"]

#: "ok": looked at, and as it should be. "note": worth knowing. "warning": may do harm, or has, and costs no data now. "error": data is
#: damaged or in danger.
Level: TypeAlias = Literal["ok", "note", "warning", "error"]

_LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. file, offset: where, None for what is no place. advice: what to do, None for nothing."""

    level: Level
    what: str
    file: str | None
    offset: int | None
    advice: str | None


@dataclass(frozen=True, slots=True)
class Process:
    """One process that has the directory open, or had it when it died.

    state: "live", "stopped", "detached" (something closed the engine's files in it) or "dead". leases: deliveries in hand. janitor: does
    the directory's common duties.
    """

    pid: int
    name: str
    state: str
    leases: int
    janitor: bool


@dataclass(frozen=True, slots=True)
class Versions:
    """Which versions looked."""

    headwater: str
    engine: str
    python: str
    system: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found. objects, files, bytes, records: so much was looked at, in so many seconds.

    capabilities: by pattern, then by feature, what the engine guarantees; the same as `conn.capabilities` before anything is probed.
    """

    url: str
    findings: tuple[Finding, ...]
    processes: tuple[Process, ...]
    objects: int
    files: int
    bytes: int
    records: int
    seconds: float
    versions: Versions
    capabilities: Mapping[str, Mapping[str, Support]]

    @property
    def worst(self) -> Level:
        """The greatest level of the findings."""
        told = {each.level for each in self.findings}
        worst: Level = "ok"
        for level in _LEVELS:
            worst = level if level in told else worst
        return worst


def check(url: str | None = None) -> Report:
    """Looks at the directory of a `local:` URL: every file, every message's checksum, who has it open. It is only read, and may be in
    use meanwhile; nothing is made, repaired or locked for others.

    Args:
        url: default $HEADWATER_URL, else `local:./.headwater`.

    Raises:
        UsageError: for a URL that names no directory.
        ConnectError: where there is no directory, or it cannot be read.
    """
    path = directory_of(url)
    found = _engine.doctor(path)
    return Report(
        url=str(Url.parse(url)),
        findings=tuple(_finding(each) for each in found["findings"]),
        processes=tuple(Process(**each) for each in found["processes"]),
        objects=found["objects"],
        files=found["files"],
        bytes=found["bytes"],
        records=found["records"],
        seconds=found["seconds"],
        versions=_versions(),
        capabilities=_guarantees("local"),
    )


def directory_of(url: str | None = None) -> str:
    """The directory that a `local:` URL names (default: $HEADWATER_URL, else `local:./.headwater`). UsageError for any other."""
    parsed = Url.parse(url)
    if parsed.scheme != "local":
        raise UsageError(f"{parsed} names no directory: this is for local:PATH")
    return parsed.path


def _finding(found: Mapping[str, Any]) -> Finding:
    level = cast("Level", found["level"])
    return Finding(level, found["what"], found["file"], found["offset"], found["advice"] or None)


def _versions() -> Versions:
    from .. import __version__

    return Versions(__version__, _engine.__version__, sys.version.split()[0], f"{platform.system()} {platform.release()} {platform.machine()}")


def _guarantees(engine: str) -> Mapping[str, Mapping[str, Support]]:
    table: Capabilities = importlib.import_module(f"headwater.backends.{engine}").CAPABILITIES
    return {name: {str(feature): table.pattern(name)[feature] for feature in Feature} for name in PATTERNS}
