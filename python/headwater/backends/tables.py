"""How a backend writes its `CAPABILITIES`: one line a pattern for what is native, a reason for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..capabilities import Feature, PatternSupport, Support

Reasons = Mapping[str, str | tuple[str, str]]


def pattern(
    native: str = "", emulated: Mapping[str, str] | None = None, refused: Reasons | None = None, whole: Support | None = None
) -> PatternSupport:
    """native: names of features, apart by blanks. emulated: name to how. refused: name to why, or (why, what instead). whole: about the
    pattern itself."""
    features = {Feature(name): Support.native() for name in native.split()}
    features.update({Feature(name): Support.emulated(how) for name, how in (emulated or {}).items()})
    for name, why in (refused or {}).items():
        features[Feature(name)] = Support.refused(why) if isinstance(why, str) else Support.refused(*why)
    return PatternSupport(whole or Support.native(), MappingProxyType(features))


def absent(how: str, instead: str = "") -> PatternSupport:
    """A pattern that the engine lacks."""
    return PatternSupport(Support.refused(how, instead))
