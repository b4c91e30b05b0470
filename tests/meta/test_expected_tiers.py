"""The MUST and the SHOULD bound, and the uncertainties of scales, at points worked out by hand (NUM-1, NUM-2)."""

from __future__ import annotations

from math import exp, expm1, pi, sqrt
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Cosine, Linear, NoProcess, Own, Process
from tests.meta.hand import HALF, JUDGE, LEAST, U, same, says, scales
from validation.expected import tiers
from validation.expected.tiers import delta, exact, in_rho_domain, must, must_scales, rho, should, should_scales
from validation.oracles.certified import Quantity

CHAIN = Chain(betas=(3 / 4, 15 / 16))
"""alpha_bar = 1/4, 1/64; beta/(1 - beta) = 3, 15, so that kappa(alpha_bar) = 3/4, 9/32 and kappa(alpha) = 3/4, 9/8."""
STEADY = Linear(beta_min=2.0, beta_max=2.0)
"""log alpha_bar = -2t."""
WIDE = Cosine(s=0.5)
"""The angle is pi/3 (t + 1/2): pi/4 at t = 1/4, from pi/6 at t = 0."""
QUARTER, HALFWAY, BOTH = np.array([0.25]), np.array([0.5]), np.array([1, 2])

# Of the cosine at t = 1/4, alpha_bar is (1/2)/(3/4). Its derivative in log t is -2/3 (1/4)(2 pi/3) = -pi/9, and that in
# log s -2/3 (1/2)(2 pi/6 - 2 tan(pi/6) 2 pi/9). beta is 2 pi/3 tan(angle): its derivative in t is 4 pi^2/9; that in
# log s 1/2 (-4 pi/9 + 2 pi/3 * 2 pi/6). 1 - t adds 3/4 * 4 pi^2/9 (SCH-5). 1 + 2s is 2.
OF_COSINE = 1.0 + pi / 9 + 1 / 3 * abs(pi / 3 - 4 * pi / (9 * sqrt(3)))
OF_RATE = 1.0 + pi**2 / 9 + (pi**2 / 9 - 2 * pi / 9) + pi**2 / 3


@pytest.mark.parametrize(
    ("process", "quantity", "t", "bound"),
    [
        # At B = 1 the derivatives in log t, log beta_min and log beta_max are 1, 3/4 and 1/4 times alpha_bar.
        (STEADY, "alpha_bar", HALFWAY, [12.0 * (1.0 + 2.0 * exp(-1))]),
        (STEADY, "variance", HALFWAY, [12.0 * (1.0 + 2.0 * exp(-1))]),
        (STEADY, "alpha", HALFWAY, [12.0 * (1.0 + exp(-0.5))]),
        (STEADY, "beta", HALFWAY, [12.0 * (1.0 + 2.0)]),
        (STEADY, "alpha_bar", np.array([0.0]), [12.0]),
        (WIDE, "alpha_bar", QUARTER, [24.0 * OF_COSINE]),
        (WIDE, "variance", QUARTER, [24.0 * OF_COSINE]),
        (WIDE, "beta", QUARTER, [24.0 * OF_RATE]),
        # A product of k factors: k alpha_bar more for alpha_bar and sigma^2, and k alpha/2 for alpha.
        (CHAIN, "alpha_bar", BOTH, [12.0 * 7 / 4 + 1 / 4, 12.0 * 41 / 32 + 2 / 64]),
        (CHAIN, "variance", BOTH, [12.0 * 7 / 4 + 1 / 4, 12.0 * 41 / 32 + 2 / 64]),
        (CHAIN, "alpha", BOTH, [12.0 * 7 / 4 + 1 / 4, 12.0 * 17 / 8 + 1 / 8]),
    ],
)
def test_must_bound(process: Process, quantity: Quantity, t: Any, bound: list[float]) -> None:
    """NUM-1, SCH-5: delta is 12u (1 + kappa), 1 + 2s times that for a cosine schedule, and a term in k for a chain."""
    same(delta(process, quantity, t, HALF), U * np.array(bound))
    expected = must(process, quantity, t, HALF)
    says(expected, exact(process, quantity, t).value, U * np.array(bound))
    same(expected.residual, exact(process, quantity, t).residual)


def test_must_bound_of_a_rate_that_ends_infinite() -> None:
    """SCH-5: the cosine's beta has no bound at t = 1, and one that grows like 1/(1 - t)^2 before."""
    found = delta(WIDE, "beta", np.array([1.0, 1.0 - 2.0**-30, 0.0]), HALF)
    assert found[0] == np.inf
    assert found[1] == pytest.approx(24.0 * U * 2.0**61, rel=1e-7)  # Near t = 1 beta is 2/(1 - t).
    # At t = 0 the angle is pi/6: beta = 2 pi/3 tan(pi/6), its derivative in t 2 (pi/3)^2/(3/4) = 8 pi^2/27, and that in
    # log s 1/2 (-4 pi/9 tan(pi/6) + 2 pi/3 * 4/3 * 2 pi/9).
    same(found[2], 24.0 * U * (1.0 + 0.5 * abs(-4 * pi / 9 / sqrt(3) + 16 * pi**2 / 81) + 8 * pi**2 / 27))


