"""The statistical tests have the error rates that their designs state, and share one false-alarm budget."""

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


def test_allocations_sum_to_at_most_the_budget() -> None:
    """All designs together give a false alarm in at most one run in a million."""
    assert BUDGET == 1e-6
    assert all(share > 0 for share in SHARES.values())
    assert sum(SHARES.values()) <= 1


@pytest.mark.parametrize(("law", "catches"), LAWS)
def test_sample_size_detects_the_discrepancy(law: Law, catches: float) -> None:
    """Quantiles of the right distribution pass; with the discrepancy `catches` they fail. Nothing is drawn."""
    design = Design(name="euler-law", law=law, catches=catches, why="planted")
    uniform = (np.arange(design.n) + 0.5) / design.n
    normal = norm.ppf(uniform)
    right = uniform if law == "law" else normal
    planted = {"mean": normal + catches, "variance": normal * sqrt(1 + catches), "law": uniform * (1 - catches)}
    assert design.judge(right).passed
    assert not design.judge(planted[law]).passed


@pytest.mark.parametrize(("law", "catches"), LAWS)
def test_sample_size_grows_with_the_requirements(law: Law, catches: float) -> None:
    """A smaller miss rate, false-alarm rate or discrepancy needs a larger sample."""
    design = Design(name="euler-law", law=law, catches=catches, why="planted")
    changes: tuple[dict[str, Any], ...] = ({"miss": 1e-4}, {"samples": 10}, {"catches": catches / 2})
    for change in changes:
        assert replace(design, **change).n > design.n


def test_sample_of_nan_fails() -> None:
    """A statistic of NaN is in no acceptance interval."""
    design = Design(name="euler-mean", law="mean", catches=0.3, why="none")
    assert not design.judge(np.full(design.n, np.nan)).passed


def test_unknown_designs_and_small_samples_raise() -> None:
    """A design without an allocation in SHARES, and a sample of fewer than n draws, raise an error."""
    with pytest.raises(ValueError, match="SHARES"):
        Design(name="unknown", law="mean", catches=0.1, why="none")
    with pytest.raises(ValueError, match="draws"):
        Design(name="euler-mean", law="mean", catches=0.1, why="none").judge(np.zeros(3))


def test_p_values_agree_with_the_acceptance_interval() -> None:
    """A right sample has a large p-value and passes; a wrong one has p < false_alarm and fails."""
    for law, catches in LAWS:
        design = Design(name="euler-law", law=law, catches=catches, why="planted")
        uniform = (np.arange(design.n) + 0.5) / design.n
        planted = {"mean": norm.ppf(uniform) + catches, "variance": norm.ppf(uniform) * 3, "law": uniform * 0.5}[law]
        right = design.judge(uniform if law == "law" else norm.ppf(uniform))
        wrong = design.judge(planted)
        assert right.p > 0.5
        assert wrong.p < design.false_alarm
        assert (right.passed, wrong.passed) == (True, False)


def test_bias_widens_the_interval_and_the_sample() -> None:
    """A distribution known to within 0.05 has an interval wider by 0.05, and a larger n, so that 0.2 is still found."""
    exact = Design(name="euler-law", law="law", catches=0.2, why="planted")
    loose = replace(exact, bias=0.05)
    uniform = (np.arange(loose.n) + 0.5) / loose.n
    assert loose.n > exact.n
    assert loose.judge(uniform * 0.95).passed
    assert not loose.judge(uniform * 0.8).passed
    for wrong in ({"bias": 0.2}, {"bias": -0.1}, {"bias": 0.01, "law": "mean"}):
        with pytest.raises(ValueError, match="bias"):
            replace(exact, **wrong)


def test_a_design_is_used_once() -> None:
    """A second use, or more cases than `samples`, raises: it would exceed the allocation of the design."""
    used = next(iter(EXPERIMENTS)).design if EXPERIMENTS else None
    if used is not None:
        with pytest.raises(ValueError, match="got two of"):
            by_design(used)
    with pytest.raises(ValueError, match="got 2"):
        statistical(Design(name="path-mean", law="law", catches=0.2, why="planted"), case=(1, 2))


def test_recorded_collects_the_outcomes_inside() -> None:
    """`recorded` collects each outcome inside the context with the name of its design, and none outside."""
    design = Design(name="euler-law", law="law", catches=0.2, why="planted")
    uniform = (np.arange(design.n) + 0.5) / design.n
    with recorded() as found:
        design.judge(uniform)
    design.judge(uniform)
    assert [name for name, _ in found] == ["euler-law"]


def test_mean_capital_is_one_for_fractions() -> None:
    """For any two-valued fraction whose mean is the level, the mean capital after three calls is 1, by enumeration.

    So, by Markov's inequality, it exceeds 1/p with a probability of at most p, for any dependence within a call.
    """
    level = np.array([0.25])
    for low, high in ((0.0, 1.0), (0.25, 0.25), (0.0, 0.5), (0.2, 0.3)):
        chance = 1.0 if high == low else (0.25 - low) / (high - low)
        mean = 0.0
        for outcome in itertools.product((True, False), repeat=3):
            weight = float(np.prod([chance if is_high else 1.0 - chance for is_high in outcome]))
            fractions = np.array([[high if is_high else low] for is_high in outcome])
            mean += weight * exp(wagers.log_capital(fractions, level, 0.0))
        assert abs(mean - 1.0) < 1e-12


