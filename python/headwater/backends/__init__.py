"""One package an engine. Each exports `CAPABILITIES` and, where the engine is built, `Backend` (headwater.abc)."""
