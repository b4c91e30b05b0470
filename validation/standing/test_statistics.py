"""The statistics themselves: one budget, and designs that keep what they promise."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ..statistics import BUDGET, SHARES, Design, Law

LAWS: tuple[tuple[Law, float], ...] = (("mean", 0.3), ("variance", 0.4), ("law", 0.2))


def test_shares_fit_the_budget() -> None:
    """All designs together cry wolf once in a million runs at most."""
    assert BUDGET == 1e-6
    assert all(share > 0 for share in SHARES.values())
    assert sum(SHARES.values()) <= 1


@pytest.mark.parametrize(("law", "catches"), LAWS)
def test_size_catches_what_it_names(law: Law, catches: float) -> None:
    """The sample that the law predicts passes; with the discrepancy planted, it does not. Quantiles, no draws."""
    design = Design(name="euler-law", law=law, catches=catches, why="planted")
    uniform = (np.arange(design.n) + 0.5) / design.n
    normal = norm.ppf(uniform)
    right = uniform if law == "law" else normal
    planted = {"mean": normal + catches, "variance": normal * sqrt(1 + catches), "law": uniform * (1 - catches)}
    assert design.judge(right).passed
    assert not design.judge(planted[law]).passed


@pytest.mark.parametrize(("law", "catches"), LAWS)
def test_size_follows_what_is_asked(law: Law, catches: float) -> None:
    """A lower miss rate, false-alarm rate or discrepancy asks for a larger sample."""
    design = Design(name="euler-law", law=law, catches=catches, why="planted")
    changes: tuple[dict[str, Any], ...] = ({"miss": 1e-4}, {"samples": 10}, {"catches": catches / 2})
    for change in changes:
        assert replace(design, **change).n > design.n


def test_sample_of_nan_is_refused() -> None:
    """NaN is inside no interval."""
    design = Design(name="euler-mean", law="mean", catches=0.3, why="none")
    assert not design.judge(np.full(design.n, np.nan)).passed


def test_unknown_or_small_designs_are_refused() -> None:
    """A design without a share, or a sample below n, is an error, not a pass."""
    with pytest.raises(ValueError, match="SHARES"):
        Design(name="unknown", law="mean", catches=0.1, why="none")
    with pytest.raises(ValueError, match="draws"):
        Design(name="euler-mean", law="mean", catches=0.1, why="none").judge(np.zeros(3))
