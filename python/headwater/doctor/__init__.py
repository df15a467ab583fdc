"""Looking at what is stored, and copying it: what `headwater doctor` and `headwater backup` do, as functions.

```python
from headwater import doctor

report = doctor.check("local:./data")           # while it is in use, or not; nothing is written
for finding in report.findings:
    print(finding.level, finding.what, finding.file, finding.offset, finding.advice)
doctor.backup("./data", "/backups/data-2026-11-24")
```
"""

from .copy import Backup, backup
from .look import Finding, Level, Process, Report, Versions, check, directory_of

__all__ = ["Backup", "Finding", "Level", "Process", "Report", "Versions", "backup", "check", "directory_of"]
