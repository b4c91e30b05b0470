"""The statistics themselves: one budget, and designs that keep what they promise."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import exp, sqrt
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ..statistics import wagers
from ..statistics.design import BUDGET, SHARES, Design, Law, recorded
from ..statistics.experiments import EXPERIMENTS, by_design, statistical

LAWS: tuple[tuple[Law, float], ...] = (("mean", 0.3), ("variance", 0.4), ("law", 0.2))


def test_shares_fit_the_budget() -> None:
    """All designs together give a false alarm in one run of a million at most."""
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


def test_p_values_are_uniform_by_construction() -> None:
    """The p-value at the q-quantile of the exact law is the chance beyond it, and decides as the limits do."""
    for law, catches in LAWS:
        design = Design(name="euler-law", law=law, catches=catches, why="planted")
        uniform = (np.arange(design.n) + 0.5) / design.n
        shift = {"mean": norm.ppf(uniform) + catches, "variance": norm.ppf(uniform) * 3, "law": uniform * 0.5}[law]
        right = design.judge(uniform if law == "law" else norm.ppf(uniform))
        wrong = design.judge(shift)
        assert right.p > 0.5
        assert wrong.p < design.false_alarm
        assert (right.passed, wrong.passed) == (True, False)


def test_bias_widens_the_limit_and_asks_for_more() -> None:
    """A law known to within 0.05 is tested with limits 0.05 wider, and a sample that still catches 0.2."""
    exact = Design(name="euler-law", law="law", catches=0.2, why="planted")
    loose = replace(exact, bias=0.05)
    uniform = (np.arange(loose.n) + 0.5) / loose.n
    assert loose.n > exact.n
    assert loose.judge(uniform * 0.95).passed
    assert not loose.judge(uniform * 0.8).passed
    for wrong in ({"bias": 0.2}, {"bias": -0.1}, {"bias": 0.01, "law": "mean"}):
        with pytest.raises(ValueError, match="bias"):
            replace(exact, **wrong)


def test_one_design_has_one_use() -> None:
    """A design used twice, or put to more cases than its samples, would spend its share twice."""
    used = next(iter(EXPERIMENTS)).design if EXPERIMENTS else None
    if used is not None:
        with pytest.raises(ValueError, match="got two of"):
            by_design(used)
    with pytest.raises(ValueError, match="got 2"):
        statistical(Design(name="path-mean", law="law", catches=0.2, why="planted"), case=(1, 2))


def test_records_hold_what_was_judged() -> None:
    """Inside `recorded`, every judgement is kept with the name of its design; outside, none."""
    design = Design(name="euler-law", law="law", catches=0.2, why="planted")
    uniform = (np.arange(design.n) + 0.5) / design.n
    with recorded() as found:
        design.judge(uniform)
    design.judge(uniform)
    assert [name for name, _ in found] == ["euler-law"]


def test_capital_is_fair_by_enumeration() -> None:
    """Whatever two-valued law a call's share has, of mean the level, the mean capital after three calls is 1: exactly.

    So by Markov's inequality it exceeds 1/p with chance p at most, however the draws of a call depend on each other.
    """
    level = np.array([0.25])
    for low, high in ((0.0, 1.0), (0.25, 0.25), (0.0, 0.5), (0.2, 0.3)):
        chance = 1.0 if high == low else (0.25 - low) / (high - low)
        mean = 0.0
        for outcome in itertools.product((True, False), repeat=3):
            weight = float(np.prod([chance if is_high else 1.0 - chance for is_high in outcome]))
            shares = np.array([[high if is_high else low] for is_high in outcome])
            mean += weight * exp(wagers.log_capital(shares, level, 0.0))
        assert abs(mean - 1.0) < 1e-12


def test_capital_falls_where_the_bias_covers() -> None:
    """A mean that is off by less than the bias loses: the mean capital is below 1."""
    shares = np.full((50, 3), 0.51)
    assert wagers.log_capital(shares, np.full(3, 0.5), 0.02) < 0.0
    assert wagers.log_capital(shares, np.full(3, 0.5), 0.0) > 0.0


def test_capital_of_weights_is_a_fair_bet() -> None:
    """Of values above 0 with the mean that is bet against, however large one may be, the mean capital is 1: exactly."""
    for low, high in ((0.0, 1.0), (0.0, 100.0), (0.2, 5.0)):
        chance = (0.25 - low) / (high - low)
        mean = 0.0
        for outcome in itertools.product((True, False), repeat=3):
            weight = float(np.prod([chance if is_high else 1.0 - chance for is_high in outcome]))
            values = np.array([[high if is_high else low] for is_high in outcome])
            mean += weight * exp(wagers.log_capital_above(values, np.array([0.25]), 0.0))
        assert abs(mean - 1.0) < 1e-12


@pytest.mark.parametrize("size", [1.0, 1e30, 1e60, 1e300])
def test_capital_of_weights_of_any_size(size: float) -> None:
    """Logarithms are summed by products of eight, which must not overflow: 19 calls, against one logarithm each."""
    values = np.append(np.full(18, size), 0.0)[:, None]
    for n in (1, 8, 19):
        by_one = [np.log1p(f / 0.5 * (values[-n:] - 0.5)).sum() for f in wagers.FRACTIONS]
        expected = np.logaddexp.reduce(by_one) - np.log(len(by_one))
        assert wagers.log_capital_above(values[-n:], np.array([0.5]), 0.0) == pytest.approx(
            expected, rel=1e-14, abs=1e-14
        )


def test_weighted_values_pass_if_no_mean_is_too_large() -> None:
    """Weights 1/(2t) of times of density 2t pass, though their variance is infinite; weights of 1 are too large."""
    design = Design(name="times-small", law="shares", catches=0.2, places=1, why="planted")
    t = np.sqrt(1.0 - np.random.default_rng(0).random((design.n, 1)))
    late, early = t > 0.5, t <= 0.5
    means = np.array([0.5, 0.5, 1.0])
    for weights, passed in ((0.5 / t, True), (np.ones_like(t), False), (0.9 * np.ones_like(t) / (2.0 * t), True)):
        values = np.concatenate([weights * late, weights * early, weights], axis=1)
        assert design.judge_weighted(values, means).passed is passed
    with pytest.raises(ValueError, match="law 'shares'"):
        design.judge_weighted(values[:3], means)


SHARES_DESIGN = Design(name="times-law", law="shares", catches=0.05, bias=0.01, places=64, why="planted")


@pytest.mark.parametrize("places", [1, 64])
def test_shares_pass_whatever_the_dependence(places: int) -> None:
    """Independent draws, and one draw 64 times over, pass; u^1.25, which is 0.08 off, fails where draws are 64."""
    rng, levels = np.random.default_rng(0), wagers.even_levels()
    u = np.repeat(rng.random((SHARES_DESIGN.n, places)), 64 // places, axis=1)

    def shares(x: Any) -> Any:
        return (x[:, :, None] <= levels).mean(axis=1)

    right, wrong = (SHARES_DESIGN.judge_shares(shares(x), levels) for x in (u, u**1.25))
    assert right.passed
    assert wrong.passed is (places == 1)
    assert wrong.statistic > 0.03


def test_rare_events() -> None:
    """A rate at the allowed chance passes, one at `catches` fails; n keeps both rates."""
    design = Design(name="times-repeats", law="rare", catches=0.08, bias=0.01, why="planted")
    for share, passed in ((0.0, True), (0.01, True), (0.08, False), (1.0, False)):
        happened = np.arange(design.n) < round(share * design.n)
        assert design.judge_rare(happened).passed is passed
    assert replace(design, catches=0.2).n < design.n


def test_a_law_is_judged_by_its_own_method() -> None:
    """Draws, shares of calls, and events are told apart."""
    rare = Design(name="times-repeats", law="rare", catches=0.5, bias=0.01, why="planted")
    with pytest.raises(ValueError, match="for draws"):
        rare.judge(np.zeros(rare.n))
    with pytest.raises(ValueError, match="law 'shares'"):
        rare.judge_shares(np.zeros((rare.n, 1)), np.array([0.5]))
    with pytest.raises(ValueError, match="law 'rare'"):
        SHARES_DESIGN.judge_rare(np.zeros(10, dtype=bool))
