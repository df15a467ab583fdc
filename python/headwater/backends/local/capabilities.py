"""What the embedded engine guarantees in a directory."""

from dataclasses import replace

from ..embedded import EMBEDDED

CAPABILITIES = replace(EMBEDDED, engine="local", acknowledged="page-cache", survives=frozenset({"process"}))
