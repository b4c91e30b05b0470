"""Expected sampling steps and their bounds at points worked out by hand (chapters 10 and 11)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain, Linear, Parameterization
from refdiff.conformance.step import Step
from tests.meta.hand import FINE, HALF, JUDGE, LARGEST, LEAST, U, same, says
from validation.expected.posteriors import Tolerances, tolerances_at
from validation.expected.steps import Inputs, Sum, ancestral, expected, known_zero, step

CHAIN = Chain(betas=(3 / 4, 15 / 16))
"""From k = 2 to 1: alpha = 1/8 to 1/2, sigma^2 = 63/64 to 3/4, delta(alpha) = 25.625u to 21.25u, and delta(sigma^2)
15.40625u to 21.25u. A = 10/21, B = 4/21, V = 5/7, and sigma_t|s^2 = 15/16."""
S, T = np.array([1]), np.array([2])
S_T, S_S = float(np.sqrt(63 / 64)), float(np.sqrt(3 / 4))
D_A_T, D_A_S, D_S_T, D_S_S = 25.625, 21.25, 15.40625 / S_T, 21.25 / S_S
"""In units of u."""
TINY = FORMATS["float64"]
W = 2.0**-53
"""u of float64, where the suite's own arithmetic has 8u."""
STEADY = Linear(beta_min=4.0, beta_max=4.0)
"""log alpha_bar = -4t and beta = 4; kappa(beta) = 4, from beta_min and beta_max, so that delta(beta) = 60u."""
T_HALF, T_QUARTER = np.array([0.5]), np.array([0.25])
"""h = 1/4, and B = 2 at t: alpha = 1/e, sigma^2 = 1 - 1/e^2, and kappa(sigma^2) = 2B/e^2 = 4/e^2."""
SIGMA = float(np.sqrt(-np.expm1(-2.0)))
D_SIGMA = 12.0 * (1.0 + 4.0 * np.exp(-2.0)) / SIGMA


def given(x: float, eps: float, z: float, h: float = 1.0) -> Inputs:
    """Return the arguments of a step of one number."""
    return Inputs(*(np.array([[number]]) for number in (x, eps, z, h)))


def limits(coefficient: float = 0.0, variance: float = 0.0, added: float = 0.0, domain: bool = True) -> Tolerances:
    """Return tolerances of the posterior."""
    return Tolerances(np.array([domain]), *(np.array([y]) for y in (variance, coefficient, added)))


def test_arguments_of_a_step() -> None:
    """Chapter 10: the arguments are widened, and h = t - s."""
    x, eps, z = (np.full((2, 3), value, np.float16) for value in (1.0, 2.0, 3.0))
    found = Inputs.of(x, eps, z, np.array([0.25, 0.0], np.float16), np.array([1.0, 0.5], np.float16))
    assert [array.dtype for array in (found.x, found.eps, found.noise, found.h)] == [np.float64] * 4
    assert (found.x[0, 0], found.eps[0, 0], found.noise[0, 0], found.h.tolist()) == (1.0, 2.0, 3.0, [[0.75], [0.5]])


# Each rule: the value, the sum of the terms, and the derivatives by alpha_t, sigma_t, alpha_s, sigma_s and beta.
SUMS: list[tuple[Sum, Inputs, float, float, tuple[float, float]]] = [
    # x (1 + h beta/2) = 3/2 x; -h beta eps/sigma_t, whose derivative is h beta eps/sigma_t^2; sqrt(h beta) z.
    ("em", given(2.0, 0.0, 0.0, 0.25), 3.0, 3.0, (0.0, 2.0 / 8)),
    ("em", given(0.0, 3.0, 0.0, 0.25), -3.0 / SIGMA, 3.0 / SIGMA, (3.0 / SIGMA**2, 0.75 / SIGMA)),
    ("em", given(0.0, 0.0, 6.0, 0.25), 6.0, 6.0, (0.0, 0.0)),
    ("ode", given(2.0, 0.0, 6.0, 0.25), 3.0, 3.0, (0.0, 2.0 / 8)),
    ("ode", given(0.0, 3.0, 6.0, 0.25), -1.5 / SIGMA, 1.5 / SIGMA, (1.5 / SIGMA**2, 0.375 / SIGMA)),
]


