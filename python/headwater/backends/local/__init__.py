"""The embedded engine in a directory that any number of processes of one machine share."""

from .backend import Backend
from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES", "Backend"]
