"""The public API as typed user code: every call of the API page in `user/`, strict, under pyright and under mypy.

What a checker must refuse is there too, with a `type: ignore` that is itself an error where it is not needed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
USER = HERE / "user"
FILES = sorted(path.name for path in USER.glob("*.py"))


def check(*command: str) -> None:
    """Runs a checker as a user would, who has headwater installed in this environment."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=USER, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}{done.stderr}"


def test_pyright() -> None:
    assert len(FILES) > 5
    check("pyright", "--project", "pyrightconfig.json", "--pythonpath", sys.executable)


def test_mypy(tmp_path: Path) -> None:
    check(sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--python-executable", sys.executable, "--cache-dir", str(tmp_path), *FILES)


@pytest.mark.parametrize("wrong", ["assert_type(hw.Item(1), hw.Item[str])", "hw.connect(1)"])
def test_the_checkers_see_headwater(wrong: str, tmp_path: Path) -> None:
    """That the above can fail: an installed package without types would pass everything."""
    (tmp_path / "wrong.py").write_text(f"from typing import assert_type\nimport headwater as hw\n{wrong}\n")
    for command in (["pyright", "--pythonpath", sys.executable, "wrong.py"], [sys.executable, "-m", "mypy", "--strict", "wrong.py"]):
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 1, f"{command[0]} accepted {wrong}:\n{done.stdout}{done.stderr}"


def test_the_stub_matches_the_native_module(tmp_path: Path) -> None:
    """mypy.stubtest: `_engine.pyi` says what the compiled module holds."""
    allow = HERE / "stubtest-allowlist.txt"
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "headwater._engine", "--allowlist", str(allow), "--ignore-disjoint-bases"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
