"""Looking at what is stored, and copying it: what `headwater doctor`, `headwater backup` and `headwater trace` do, as functions.

```python
from headwater import doctor

report = doctor.check("local:./data")           # while it is in use, or not; nothing is written
for finding in report.findings:
    print(finding.level, finding.what, finding.file, finding.offset, finding.advice)
doctor.backup("./data", "/backups/data-2026-11-24")
(life,) = doctor.trace("local:./data", "crawl", "0-42")
print(life.state, life.why)
```
"""

from .copy import Backup, backup
from .look import Finding, Level, Process, Report, Versions, check, directory_of
from .trace import Event, Stored, Trace, trace

__all__ = [
    "Backup",
    "Event",
    "Finding",
    "Level",
    "Process",
    "Report",
    "Stored",
    "Trace",
    "Versions",
    "backup",
    "check",
    "directory_of",
    "trace",
]
