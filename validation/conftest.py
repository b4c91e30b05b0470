"""Pytest fixtures of the checks and of the evidence tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def case() -> None:
    """Stand for the process under judgement: the plugin calls a check itself, once for each process."""


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Return the number given by --refdiff-seed."""
    return int(pytestconfig.getoption("refdiff_seed"))