@pytest.mark.parametrize(
    ("process", "quantity", "t", "ulps", "ulp"),
    [
        (STEADY, "alpha_bar", HALFWAY, 4.0 * (1.0 + 2.0), 2.0**-12),  # of exp(-1), kappa/alpha_bar = 2
        (STEADY, "variance", HALFWAY, 4.0 * (1.0 - 2.0 * exp(-1) / expm1(-1)), 2.0**-11),
        (STEADY, "alpha", np.array([0.0]), 0.0, 1.0),
        (STEADY, "sigma", np.array([0.0]), 0.0, 1.0),
        (Linear(beta_min=1.0, beta_max=1.0), "beta", HALFWAY, 4.0 * (1.0 + 1.0), 2.0**-10),  # a 1 that is not an end
        (Linear(beta_min=2000.0, beta_max=2000.0), "alpha_bar", np.array([1.0]), 4.0, LEAST),  # below binary64
        (WIDE, "log_snr", np.array([1.0]), 0.0, 1.0),
        (WIDE, "alpha", np.array([1.0]), 0.0, 1.0),
        (WIDE, "sigma", np.array([1.0]), 0.0, 1.0),
        (CHAIN, "alpha", np.array([1]), 4.0 * (1.0 + 3 / 2) + 2.0, 2.0**-11),  # of 1/2
        (CHAIN, "alpha", np.array([2]), 4.0 * (1.0 + 9.0) + 4.0, 2.0**-13),  # of 1/8
        (Chain(betas=(2.0**-60,)), "alpha", np.array([1]), 4.0 * (1.0 + 2.0**-61) + 2.0, 2.0**-10),  # 1 to binary64
        (Chain(betas=(0.5, 1.0)), "alpha", np.array([2]), 0.0, 1.0),
        (Chain(betas=(0.5, 1.0)), "sigma", np.array([2]), 0.0, 1.0),
        (Chain(betas=(1.0 - 2.0**-53,) * 25), "alpha_bar", np.array([25]), 4.0 + 50.0, LEAST),  # 2^-1325
    ],
)
def test_should_bound(process: Process, quantity: Quantity, t: Any, ulps: float, ulp: float) -> None:
    """NUM-2: rho is 4 ulp (1 + kappa/|y|), 2k ulp more for a chain, and nothing for an exact end."""
    same(rho(process, quantity, t, HALF), [ulps * ulp])
    expected = should(process, quantity, t, HALF)
    says(expected, exact(process, quantity, t).value, [ulps * ulp])
    same(expected.residual, exact(process, quantity, t).residual)


NORMAL = 2.0**-14
"""The smallest normal number of float16."""


@pytest.mark.parametrize(
    ("process", "t", "inside"),
    [
        (STEADY, [0.0, NORMAL / 2, NORMAL / 2 * (1.0 - 2.0**-40)], [True, True, False]),  # log alpha_bar = -2t
        # Where |log alpha_bar| is 2 tan(pi/6) > 1 times the increment of the angle, the increment counts: pi/3 t.
        (WIDE, [0.0, NORMAL * 3 / pi * 1.001, NORMAL * 3 / pi * 0.999], [True, True, False]),
        (Cosine(s=2.0), [NORMAL * 6 / pi * 1.001, NORMAL * 6 / pi * 0.999], [True, False]),  # pi/6 t
        # For s = 1/100, |log alpha_bar| is 2 tan(pi/202) of it, and that counts: t = 0.0018 N, while pi/2 t > N.
        (Cosine(s=0.01), [NORMAL, 100.0 * NORMAL], [False, True]),
        (CHAIN, [1, 2], [True, True]),
        (Chain(betas=(2.0**-30,)), [1], [True]),
    ],
)
def test_domain_of_the_should_bound(process: Process, t: list[Any], inside: list[bool]) -> None:
    """NUM-2: the domain is t = 0, and normal numbers |log alpha_bar| and increments of the cosine's angle."""
    times = np.array(t)
    found = should(process, "alpha", times, HALF).domain
    assert np.broadcast_to(found, times.shape).tolist() == inside
    if not isinstance(process, Chain):
        assert in_rho_domain(process, times, HALF).tolist() == inside