@pytest.mark.parametrize(("rule", "inputs", "value", "size", "slopes"), SUMS)
def test_step_of_a_sum(rule: Sum, inputs: Inputs, value: float, size: float, slopes: Any) -> None:
    """SMP-1, SMP-4: the step, within 8/7 of what sigma_t and beta move it, and 12u of its terms.

    The root of beta is 2, and moves by 60u/2: of z = 6 by 6 sqrt(h) 30u.
    """
    moved = slopes[0] * D_SIGMA + slopes[1] * 60.0
    if inputs.noise[0, 0] and rule == "em":
        moved = 0.5 * 6.0 * 30.0
    bound = (8 / 7 * moved * W + 20.0 * W * size) + 4.0 * 2.0**-1074
    says(step(rule, inputs, STEADY, T_QUARTER, T_HALF, TINY), [[value]], [[bound]])
    asked = Step(kind=rule)
    says(expected(asked, inputs, STEADY, T_QUARTER, T_HALF, limits(), TINY), [[value]], [[bound]])


DDIM = [
    (given(1.0, 0.0, 5.0), 4.0, 4.0, 8.0 * D_A_S + 32.0 * D_A_T),
    # eps (sigma_s - alpha_s sigma_t/alpha_t): derivatives sigma_t/alpha_t, 4, 4 sigma_t/alpha_t, 1.
    (
        given(0.0, 1.0, 5.0),
        S_S - 4.0 * S_T,
        S_S + 4.0 * S_T,
        8.0 * S_T * D_A_S + 32.0 * S_T * D_A_T + 4.0 * D_S_T + D_S_S,
    ),
]


@pytest.mark.parametrize(("inputs", "value", "size", "moved"), DDIM)
def test_step_of_ddim(inputs: Inputs, value: float, size: float, moved: float) -> None:
    """SMP-3: alpha_s (x_t - sigma_t eps)/alpha_t + sigma_s eps, within 8/7 of what the scales move, and 12u."""
    bound = (8 / 7 * moved + 20.0 * size) * W + 4.0 * 2.0**-1074
    says(step("ddim", inputs, CHAIN, S, T, TINY), [[value]], [[bound]])
    says(expected(Step(kind="ddim"), inputs, CHAIN, S, T, limits(), TINY), [[value]], [[bound]])


def test_terms_of_a_step_in_half_precision() -> None:
    """Chapter 11: 12u, 2^-50 of the suite's own arithmetic, and 4 smallest numbers."""
    found = step("ode", given(0.0, 0.0, 0.0, 0.25), STEADY, T_QUARTER, T_HALF, HALF)
    says(found, [[0.0]], [[4.0 * LEAST]])
    found = step("ode", given(2.0, 0.0, 0.0, 0.25), STEADY, T_QUARTER, T_HALF, HALF)
    says(found, [[3.0]], [[8 / 7 * 60.0 * U / 4.0 + (12.0 * U + JUDGE) * 3.0 + 4.0 * LEAST]])


# x_0_hat of eps at k = 2 is 8 x_t - 8 sigma_t eps. Of x_t alone PAR-1's bound is 8/7 (64 delta alpha) + 8u 8 + 4.
FROM_X = 8 / 7 * 64.0 * D_A_T + 16.0 * 8.0
"""In units of u of float64."""


