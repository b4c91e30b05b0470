"""Versions of the contract: what a claim of an older one is told."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pytest

ADVICE = (
    "the claim is of contract version 1: set contract=2 in it, list in `steps` the steps that the library serves, "
    "and let `step` take (x_t, value, t, s, noise, rule), where rule is a Step and value the prediction that it names"
)


def advice(target: Mapping[str, Any]) -> str:
    """Return what to change in a claim of version 1; empty if nothing in it has changed since.

    target: as `report.described` gives it.
    """
    is_older = bool(target["dtype"]) and target.get("contract") == 1
    return ADVICE if is_older and "step" in target["capabilities"] else ""


def warn(config: pytest.Config, message: str) -> None:
    """Show a UserWarning in pytest's summary. A filter of the session's does not make an error of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(f"refdiff: {message}", UserWarning, stacklevel=2)
    found = {"warning_message": caught[0], "nodeid": "", "when": "runtest", "location": None}
    config.hook.pytest_warning_recorded.call_historic(kwargs=found)
