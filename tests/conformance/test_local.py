"""The conformance list on `local:`."""

from pathlib import Path

import pytest

from headwater.testing.conformance import *  # noqa: F403 - the tests themselves
from headwater.testing.conformance import Target


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return Target(
        lambda: f"local:{tmp_path_factory.mktemp('dir')}",
        directory=lambda url: Path(url.removeprefix("local:")),
        death=lambda lease: min(2.0, lease) + 0.5,
    )
