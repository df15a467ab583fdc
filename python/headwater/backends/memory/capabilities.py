"""What the embedded engine guarantees in memory."""

from dataclasses import replace

from ...capabilities import Feature, Support
from ..embedded import EMBEDDED

_GONE = Support.refused("memory is gone with the process", "local:PATH keeps it")

CAPABILITIES = replace(
    EMBEDDED.but({name: {Feature.PERSIST: _GONE} for name in ("queue", "stream", "group")}),
    engine="memory",
    acknowledged="memory",
    survives=frozenset(),
)
