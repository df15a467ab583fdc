"""The conformance suite, as a third party runs it on a backend of its own: ten lines of a test module, here on `memory:`.

Run it: `python examples/own_backend_conformance.py`

The suite needs pytest and the extra `fast`. A real module has no `main`: `pytest` finds the tests by their names.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = """
import pytest
from headwater.testing.conformance import *  # the tests, by topic
from headwater.testing.conformance import Target

@pytest.fixture(scope="session")
def target():
    return Target("memory:my-engine", processes=False)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch) / "test_my_engine.py"
        module.write_text(MODULE)
        # A few of the properties; without -k it is the whole list.
        chosen = "test_01 or test_03 or test_09 or test_34 or test_61"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, str(module)], cwd=scratch, capture_output=True, text=True
        )
        print(done.stdout.strip().splitlines()[-1])
        assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    main()
