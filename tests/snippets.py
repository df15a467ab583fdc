"""Runs the code of one page of the documentation, as a reader who types it from top to bottom: `python snippets.py PAGE`.

All blocks of a page share one name space and one event loop; `await` may stand at the top, as in `python -m asyncio`. A block
```text right after a block of code is what that code prints. Of shell blocks, commands of headwater are run; the rest is compared
with what the project has (targets of make, extras of pip install), so that no page names what is not there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^```(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
#: What may stand between code and its output: nothing but space, or one short line that ends in a colon.
BETWEEN = re.compile(r"\s*([^\n]*:\s*)?")


@dataclass
class Block:
    language: str
    text: str
    line: int
    prints: str | None = None


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(page):
        language = match["language"]
        if language == "text" and found and found[-1].prints is None and BETWEEN.fullmatch(page[end : match.start()]):
            found[-1].prints = match["text"]
        elif language in ("python", "sh"):
            found.append(Block(language, match["text"], page.count("\n", 0, match.start()) + 2))
        end = match.end()
    return found


def run_python(block: Block, page: Path, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> str:
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = eval(code, names)
        if asyncio.iscoroutine(result):
            loop.run_until_complete(result)
    return printed.getvalue()


def run_shell(block: Block) -> str:
    printed = ""
    for command in commands(block.text):
        words = shlex.split(command, comments=True)
        match words[:2]:
            case []:
                continue
            case ["headwater", *_]:
                done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
                printed += done.stdout
            case ["make", target]:
                assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no such target: {command}"
            case ["pip", "install"]:
                project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
                extras = set(re.findall(r"[a-z]+", re.sub(r"^headwater", "", words[2])))
                assert extras <= set(project["optional-dependencies"]), f"no such extra: {command}"
            case ["git" | "cd" | "cargo" | "export", *_]:
                continue
            case _:
                # Anything that pipes into or out of headwater is run as it is.
                assert "headwater" in words, f"a command that nobody runs: {command}"
                done = subprocess.run(["bash", "-eo", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
                printed += done.stdout
    return printed


def commands(text: str) -> Iterator[str]:
    yield from text.replace("\\\n", " ").splitlines()


def main(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks(page.read_text()):
            try:
                printed = run_shell(block) if block.language == "sh" else run_python(block, page, names, runner.get_loop())
                if block.prints is not None:
                    assert printed.rstrip() == block.prints.rstrip(), f"prints\n{printed}\nand not\n{block.prints}"
            except BaseException as error:
                error.add_note(f"in the block at {page}:{block.line}")
                raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
