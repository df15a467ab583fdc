"""Throughput and latency of an engine between two real processes, on the public API alone. `headwater bench` is its command.

`rows` says what is measured, `run` measures it; one file for each pattern has both sides of its rows.
"""

from .report import Report, RowResult, RunResult
from .rows import ROWS, Row, chosen
from .run import Plan, measure

__all__ = ["ROWS", "Plan", "Report", "Row", "RowResult", "RunResult", "chosen", "measure"]
