"""`headwater doctor`: what is wrong with a directory, if anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Url
from .output import columns, line, objects

if TYPE_CHECKING:
    from ..doctor import Finding, Report


def doctor(
    url: Url = None,
    guarantees: Annotated[bool, typer.Option("--capabilities", help="Print also what the engine guarantees, feature by feature.")] = False,
    json: Json = False,
) -> int:
    """Look at every file of a directory: damage, leftovers, locks, processes, room, versions.

    It may be in use; nothing is changed. Exits with 1 when something is damaged or in danger. With --json one object: the report.
    """
    from ..doctor import check

    report = check(url)
    if json:
        objects([report])
    else:
        _print(report)
        if guarantees:
            line("")
            columns(_table(report), ("PATTERN", "FEATURE", "LEVEL", "HOW"))
    return 1 if report.worst == "error" else 0


def _print(report: Report) -> None:
    for finding in report.findings:
        line(f"{finding.level:8}{finding.what}{_where(finding)}")
        if finding.advice is not None:
            line(f"        -> {finding.advice}")
    mib = report.bytes / 2**20
    line(f"{report.objects:,} objects, {report.files:,} files, {mib:,.1f} MiB, {report.records:,} records in {report.seconds:,.2f} s")
    versions = report.versions
    line(f"headwater {versions.headwater}, engine {versions.engine}, Python {versions.python}, {versions.system}")


def _where(finding: Finding) -> str:
    if finding.file is None:
        return ""
    return f": {finding.file}" if finding.offset is None else f": {finding.file}, byte {finding.offset}"


def _table(report: Report) -> list[tuple[str, str, str, str]]:
    return [
        (pattern, feature, str(support.level), support.how)
        for pattern, features in report.capabilities.items()
        for feature, support in features.items()
    ]
