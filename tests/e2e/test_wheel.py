"""The wheel, as a stranger gets it: installed into an empty environment, without Rust, away from the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 240) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(ROOT / "scripts" / "wheel.sh", out, cwd=ROOT, timeout=900)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.timeout(1200)
def test_what_is_inside(wheel: Path) -> None:
    assert re.fullmatch(r"headwater-[\d.]+-cp311-abi3-(manylinux_\d+_\d+|manylinux2014|macosx_\d+_\d+)_\w+\.whl", wheel.name), wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    packed = [name for name in names if name.startswith("headwater/")]
    for path in (ROOT / "python" / "headwater").rglob("*"):
        if path.suffix in (".py", ".pyi", ".typed", ".html", ".css", ".js"):
            assert path.relative_to(ROOT / "python").as_posix() in packed
    assert "headwater/_engine.abi3.so" in packed
    assert not [name for name in names if "__pycache__" in name or name.endswith((".rs", ".so.new"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.timeout(1200)
def test_it_runs_without_rust(wheel: Path, tmp_path: Path) -> None:
    """A fresh interpreter environment, a PATH with nothing but the system's own programs, and the whole demo on part of the year."""
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_")) or name.lower().endswith("_proxy")}
    bare = {**kept, "PATH": f"{tmp_path / 'env' / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"headwater[demo,fast] @ file://{wheel}", cwd=tmp_path, env=bare)

    where = run(python, "-c", "import headwater; print(headwater.__file__)", cwd=tmp_path, env=bare).strip()
    assert Path(where).is_relative_to(tmp_path / "env"), where
    assert shutil.which("cargo", path=f"{tmp_path / 'env' / 'bin'}") is None

    shown = run("headwater", "demo", "--plain", "--rows", "20000", "--report", tmp_path / "report", cwd=tmp_path, env=bare)
    assert "N14228" in shown
    assert any((tmp_path / "report").glob("*.html"))
    assert "demo" in run(python, "-m", "headwater", "--help", cwd=tmp_path, env=bare)
