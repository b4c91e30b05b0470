"""Chapter 8: training needs no solver (TRN-7).

The tests train the same network on x_t from N solver steps and on x_t from the closed form.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
import sympy as sp

from refdiff.conformance.check import evidence

from ..oracles import objectives, solver
from ..oracles.mixture import ONE, TWO, Mixture
from .networks import EXAMPLES, Examples, examples, excess, train
from .scales import linear_rate, linear_scales

STEPS = (128, 256, 512, 1024)
HIDDEN = solver.Hidden.drawn(24, seed=0)


@evidence("TRN-7", kind="symbolic")
def test_solver_bias_has_order_one_for_gaussian_data() -> None:
    """TRN-7: a solver of step h biases the irreducible loss by c h + O(h^2), and its denoiser has an excess of e h^2.

    c and e are not 0. The data are N(0, s^2), the rate is constant, and the denoiser is the best linear one, k x with
    k = E[target x]/E[x^2].
    """
    h, s2, bt = sp.symbols("h s2 bt", positive=True)
    # At t with beta = 1: a^2 = (1 - h/2)^(2t/h), v = (1 - a^2) h/(1 - (1 - h/2)^2), expanded in h.
    growth = sp.series(sp.log(1 - h / 2) / h, h, 0, 3).removeO()
    a = sp.exp(bt * growth)
    v = (1 - a**2) / (1 - h / 4)
    alpha, variance = sp.exp(-bt / 2), 1 - sp.exp(-bt)
    sigma = sp.sqrt(variance)

    def best(a: Any, v: Any) -> tuple[Any, Any]:
        spread = a**2 * s2 + v
        slope = ((a - alpha) * a * s2 + v) / (sigma * spread)
        return slope, ((a - alpha) ** 2 * s2 + v) / variance - slope**2 * spread

    (slope, floor), (slope_0, floor_0) = best(a, v), best(alpha, variance)
    # Both are analytic at h = 0, so their coefficients are the value and the derivative there.
    coefficients = [[f.subs(h, 0), f.diff(h).subs(h, 0)] for f in (floor - floor_0, slope - slope_0)]
    at = {bt: 2, s2: sp.Rational(1, 4)}
    for value, derivative in coefficients:
        assert sp.simplify(value) == 0
        assert abs(float(derivative.subs(at))) > 1e-3
    # The excess loss is (slope - slope_0)^2 E[x^2], so it has twice the order of the slope.


@evidence("TRN-7", kind="quadrature")
@pytest.mark.parametrize("data", [TWO, ONE])
def test_loss_bias_has_order_one(data: Mixture) -> None:
    """TRN-7: with N solver steps, the loss after training and the irreducible loss are biased by O(1/N): slopes -1.

    The excess loss of the trained network under the closed form is O(1/N^2): slope -2. By least squares on fixed
    features and quadrature, without Monte Carlo.
    """
    at = solver.places(data, linear_scales, solver.by_closed_form(linear_scales))
    best, rows = solver.trained(HIDDEN, at), []
    for steps in STEPS:
        made = solver.by_solver(linear_rate, steps)
        at_solver = solver.places(data, linear_scales, made)
        found = solver.trained(HIDDEN, at_solver)
        excess_loss = solver.loss(HIDDEN, found.readout, at) - best.loss
        irreducible_bias = solver.irreducible_loss(at_solver) - solver.irreducible_loss(at)
        rows.append([found.loss - best.loss, irreducible_bias, excess_loss])
    for coarse, fine in itertools.pairwise(np.abs(rows)):
        slopes = np.log2(fine / coarse)
        assert np.all(np.abs(slopes[:2] + 1.0) <= 0.05)
        assert abs(slopes[2] + 2.0) <= 0.1


@evidence("TRN-7", kind="quadrature")
def test_quadrature_has_converged() -> None:
    """TRN-7: 160 nodes, and the formula of LOS-12 with 120, give the same irreducible loss, within 2e-8.

    That is 1e-4 times the smallest bias in the test above.
    """
    made = solver.by_closed_form(linear_scales)
    losses = [objectives.irreducible(TWO, *linear_scales(float(t)), count=120) for t in solver.TIMES]
    assert abs(solver.irreducible_loss(solver.places(TWO, linear_scales, made)) - float(np.mean(losses))) < 2e-8


@lru_cache(maxsize=4)
def made(steps: int, seed: int) -> Examples:
    """Return training examples by `steps` solver steps, or for 0 by the closed form; cached."""
    return examples(TWO, linear_rate, linear_scales, steps, EXAMPLES, seed)


REACHED = 2e-3
"""Excess loss that a network of this size reaches; the irreducible loss is 0.14."""


@evidence("TRN-7", kind="simulation")
@pytest.mark.parametrize("steps", [0, 8, 64, 256])
def test_small_network_trained_on_both_kinds_of_examples(steps: int) -> None:
    """TRN-7: 1500 steps of Adam bring the excess loss below 2e-3, on simulated paths and on the closed form alike.

    8 solver steps bias the best denoiser by a loss of 0.031, which exceeds the error of training. From 64 steps on, the
    network is as good as one trained on the closed form.
    """
    at = solver.places(TWO, linear_scales, solver.by_closed_form(linear_scales))
    source = solver.by_solver(linear_rate, steps) if steps else solver.by_closed_form(linear_scales)
    predict = train(made(steps, seed=1), seed=1)
    assert excess(predict, solver.places(TWO, linear_scales, source)) < REACHED
    bias = solver.bias(TWO, linear_scales, source)
    # By the triangle inequality of the root mean square distance to the best denoiser, under the closed form.
    if steps == 8:
        assert excess(predict, at) > (sqrt(bias) - sqrt(REACHED)) ** 2 > 0.015
    else:
        assert bias < 1e-4
        assert excess(predict, at) < REACHED


@evidence("TRN-7", kind="simulation")
@pytest.mark.parametrize("steps", [64, 256])
def test_solver_needs_more_draws_and_time(steps: int) -> None:
    """TRN-7: a solver needs N t draws and updates for x_t, the closed form one of each: 9/16 N times as many."""
    closed, solved = made(0, seed=1), made(steps, seed=1)
    assert closed.draws == len(closed.x)
    assert solved.draws == 9 * steps // 16 * len(solved.x)
    # Wall time depends on the machine, so the factor of the times has a margin of 16.
    assert solved.seconds > 9 / 16 * steps / 16 * closed.seconds
