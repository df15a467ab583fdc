"""nng: its capabilities; the backend itself is not built yet."""

from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES"]