def test_capital_decreases_for_a_deviation_within_the_bias() -> None:
    """If the mean differs from its level by less than the bias, the capital is below 1; without the bias, above 1."""
    fractions = np.full((50, 3), 0.51)
    assert wagers.log_capital(fractions, np.full(3, 0.5), 0.02) < 0.0
    assert wagers.log_capital(fractions, np.full(3, 0.5), 0.0) > 0.0


def test_mean_capital_is_one_for_weights() -> None:
    """For any two-valued weight with the tested mean, however large, the mean capital is 1, by enumeration."""
    for low, high in ((0.0, 1.0), (0.0, 100.0), (0.2, 5.0)):
        chance = (0.25 - low) / (high - low)
        mean = 0.0
        for outcome in itertools.product((True, False), repeat=3):
            weight = float(np.prod([chance if is_high else 1.0 - chance for is_high in outcome]))
            values = np.array([[high if is_high else low] for is_high in outcome])
            mean += weight * exp(wagers.log_capital_above(values, np.array([0.25]), 0.0))
        assert abs(mean - 1.0) < 1e-12


@pytest.mark.parametrize("size", [1.0, 1e30, 1e60, 1e300])
def test_capital_does_not_overflow(size: float) -> None:
    """The logarithm of the capital, by products of eight factors, agrees with a sum of single logarithms."""
    values = np.append(np.full(18, size), 0.0)[:, None]
    for n in (1, 8, 19):
        by_one = [np.log1p(f / 0.5 * (values[-n:] - 0.5)).sum() for f in wagers.FRACTIONS]
        expected = np.logaddexp.reduce(by_one) - np.log(len(by_one))
        assert wagers.log_capital_above(values[-n:], np.array([0.5]), 0.0) == pytest.approx(
            expected, rel=1e-14, abs=1e-14
        )


def test_weighted_values_fail_if_a_mean_is_too_large() -> None:
    """For times of density 2t, weights 1/(2t) pass, although their variance is infinite, and weights of 1 fail."""
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
def test_dependence_within_a_call_gives_no_false_alarm(places: int) -> None:
    """64 independent draws, and one draw repeated 64 times, pass; u^1.25, at a distance of 0.08, fails for 64 draws."""
    rng, levels = np.random.default_rng(0), wagers.even_levels()
    u = np.repeat(rng.random((SHARES_DESIGN.n, places)), 64 // places, axis=1)

    def fractions(x: Any) -> Any:
        return (x[:, :, None] <= levels).mean(axis=1)

    right = SHARES_DESIGN.judge_shares(fractions(u), levels)
    wrong = SHARES_DESIGN.judge_shares(fractions(u**1.25), levels)
    assert right.passed
    assert wrong.passed is (places == 1)
    assert wrong.statistic > 0.03


def test_rare_events_fail_at_the_rate_to_detect() -> None:
    """Events at the allowed rate, `bias`, pass; events at the rate `catches` fail."""
    design = Design(name="times-repeats", law="rare", catches=0.08, bias=0.01, why="planted")
    for rate, passed in ((0.0, True), (0.01, True), (0.08, False), (1.0, False)):
        happened = np.arange(design.n) < round(rate * design.n)
        assert design.judge_rare(happened).passed is passed
    assert replace(design, catches=0.2).n < design.n


def test_each_kind_of_design_has_its_own_method() -> None:
    """`judge`, `judge_shares` and `judge_rare` raise for a design of another kind."""
    rare = Design(name="times-repeats", law="rare", catches=0.5, bias=0.01, why="planted")
    with pytest.raises(ValueError, match="for draws"):
        rare.judge(np.zeros(rare.n))
    with pytest.raises(ValueError, match="law 'shares'"):
        rare.judge_shares(np.zeros((rare.n, 1)), np.array([0.5]))
    with pytest.raises(ValueError, match="law 'rare'"):
        SHARES_DESIGN.judge_rare(np.zeros(10, dtype=bool))


@pytest.mark.parametrize("first", [-0.4, 0.0, 0.4])
@pytest.mark.parametrize("law", ["mean", "variance"])
def test_limit_of_many_steps_is_judged(law: Law, first: float) -> None:
    """Quantiles whose moment is off by first/4 and first/16 pass, with a first error of either sign; nothing is drawn.

    With a limit that is off by twice `catches` they fail.
    """
    design = Design(name="euler-mean", law=law, catches=0.06, why="planted")
    normal = norm.ppf((np.arange(design.n) + 0.5) / design.n)

    def moved(by: float) -> Any:
        return normal + by if law == "mean" else normal * sqrt(1.0 + by)

    right = design.judge_limit(moved(first / 4.0), moved(first / 16.0))
    assert right.passed
    assert right.p > 0.1
    assert abs(right.statistic - (law == "variance")) < 2e-3  # The first errors cancel; the quantiles end early.
    for limit in (2.0 * design.catches, -2.0 * design.catches):
        wrong = design.judge_limit(moved(limit + first / 40.0), moved(limit + first / 160.0))
        assert not wrong.passed
        assert wrong.p < design.false_alarm
    with pytest.raises(ValueError, match="draws"):
        design.judge_limit(normal, normal[1:])
    with pytest.raises(ValueError, match="law"):
        replace(design, law="law").judge_limit(normal, normal)
