"""Options of the whole test tree, also as environment variables: `--tick` (HEADWATER_TICK) and `--budget` (HEADWATER_BUDGET)."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tick", type=float, default=float(os.environ.get("HEADWATER_TICK", "0.3")), help="seconds: the unit of properties about time")
    parser.addoption("--budget", type=float, default=float(os.environ.get("HEADWATER_BUDGET", "20")), help="seconds for what runs in a loop")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["HEADWATER_TICK"] = str(config.getoption("--tick"))
    os.environ["HEADWATER_BUDGET"] = str(config.getoption("--budget"))


@pytest.fixture(scope="session")
def tick(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--tick"))


@pytest.fixture(scope="session")
def budget(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--budget"))
