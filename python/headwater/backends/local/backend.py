"""A connection to the embedded engine in a directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from ..._engine import Engine
from ...abc import Settings
from ...capabilities import Acknowledged, Capabilities, Survives
from ...embedded.backend import Embedded
from ...errors import ConnectError
from ...url import DEFAULT_URL
from .capabilities import CAPABILITIES
from .config import QUERY_KEYS, LocalConfig

#: What an acknowledgement means, and what it survives, in each mode.
_PROMISES: Mapping[str, tuple[Acknowledged, frozenset[Survives]]] = {
    "never": ("page-cache", frozenset({"process"})),
    "interval": ("page-cache", frozenset({"process"})),
    "always": ("fsync", frozenset({"process", "power"})),
}


class Backend(Embedded):
    """local:PATH"""

    query_keys: ClassVar[frozenset[str]] = QUERY_KEYS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._config = LocalConfig.of(settings.url, settings.options)
        self.capabilities = CAPABILITIES

    def open(self) -> Engine:
        config, settings = self._config, self.settings
        try:
            return Engine.open(
                config.path,
                create=config.create,
                durability=config.durability,
                interval=config.interval,
                connect_timeout=settings.connect_timeout,
                op_timeout=settings.op_timeout,
                max_message_bytes=settings.max_message_bytes,
                name=settings.name,
                allow_network_fs=config.allow_network_fs,
            )
        except ConnectError as error:
            if config.create or os.path.lexists(os.path.join(config.path, "headwater.json")):
                raise
            raise ConnectError(
                f"{os.path.abspath(config.path)} is no directory of headwater's, and none is made only to look: "
                f"check the URL {settings.url} (default: $HEADWATER_URL, else {DEFAULT_URL}), or write something there first"
            ) from error

    def probed(self, engine: Engine) -> Capabilities:
        acknowledged, survives = _PROMISES[engine.durability]
        return replace(self.capabilities, acknowledged=acknowledged, survives=survives)
