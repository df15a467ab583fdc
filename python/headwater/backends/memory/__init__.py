"""The embedded engine over anonymous memory of this process; `?as=ENGINE` refuses what that engine refuses."""

from .backend import Backend
from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES", "Backend"]
