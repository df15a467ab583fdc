"""Every snippet of the README and of docs/, and every file of examples/, runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snippets import ROOT, blocks

PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if blocks(path.read_text())]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(script: Path, *arguments: str, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(script), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_snippets(page: Path, tmp_path: Path) -> None:
    run(Path(__file__).parent / "snippets.py", str(page), cwd=tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_example(example: Path, tmp_path: Path) -> None:
    run(example, cwd=tmp_path)


def test_there_are_snippets_and_examples() -> None:
    assert ROOT / "README.md" in PAGES
    assert EXAMPLES


def test_no_code_hides_behind_another_name() -> None:
    """Fences are python and sh (run), text (compared), or data formats; nothing else would be run."""
    known = {"python", "sh", "text", "json", "toml", "yaml", "rust", "c", "html", ""}
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        opening = True
        for line in page.read_text().splitlines():
            if fence := re.match(r"```([\w-]*)", line):
                assert not opening or fence[1] in known, f"{name(page)}: ```{fence[1]}"
                opening = not opening


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\nraise SystemExit(3)\n```\n",
        "```python\nimport asyncio\nawait asyncio.sleep(0)\nassert False\n```\n",
        '```python\nprint("a")\n```\n\n```text\nb\n```\n',
        "```sh\nmake coffee\n```\n",
        "```sh\nheadwater no-such-command\n```\n",
    ],
)
def test_a_wrong_page_fails(wrong: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(wrong)
    with pytest.raises(AssertionError):
        run(Path(__file__).parent / "snippets.py", str(page), cwd=tmp_path)
