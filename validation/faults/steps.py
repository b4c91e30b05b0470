"""Faults of the steps em and ode, and of the predictions that steps are given (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Parameterization, Times
from refdiff.conformance.step import Step

from .clean.scales import column, nonzero, wide
from .clean.target import Clean
from .fault import DDPM, LINEAR, OWN, Chapter

FAULTS = Chapter("step", "step")
EM: dict[str, Any] = {"steps": (Step(kind="em"),)}
ODE: dict[str, Any] = {"steps": (Step(kind="ode"),)}


def _of(prediction: Parameterization) -> dict[str, Any]:
    """Return the narrower claim of the steps of a chain by one prediction."""
    return {"steps": (Step(kind="ddpm", prediction=prediction), Step(kind="ddim", prediction=prediction))}


# em.


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def sign_of_the_reverse_drift(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """x_s = x_t - h (beta x_t/2 - beta eps/sigma) + ...

    Meant: x_s = x_t + h (beta x_t/2 - beta eps/sigma) + sqrt(beta h) z.

    Seen: plausible, as dt of the wrong sign.
    """
    return -Clean.reverse_drift(self, x, eps, beta, sigma)


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def score_of_the_flow_in_em(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x/2 - beta eps/(2 sigma).

    Meant: beta x/2 - beta eps/sigma, with the whole score.

    Seen: plausible, as the flow's drift with noise; a half is lost on the way from `probability_flow=True`.
    """
    return 0.5 * beta * (x - eps / sigma)


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def score_doubled(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x/2 - 2 beta eps/sigma.

    Meant: beta x/2 - beta eps/sigma.

    Seen: plausible.
    """
    return 0.5 * beta * x - 2.0 * beta * eps / sigma


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def eps_for_the_score(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x/2 - beta eps.

    Meant: beta x/2 + beta score = beta x/2 - beta eps/sigma.

    Seen: plausible; diffusers' score-SDE VP scheduler is given eps as a "score".
    """
    return 0.5 * beta * x - beta * eps


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def sign_of_the_score(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x/2 + beta eps/sigma.

    Meant: beta x/2 - beta eps/sigma, as the score is -eps/sigma.

    Seen: plausible.
    """
    return Clean.reverse_drift(self, x, -eps, beta, sigma)


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def half_lost_in_the_drift(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x - beta eps/sigma.

    Meant: beta x/2 - beta eps/sigma.

    Seen: plausible.
    """
    return beta * x - beta * eps / sigma


@FAULTS.plant("reverse_drift", breaks="SMP-1", **EM)
def drift_a_thousandth_short(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift has 0.4995 beta x in place of beta x/2.

    Meant: beta x/2 - beta eps/sigma.

    Seen: plausible, as a rate of another discretisation.
    """
    return 0.4995 * beta * x - beta * eps / sigma


@FAULTS.plant("em_deviation", breaks="SMP-1", **EM)
def length_for_its_root(self: Clean, beta: Any, h: Any) -> Any:
    """The noise is sqrt(beta) h z.

    Meant: sqrt(beta h) z.

    Seen: plausible, as dt for sqrt(dt).
    """
    return np.sqrt(beta) * h


@FAULTS.plant("em_deviation", breaks="SMP-1", **EM)
def rate_for_its_root(self: Clean, beta: Any, h: Any) -> Any:
    """The noise is beta sqrt(h) z.

    Meant: sqrt(beta h) z.

    Seen: plausible.
    """
    return beta * np.sqrt(h)


@FAULTS.plant("em_deviation", breaks="SMP-1", **EM)
def no_noise_in_em(self: Clean, beta: Any, h: Any) -> Any:
    """There is no noise.

    Meant: sqrt(beta h) z.

    Seen: plausible.
    """
    return np.zeros_like(beta * h)


@FAULTS.plant("em_deviation", breaks="SMP-1", **EM)
def noise_a_thousandth_short(self: Clean, beta: Any, h: Any) -> Any:
    """The noise is 0.999 sqrt(beta h) z.

    Meant: sqrt(beta h) z.

    Seen: plausible, as a temperature.
    """
    return 0.999 * np.sqrt(beta * h)


@FAULTS.plant("em", breaks="SMP-1", **EM)
def no_noise_in_the_step_to_0(self: Clean, x: Any, eps: Any, z: Any, t: Any, s: Any) -> Any:
    """The step to s = 0 returns its mean.

    Meant: the step to s = 0 adds its noise as any other.

    Seen: plausible; samplers that return `x_mean` at the end are of another rule.
    """
    return Clean.em(self, x, eps, z * column(wide(s) > 0.0, z), t, s)


@FAULTS.plant("em", breaks="SMP-1", **EM)
def rate_at_the_end_of_em(self: Clean, x: Any, eps: Any, z: Any, t: Any, s: Any) -> Any:
    """beta is that at s.

    Meant: beta at t, where the step begins.

    Seen: plausible, as times that were flipped before the loop.
    """
    h, beta, sigma = (column(y, x) for y in (self.length(t, s), self.rate(wide(s)), self.sigma(t)))
    nonzero(sigma)
    return x + h * self.reverse_drift(x, eps, beta, sigma) + self.em_deviation(beta, h) * z


# ode.


@FAULTS.plant("flow_drift", breaks="SMP-4", **ODE)
def flow_forwards(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """x_s = x_t - h beta (x_t - eps/sigma)/2.

    Meant: x_s = x_t + h beta (x_t - eps/sigma)/2, as t falls.

    Seen: plausible, as dt of the wrong sign.
    """
    return -Clean.flow_drift(self, x, eps, beta, sigma)


@FAULTS.plant("flow_drift", breaks="SMP-4", **ODE)
def score_of_the_sde_in_the_flow(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta x/2 - beta eps/sigma.

    Meant: beta (x - eps/sigma)/2, with half of the score.

    Seen: plausible, as the reverse SDE without its noise.
    """
    return 0.5 * beta * x - beta * eps / sigma


@FAULTS.plant("flow_drift", breaks="SMP-4", **ODE)
def flow_without_its_half(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta (x - eps/sigma).

    Meant: beta (x - eps/sigma)/2.

    Seen: https://github.com/deepinv/deepinv/pull/1343, a factor of 2 in a derivative of the schedule.
    """
    return beta * (x - eps / sigma)


@FAULTS.plant("flow_drift", breaks="SMP-4", **ODE)
def variance_for_deviation_in_the_flow(self: Clean, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
    """The drift is beta (x - eps/sigma^2)/2.

    Meant: beta (x - eps/sigma)/2.

    Seen: plausible.
    """
    return 0.5 * beta * (x - eps / sigma**2)


@FAULTS.plant("length", breaks="SMP-4", **ODE)
def length_of_another_grid(self: Clean, t: Any, s: Any) -> Any:
    """h = 1/1000, whatever t - s is.

    Meant: h = t - s.

    Seen: diffusers' ScoreSdeVpScheduler steps by -1/N along a grid over [eps, 1],
    https://github.com/huggingface/diffusers.
    """
    return np.full(np.shape(t), 1e-3)


@FAULTS.plant("length", breaks="SMP-1 SMP-4", steps=(Step(kind="em"), Step(kind="ode")))
def length_negative(self: Clean, t: Any, s: Any) -> Any:
    """h = s - t.

    Meant: h = t - s, above 0.

    Seen: plausible; the root of a negative length is NaN in em.
    """
    return wide(s) - wide(t)


# What a prediction is taken for.


@FAULTS.plant("part", breaks="SMP-2 SMP-3", on=DDPM, **_of("x_0"))
def x_0_taken_for_eps(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """A prediction of x_0 is taken for one of eps.

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: plausible, as `prediction_type` that a sampler ignores.
    """
    return self.converted(value, x, t, "eps" if source == "x_0" else source, to)


@FAULTS.plant("part", breaks="SMP-2 SMP-3", on=DDPM, **_of("v"))
def v_taken_for_eps(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """A prediction of v is taken for one of eps.

    Meant: eps = sigma x_t + alpha v.

    Seen: plausible, as `prediction_type` that a sampler ignores.
    """
    return self.converted(value, x, t, "eps" if source == "v" else source, to)


@FAULTS.plant("part", breaks="SMP-2 SMP-3", on=DDPM, **_of("v"))
def v_negated(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """A prediction of v is taken for -v.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible, as flow matching's velocity, which points the other way.
    """
    return self.converted(-value if source == "v" else value, x, t, source, to)


@FAULTS.plant("part", breaks="SMP-2 SMP-3", on=DDPM, **_of("score"))
def score_divided_by_the_variance(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """A prediction of the score is taken for -eps/sigma^2.

    Meant: score = -eps/sigma.

    Seen: plausible.
    """
    if source == "score":
        value = column(self.sigma(t), x) * value
    return self.converted(value, x, t, source, to)


@FAULTS.plant("part", breaks="SMP-2 SMP-3", on=DDPM, **_of("eps"))
def eps_negated(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """A prediction of eps is taken for -eps.

    Meant: eps, as the score is -eps/sigma.

    Seen: plausible.
    """
    return self.converted(-value if source == "eps" else value, x, t, source, to)


@FAULTS.plant("part", breaks="SMP-5", on=OWN, also=("perturb",), **_of("v"))
def v_negated_of_its_own(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """A prediction of v is taken for -v, on a process of the library's own.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible.
    """
    return self.converted(-value if source == "v" else value, x, t, source, to)


@FAULTS.plant("part", breaks="SMP-1 SMP-4", on=LINEAR, steps=(Step(kind="em"), Step(kind="ode")))
def eps_taken_for_the_score(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """A prediction of eps is taken for the score.

    Meant: score = -eps/sigma.

    Seen: diffusers' score-SDE VP scheduler takes eps for a score, https://github.com/huggingface/diffusers.
    """
    return self.converted(value, x, t, "score", to)