@pytest.mark.parametrize(
    ("asked", "of_z", "moved"),
    [
        (Step(kind="ddpm"), 5 / 7, 2.0**-40),
        (Step(kind="ddpm", variance="beta"), 15 / 16, 2.0**-36),
    ],
)
def test_step_of_ddpm(asked: Step, of_z: float, moved: float) -> None:
    """SMP-2: A x_0_hat + B x_t + sqrt(V) z, each with its bound; V is that of the posterior, or of the transition."""
    tight = limits(2.0**-30, 2.0**-40, 2.0**-36)
    root = float(np.sqrt(of_z))
    # z alone: min(dV/sqrt V, sqrt dV) and 12u, and PAR-1's 4 smallest numbers.
    found = expected(asked, given(0.0, 0.0, 2.0), CHAIN, S, T, tight, TINY)
    says(found, [[2.0 * root]], [[2.0 * moved / root + 12.0 * W * 2.0 * root + 10 / 21 * 4.0 * 2.0**-1074]])
    wide = limits(2.0**-30, 4.0, 9.0)
    root_of = 2.0 if asked.variance == "posterior" else 3.0
    same(expected(asked, given(0.0, 0.0, 2.0), CHAIN, S, T, wide, FINE).tolerance, [[2.0 * root_of]])
    # x alone: x_0_hat = 8, A 8 + B = 80/21 + 4/21 = 4; its bound is the coefficient's of 8 + 1, A of PAR-1's, and 12u.
    found = expected(asked, given(1.0, 0.0, 0.0), CHAIN, S, T, tight, TINY)
    says(found, [[4.0]], [[2.0**-30 * 9.0 + 10 / 21 * FROM_X * W + 12.0 * W * 4.0]])
    found = expected(asked, given(-1.0, 0.0, 0.0), CHAIN, S, T, tight, TINY)
    says(found, [[-4.0]], [[2.0**-30 * 9.0 + 10 / 21 * FROM_X * W + 12.0 * W * 4.0]])
    # A step that adds no noise may have 2^-30 of it, or what is given, in place of the error of the root.
    silent = expected(asked, given(0.0, 0.0, -2.0), CHAIN, S, T, tight, TINY, silent=0.25)
    says(silent, [[-2.0 * root]], [[0.5 + 12.0 * W * 2.0 * root + 10 / 21 * 4.0 * 2.0**-1074]])
    assert not expected(asked, given(1.0, 0.0, 0.0), CHAIN, S, T, limits(domain=False), TINY).domain.any()


def test_last_step_of_ddpm() -> None:
    """SMP-6: to s = 0 the step is x_0_hat without noise, of either variance."""
    for variance in ("posterior", "beta"):
        asked = Step(kind="ddpm", variance=variance)
        found = expected(asked, given(2.0, 0.0, 3.0), CHAIN, np.array([0]), np.array([1]), limits(), TINY)
        same(found.value, [[4.0]])  # x_t/alpha at k = 1
    default = ancestral(given(0.0, 0.0, 3.0), CHAIN, S, T, limits(), TINY)
    same(default.value, [[3.0 * np.sqrt(5 / 7)]])


@pytest.mark.parametrize("prediction", ["x_0", "v", "score"])
@pytest.mark.parametrize(
    "asked", [Step(kind="ddpm"), Step(kind="ddim"), Step(kind="ddim", eta=0.5), Step(kind="ddim", eta=1.0)], ids=str
)
def test_value_of_a_step_of_another_prediction(asked: Step, prediction: Parameterization) -> None:
    """SMP-5: of x_t = alpha_t 4 + sigma_t 2 each leads to A 4 + B x_t, or to 4 alpha_s + rest 2, plus c z."""
    x_0, eps, z = 4.0, 2.0, 3.0
    x = x_0 / 8 + S_T * eps
    value = {"x_0": x_0, "v": eps / 8 - S_T * x_0, "score": -eps / S_T}[prediction]
    found = expected(replace(asked, prediction=prediction), given(x, value, z), CHAIN, S, T, limits(), TINY)
    c_2 = asked.eta**2 * 5 / 7
    by_hand = x_0 / 2 + np.sqrt(3 / 4 - c_2) * eps + np.sqrt(c_2) * z
    if asked.kind == "ddpm":
        by_hand = 10 / 21 * x_0 + 4 / 21 * x + np.sqrt(5 / 7) * z
    np.testing.assert_allclose(found.value, [[by_hand]], rtol=1e-14)
    assert found.domain.all()