@pytest.mark.parametrize("process", [NoProcess(), Own(label="x")])
def test_no_exact_value_of_a_process_of_the_librarys_own(process: Process) -> None:
    """CON: the exact values are those of linear and cosine schedules and of chains."""
    with pytest.raises(NotClaimed):
        exact(process, "alpha", HALFWAY)
    assert set(tiers.KNOWN) == {Linear, Cosine, Chain}


def test_uncertainties_of_scales() -> None:
    """NUM-1, NUM-2: those of alpha are delta and rho; that of sigma is min(delta/sigma, sqrt(delta)), or rho."""
    found = must_scales(CHAIN, BOTH, HALF)
    same(found.alpha, [1 / 2, 1 / 8])
    same(found.sigma, np.sqrt([3 / 4, 63 / 64]))
    same(found.d_alpha, U * np.array([21.25, 25.625]))
    same(found.d_sigma, U * np.array([21.25, 15.40625]) / np.sqrt([3 / 4, 63 / 64]))
    same(must_scales(STEADY, np.array([0.0]), HALF).d_sigma, [sqrt(12.0 * U)])
    found = should_scales(CHAIN, BOTH, HALF)
    same(found.alpha, [1 / 2, 1 / 8])
    same(found.sigma, np.sqrt([3 / 4, 63 / 64]))
    same(found.d_alpha, [12.0 * 2.0**-11, 44.0 * 2.0**-13])
    # kappa(sigma)/sigma = kappa(alpha_bar)/(2 sigma^2): (3/4)/(3/2) and (9/32)/(63/32).
    same(found.d_sigma, [(4.0 * 3 / 2 + 2.0) * 2.0**-11, (4.0 * 8 / 7 + 4.0) * 2.0**-11])
    assert found.floor == 0.0


def test_error_of_the_judge() -> None:
    """Chapter 11: the suite's own arithmetic adds 2^-50 of the terms of a sum."""
    assert tiers.JUDGE_U == JUDGE


def test_error_of_a_root() -> None:
    """NUM-1: a deviation whose square is wrong by d is wrong by d/sigma or sqrt(d), whichever is less; 0 by sqrt(d)."""
    sigma = np.array([0.5, 2.0**-6, 2.0**-5, 0.0])
    same(tiers.of_variance(sigma, np.full(4, 2.0**-10)), [2.0**-9, 2.0**-5, 2.0**-5, 2.0**-5])


def test_bound_of_an_output_whose_square_is_bounded() -> None:
    """SCH-8, MAR-2: |got^2 - value^2| <= d is |got - value| <= d/(got + value), and sqrt(d) for value and got 0."""
    got, value = np.array([0.5, 0.25, 0.0]), np.array([0.25, 0.0, 0.0])
    same(tiers.root(got, value, np.full(3, 2.0**-10)), [2.0**-10 / 0.75, 2.0**-8, 2.0**-5])
    same(tiers.root(got - 1.0, value, np.full(3, 2.0**-10)), [2.0**-5] * 3)


def test_scales_are_shaped_for_data() -> None:
    """MAR-4: one number for each example broadcasts against its event, and examples are taken in the order given."""
    at = scales([0.5, 0.25, 0.125], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0], [7.0, 8.0, 9.0], floor=0.75)
    for ndim, shape in ((1, (3,)), (2, (3, 1)), (4, (3, 1, 1, 1))):
        shaped = at.shaped(ndim)
        assert shaped.alpha.shape == shaped.sigma.shape == shaped.d_alpha.shape == shaped.d_sigma.shape == shape
        assert tiers.column(at.alpha, ndim).shape == shape
        assert (shaped.alpha.ravel()[1], shaped.sigma.ravel()[1]) == (0.25, 5.0)
        assert (shaped.d_alpha.ravel()[1], shaped.d_sigma.ravel()[1], shaped.floor) == (2.0, 8.0, 0.75)
    rows = at.rows(np.array([2, 0]))
    assert (rows.alpha.tolist(), rows.sigma.tolist()) == ([0.125, 0.5], [6.0, 4.0])
    assert (rows.d_alpha.tolist(), rows.d_sigma.tolist(), rows.floor) == ([3.0, 1.0], [9.0, 7.0], 0.75)
    assert tiers.Scales(at.alpha, at.sigma, at.d_alpha, at.d_sigma).floor == 0.0


@pytest.mark.parametrize(
    ("value", "uncertainty", "inside"),
    [(1.0, 1 / 8, True), (1.0, 0.126, False), (1.0, 0.0, True), (2**-100, 0.0, True), (0.0, 0.0, False)],
)
def test_a_right_form_divides_by_what_is_known_to_an_eighth(value: float, uncertainty: float, inside: bool) -> None:
    """Chapter 11: a divisor is above 0, and its uncertainty at most an eighth of it."""
    assert tiers.divides(np.array([value]), np.array([uncertainty])).tolist() == [inside]
