"""docs/reference/cli.md says what the commands are now."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))
    text: str = script["page"]()
    assert script["PAGE"].read_text() == text, "run: python scripts/cli_reference.py"
    for option in ("`--key TEXT`", "`--last, -n N`", "`--trimmed raise/skip`", "`--interval, -i S`", "`--yes, -y`"):
        assert option in text