def test_step_of_ddim_of_x_0() -> None:
    """SMP-3: of x_0, 8/7 of the bounds of x_0_hat and eps_hat times alpha_s and sigma_s come to those of the scales.

    x_t = 0: x_0_hat is within 16u S', by way of eps and back: (1/8 v/sigma_t) sigma_t 8 = v, or of the score or v.
    """
    u, v = W, 2.0
    found = expected(Step(kind="ddim", prediction="x_0"), given(0.0, v, 0.0), CHAIN, S, T, limits(), TINY)
    eps_hat = -v / 8 / S_T
    same(found.value, [[v / 2 + S_S * eps_hat]])
    a_lost, s_2 = (1.0 - 8.0 * D_A_T * u) ** -2.0, 63 / 64
    way_x_0 = max(v * a_lost, v) * (16.0 + 2.0 * D_A_T) * u  # back by 1/alpha, or from v by sigma (v/sigma)
    # eps_hat: d_alpha v/sigma + d_sigma v/(8 sigma^2), and by v or by the score the same terms, v/(8 sigma).
    moved = (D_A_T * v / S_T + D_S_T * v / 8 / s_2) * u
    size = v / 8 / S_T
    way_eps = max(8 / 7 * moved + 16.0 * u * size, moved + (16.0 + 2.0 * D_A_T) * u * size)
    scales = 8 / 7 * (v * D_A_S + size * D_S_S) * u + 20.0 * u * (v / 2 + S_S * size)
    same(found.tolerance, [[scales + 8 / 7 * (way_x_0 / 2 + way_eps * S_S)]])


@pytest.mark.parametrize(("kind", "per"), [("em", 1.0), ("ode", 0.5)])
def test_step_of_a_schedule_of_another_prediction(kind: Any, per: float) -> None:
    """SMP-1, SMP-4: of the score, eps_hat = -sigma score, whose bound counts with h beta/sigma, or half of it."""
    given_score = given(0.0, 3.0, 0.0, 0.25)
    found = expected(Step(kind=kind, prediction="score"), given_score, STEADY, T_QUARTER, T_HALF, limits(), TINY)
    same(found.value, [[3.0 * per]])  # -h beta eps_hat/sigma, h beta = 1
    # eps_hat by x_0 from the score: x_0 = sigma^2 v/alpha, and alpha/sigma of it, 1/(1 - d_sigma/sigma)^2 of that.
    d_alpha = 12.0 * (1.0 + 2.0 * np.exp(-1.0)) * W
    lost = (1.0 - D_SIGMA * W / SIGMA) ** -2.0
    of_eps = max(
        8 / 7 * 3.0 * D_SIGMA * W + 16.0 * W * 3.0 * SIGMA,
        3.0 * D_SIGMA * W + (16.0 * W + 2.0 * d_alpha) * 3.0 * SIGMA * lost,
    )
    plain = 8 / 7 * per * (3.0 / SIGMA * D_SIGMA + 3.0 / 4 * 60.0) * W + 20.0 * W * 3.0 * per
    same(found.tolerance, [[plain + 8 / 7 * per / SIGMA * of_eps]])


@pytest.mark.parametrize("eta", [0.5, 0.75])
def test_bounds_of_a_partly_drawn_step(eta: float) -> None:
    """SMP-3: for eta above 0, z alone, x_t alone, and eps alone, each with its error.

    z: eta min(dV/sqrt V, sqrt dV), or what counts as no noise. The root of sigma_s^2 - eta^2 V has a square known to
    delta(sigma_s^2) + eta^2 dV + 4u sigma_s^2.
    """
    asked, d = Step(kind="ddim", eta=eta), 2.0**-20
    root, rest = float(np.sqrt(5 / 7)), float(np.sqrt(3 / 4 - eta**2 * 5 / 7))
    found = expected(asked, given(0.0, 0.0, -2.0), CHAIN, S, T, limits(1.0, d, 1.0), HALF)
    parts = 8 / 7 * (1 / 2 + rest) * 4.0 * LEAST  # 4 smallest numbers of x_0_hat, and of eps_hat none
    same(found.value, [[-2.0 * eta * root]])
    expected_bound = 2.0 * eta * d / root + 12.0 * U * 2.0 * eta * root + 4.0 * LEAST
    assert expected_bound <= found.tolerance[0, 0] <= expected_bound + parts
    silent = expected(asked, given(0.0, 0.0, -2.0), CHAIN, S, T, limits(1.0, d), HALF, silent=0.25)
    same(silent.tolerance - found.tolerance, [[0.5 - 2.0 * eta * d / root]])
    # Of eps_hat = 2 the error of V moves the root by eta^2 dV/rest more than none does.
    only = [expected(asked, given(0.0, -2.0, 0.0), CHAIN, S, T, limits(0.0, x), HALF).tolerance[0, 0] for x in (0.0, d)]
    np.testing.assert_allclose(only[1] - only[0], 2.0 * eta**2 * d / rest, rtol=1e-9)


