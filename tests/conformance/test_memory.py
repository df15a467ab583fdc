"""The conformance list on `memory:`."""

import itertools

import pytest

from headwater.testing.conformance import *  # noqa: F403 - the tests themselves
from headwater.testing.conformance import Target

_numbers = itertools.count()


@pytest.fixture(scope="session")
def target() -> Target:
    return Target(lambda: f"memory:conformance-{next(_numbers)}", processes=False, restart=None)
