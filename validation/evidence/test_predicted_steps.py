"""Chapter 10: steps from any prediction land on the marginal; eta and the two variances are what their clauses say."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.check import evidence
from refdiff.conformance.step import Parameterization

from ..oracles import symbolic_steps
from ..oracles.symbolic import alpha_s, alpha_t, posterior
from .rationals import circle, on_circle, over_rationals

PREDICTIONS = get_args(Parameterization)


@evidence("SMP-2", "SMP-3", "SMP-5", kind="symbolic")
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_true_predictions_land_on_the_marginal(prediction: str) -> None:
    """SMP-5: from the true value of each prediction, ddim with any eta has mean alpha_s x_0 and variance sigma_s^2."""
    assert set(symbolic_steps.landing_residuals(prediction)) == {0}


@evidence("SMP-3", kind="symbolic")
def test_ddim_at_eta_one_is_ddpm() -> None:
    """SMP-3: for eta = 1, the coefficients of x_0_hat and of eps_hat are those of ddpm."""
    assert symbolic_steps.at_eta_one() == (0, 0)


@evidence("SMP-2", kind="symbolic")
def test_both_variances_are_those_of_extreme_data() -> None:
    """SMP-2: of data at one point, x_s given x_t has the variance posterior; of data N(0, I), the variance beta."""
    spread = sp.Symbol("spread", nonnegative=True)
    found = symbolic_steps.reverse_variance(spread)
    assert sp.simplify(found.subs(spread, 0) - posterior().variance) == 0
    assert sp.simplify(found.subs(spread, 1) - (1 - (alpha_t / alpha_s) ** 2)) == 0


@evidence("SMP-2", kind="property")
@over_rationals
@given(betas=st.lists(st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=100), min_size=2, max_size=6))
def test_variance_of_the_transition_over_the_rationals(betas: list[Fraction]) -> None:
    """SMP-2: adjacent, 1 - alpha_bar_k/alpha_bar_{k-1} is beta_k; strided, it is the noise of all steps carried along.

    The last beta alone is less than that.
    """
    bars, noise = [Fraction(1)], Fraction(0)
    for k, beta in enumerate(betas):
        bars.append(bars[-1] * (1 - beta))
        assert 1 - bars[k + 1] / bars[k] == beta
        # One more step scales what is there by 1 - beta, and adds beta.
        noise = (1 - beta) * noise + beta if k else Fraction(0)
    assert 1 - bars[-1] / bars[1] == noise
    assert noise > betas[-1] or len(betas) == 2


@evidence("SMP-2", "SMP-3", "SMP-5", kind="property")
@over_rationals
@given(earlier=circle, later=circle, x_0=circle, eps=circle)
def test_steps_of_each_prediction_over_the_rationals(
    earlier: Fraction, later: Fraction, x_0: Fraction, eps: Fraction
) -> None:
    """SMP-3, SMP-2: x_0, v and score give the x_s of eps over the rationals; the wrong sign of v does not."""
    low, high = sorted((earlier, later))
    if low == high:
        return
    (a_s, s_s), (a, s) = on_circle(low), on_circle(high)
    x = a * x_0 + s * eps
    v, score = a * eps - s * x_0, -eps / s
    found = {
        "eps": ((x - s * eps) / a, eps),
        "x_0": (x_0, (x - a * x_0) / s),
        "v": (a * x - s * v, s * x + a * v),
        "score": ((x + s**2 * score) / a, -s * score),
    }
    assert set(found.values()) == {(x_0, eps)}
    assert {a_s * p + s_s * e for p, e in found.values()} == {a_s * x_0 + s_s * eps}
    wrong = (a * x + s * v, s * x - a * v)
    assert v == 0 or wrong != (x_0, eps)