def test_bound_of_a_partly_drawn_step_of_eps() -> None:
    """SMP-3: eps alone at eta = 1/2, in all its terms.

    x_0_hat = -8 sigma_t eps; its PAR-1 bound by any way, and that of eps_hat by way of x_0 and back, are those of
    chapter 11; sqrt(3/4 - 5/28) = sqrt(4/7).
    """
    u, rest = W, float(np.sqrt(4 / 7))
    found = expected(Step(kind="ddim", eta=0.5), given(0.0, 1.0, 0.0), CHAIN, S, T, limits(), TINY)
    same(found.value, [[-4.0 * S_T + rest]])
    a_lost, s_lost = (1.0 - 8.0 * D_A_T * u) ** -2.0, (1.0 - D_S_T * u / S_T) ** -2.0
    moved = (64.0 * S_T * D_A_T + 8.0 * D_S_T) * u
    way = (16.0 + 2.0 * D_A_T) * u
    # By way of v: v = 8 eps, back sigma v; of the score: eps/sigma, back 8 sigma^2 of it: 8 sigma eps both.
    of_x_0 = max(8 / 7 * moved + 16.0 * u * 8.0 * S_T, moved + way * 8.0 * S_T * a_lost)
    # By way of x_0: 8 sigma eps, back alpha/sigma of it; by v: alpha 8 eps; by the score: eps.
    of_eps = way * s_lost
    square = (21.25 + 4.0 * 3 / 4) * u
    scales = 8 / 7 * D_A_S * u * 8.0 * S_T + square / rest + 12.0 * u * (4.0 * S_T + rest)
    same(found.tolerance, [[scales + 8 / 7 * (of_x_0 / 2 + rest * of_eps)]])


def test_full_noise_of_ddim_may_be_written_as_ddpm() -> None:
    """SMP-3: with eta = 1 the bound is the larger of its own and that of ddpm, for which the coefficient counts."""
    inputs, loose = given(1.0, 0.0, 1.0), limits(0.5, 2.0**-40)
    ddpm = expected(Step(kind="ddpm"), inputs, CHAIN, S, T, loose, TINY)
    full = expected(Step(kind="ddim", eta=1.0), inputs, CHAIN, S, T, loose, TINY)
    less = expected(Step(kind="ddim", eta=0.9999), inputs, CHAIN, S, T, loose, TINY)
    same(full.tolerance, ddpm.tolerance)
    np.testing.assert_allclose(full.value, ddpm.value, rtol=1e-13)
    assert less.tolerance[0, 0] < 1e-9 < full.tolerance[0, 0]
    assert not expected(Step(kind="ddim", eta=1.0), inputs, CHAIN, S, T, limits(domain=False), TINY).domain.any()
    assert not expected(Step(kind="ddim", eta=0.5), inputs, CHAIN, S, T, limits(domain=False), TINY).domain.any()


