"""The embedded engine over anonymous memory of this process; `?as=ENGINE` refuses what that engine refuses."""

from .backend import CAPABILITIES, Backend

__all__ = ["CAPABILITIES", "Backend"]