def test_domain_of_a_step() -> None:
    """Chapter 10: 8 d_sigma <= sigma_t, 8 d_alpha <= alpha_t for ddim.

    beta > delta(beta), which em needs, follows: beta is at least sigma^2 for a rate that does not fall.
    """
    inputs, zero = given(1.0, 1.0, 1.0, 0.25), np.array([0.0])

    def inside(rule: Any, process: Any, t: Any, **more: Any) -> bool:
        s = np.zeros_like(t)
        return bool(step(rule, inputs, process, s, t, HALF, **more).domain.all())

    one = np.array([1.0])
    for rule in ("em", "ode"):
        assert inside(rule, STEADY, T_HALF)
        assert not inside(rule, STEADY, zero)
    # A chain of sigma^2 = b = alpha_bar's complement: delta = 12u (1 + b) + u (1 - b), and d_sigma = delta/sigma.
    low = 104.0 * U / (1.0 - 8.0 * 11.0 * U)
    for b, is_in in ((low * 1.001, True), (low * 0.999, False)):
        assert inside("ddim", Chain(betas=(b,)), np.array([1])) == is_in
        assert inside("ddim", Chain(betas=(b,)), np.array([1]), general=False)
    # alpha = a of beta = 1 - a^2: kappa(alpha) = (1 - a^2)/(2a), 8 (12u (1 + kappa) + u a/2) <= a.
    a = 0.3
    while 8.0 * U * (12.0 * (1.0 + (1.0 - a * a) / (2.0 * a)) + a / 2.0) <= a:
        a -= 1e-4
    for alpha, is_in in ((a + 2e-4, True), (a - 1e-4, False)):
        assert inside("ddim", Chain(betas=(1.0 - alpha * alpha,)), np.array([1])) == is_in
    assert inside("ode", STEADY, one)
    ended = Chain(betas=(0.75, 1.0))
    assert not inside("ddim", ended, np.array([2]))


def test_range_of_a_step() -> None:
    """Chapter 11: what leaves the range of the format on the way is not judged: the slope of x_t, or x_s/sigma_t."""
    t, s = np.array([1.0]), np.array([0.75])
    for rule in ("em", "ode"):
        # Twice beta |x_t| = 8 |x_t|; and eps beta/sigma, sigma = 1 nearly.
        for size, is_in in ((LARGEST / 8 * 0.999, True), (LARGEST / 8 * 1.001, False)):
            for inputs in (given(size, 0.0, 0.0, 0.25), given(-size, 0.0, 0.0, 0.25)):
                assert step(rule, inputs, STEADY, s, t, HALF).domain.all() == is_in
            root = float(np.sqrt(-np.expm1(-4.0)))
            for inputs in (given(0.0, size * root, 0.0, 0.25), given(0.0, -size * root, 0.0, 0.25)):
                assert step(rule, inputs, STEADY, s, t, HALF).domain.all() == is_in
    # z = 6/7 of the range over sigma: 12u and 8/7 of 30u/2 are more.
    for share, is_in in ((0.985, True), (0.995, False)):
        z = share * LARGEST * float(np.sqrt(-np.expm1(-4.0)))
        assert step("em", given(0.0, 0.0, z, 0.25), STEADY, s, t, HALF).domain.all() == is_in
    # ddim: x_s/alpha_t, of 4 x_t and alpha_t = 1/8, with 8/7 (32 d_alpha_t + 8 d_alpha_s) + 12u 4 of x_t.
    with_bound = 4.0 + (8 / 7 * (32.0 * D_A_T + 8.0 * D_A_S) + 48.0) * 2.0**-24
    for share, is_in in ((1.0 - 2.0**-22, True), (1.0 + 2.0**-22, False)):
        x = share * FORMATS["float32"].largest / 8 / with_bound
        for sign in (1.0, -1.0):
            found = step("ddim", given(sign * x, 0.0, 0.0), CHAIN, S, T, FORMATS["float32"])
            assert found.domain.all() == is_in


@pytest.mark.parametrize(("prediction", "defined"), [("x_0", True), ("v", True), ("eps", False), ("score", False)])
def test_step_from_an_end_without_signal(prediction: Parameterization, defined: bool) -> None:
    """DIS-6: from alpha_bar_N = 0, ddim and ddpm are defined of x_0 and v, and of eps and the score they are not."""
    ended, inputs = Chain(betas=(0.75, 1.0)), given(1.0, 2.0, 3.0)
    found_limits = tolerances_at(ended, S, T, TINY)
    for asked in (Step(kind="ddim"), Step(kind="ddim", eta=0.5), Step(kind="ddim", eta=1.0), Step(kind="ddpm")):
        found = expected(replace(asked, prediction=prediction), inputs, ended, S, T, found_limits, TINY)
        assert bool(found.domain.all()) == defined, asked
    some = (np.array([0.0, 0.5]), np.zeros(2))
    assert known_zero({"a_t": some}).tolist() == [True, False]
    assert known_zero({"a_t": some, "beta": some}).tolist() == [False, False]
