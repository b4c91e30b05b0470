"""Steps from the target's own marginal at t, with the true prediction, to that at s (SMP-5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.comparison import Expected
from refdiff.conformance.interface import Array, Own, Times
from refdiff.conformance.step import Step

from ..expected.conversions import PARTS, parts, parts_of, sensitivity
from ..expected.posteriors import Tolerances
from ..expected.steps import ROUNDINGS
from ..expected.tiers import Scales, column, divides
from ..oracles.certified import Floats
from .grids import drawn_times, event_of
from .inferred import placed, scales, unit_scales
from .posteriors import tolerances
from .probes import earlier

SILENT = 2.0**-30
"""Deviation of noise that counts as none (SMP-6)."""


@final
@dataclass(frozen=True, slots=True)
class Way:
    """A step from t to s, with the target's own (alpha, sigma) at both, and their tolerances."""

    s: Times
    t: Times
    own_s: tuple[Floats, Floats]
    own_t: tuple[Floats, Floats]
    at_s: Scales
    at_t: Scales

    @property
    def at(self) -> Mapping[str, Times]:
        """What the report shows of it."""
        return {"t": self.t, "s": self.s}


def lands(case: Case, asked: Step) -> None:
    """Hold a step to the marginal at s, from the target's own marginal at t, with the true prediction."""

    def body(t: Times, fraction: float) -> None:
        chain = case.steps
        # Adjacent, as every library serves; the stride of a chain is judged by SMP-2 and SMP-3.
        s: Times = t - 1 if chain else earlier(case, t, fraction)
        if not ((s < t) & (s >= (1 if chain else 0))).all():
            return
        at_s, at_t = (scales(case, x) for x in (s, t))
        if not divides(at_t.alpha, at_t.d_alpha).all():
            return
        (a_s, s_s), (a_t, s_t) = unit_scales(case, s), unit_scales(case, t)
        limits = tolerances(case, s, t, (a_s, a_t), (s_s**2, s_t**2))
        if limits.domain.all():
            way = Way(s, t, (a_s, s_s), (a_t, s_t), at_s, at_t)
            if asked.kind == "ddim" and asked.eta == 0.0:
                _without_noise(case, asked, way)
            else:
                _with_noise(case, asked, way, limits)

    case.law(body, t=drawn_times(case, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))


def _without_noise(case: Case, asked: Step, way: Way) -> None:
    (on_x_0, more_x_0), (on_eps, more_eps) = (_stepped(case, asked, way, name) for name in ("x_0", "eps"))
    for_alpha, for_sigma = _errors_of_step(way, case.format.u)
    wanted = Expected(way.own_s[0], for_alpha + more_x_0), Expected(way.own_s[1], for_sigma + more_eps)
    case.expect(f"{asked}: alpha_t against alpha_s", on_x_0, wanted[0], at=way.at)
    case.expect(f"{asked}: sigma_t against sigma_s", on_eps, wanted[1], at=way.at)
    if case.claim.contract > 1:
        on_noise, _ = _stepped(case, asked, way, "noise")
        case.expect(f"{asked}: noise", on_noise, Expected(0.0, SILENT), at=way.at)


def _with_noise(case: Case, asked: Step, way: Way, limits: Tolerances) -> None:
    (a_s, s_s), (a_t, s_t), at_s, u = way.own_s, way.own_t, way.at_s, case.format.u
    (on_x_0, more_x_0), (on_eps, more_eps) = (_stepped(case, asked, way, name) for name in ("x_0", "eps"))
    on_noise, _ = _stepped(case, asked, way, "noise")
    for_alpha, for_sigma = _errors_of_step(way, u)
    tolerance_of_alpha = 4.0 * limits.coefficient + for_alpha
    case.expect(f"{asked}: alpha_t against alpha_s", on_x_0, Expected(a_s, tolerance_of_alpha + more_x_0), at=way.at)
    v_s, ratio = s_s**2, (a_t / a_s) ** 2
    variance = v_s * (1.0 - ratio * v_s / s_t**2)
    # Noise of the transition is more than the posterior's: with that, the powers add up.
    power = on_eps**2 + (variance if asked.variance == "beta" else on_noise**2)
    more = 2.0 * limits.variance + 8.0 * u * v_s + 2.0 * at_s.d_sigma * at_s.sigma + at_s.d_sigma**2
    of_eps = tolerance_of_alpha + for_sigma + more_eps
    tolerance = more + (2.0 * np.abs(on_eps) + of_eps) * of_eps
    # A tolerance that grows with what the target returns is none where that is infinite.
    expected = Expected(v_s, np.where(np.isfinite(power), tolerance, 0.0))
    case.expect(f"{asked}: variance by eps and by noise against sigma_s^2", power, expected, at=way.at)
    if isinstance(case.process, Own):
        # Of a process that is known, SMP-2 says so. Both sides know the scales as well as limits.variance has it.
        if asked.variance == "beta":
            expected = Expected(1.0 - ratio, 2.0 * limits.added + ROUNDINGS * u, way.s > 0)
        else:
            share = asked.eta**2 if asked.kind == "ddim" else 1.0
            expected = Expected(share * variance, 2.0 * limits.variance + ROUNDINGS * u * v_s)
        case.expect(f"{asked}: variance by noise against its formula", on_noise**2, expected, at=way.at)


def _stepped(case: Case, asked: Step, way: Way, only: str) -> tuple[Floats, Floats]:
    """Return x_s of a step from the marginal at t, where one of x_0, eps and the noise is 1 and the others are 0.

    Beside it: the tolerance of what the conversion of the prediction adds, 0 for eps.
    """
    one = np.ones((len(way.t), *event_of(case, (1,))), dtype=case.format.storage)
    x_0, eps, noise = (one if only == name else np.zeros_like(one) for name in ("x_0", "eps", "noise"))
    x_t = placed(case, x_0, eps, way.t)
    alpha, sigma = way.own_t
    own = Scales(alpha, sigma, np.zeros_like(alpha), np.zeros_like(sigma))
    wide = parts(x_0.astype(np.float64), eps.astype(np.float64), own)[asked.prediction]
    value = case.format.rounded(wide)
    x_s = case.built.step(x_t, value, way.t, way.s, noise, asked)
    more = np.zeros(one.shape) if asked.prediction == "eps" else _conversion(case, asked, way, value, x_t)
    firsts = (np.asarray(y.reshape(len(way.t), -1)[:, 0].astype(np.float64)) for y in (x_s, more))
    return next(firsts), next(firsts)


def _conversion(case: Case, asked: Step, way: Way, value: Array, x_t: Array) -> Floats:
    """Return by how much x_s may be off for the errors of x_0_hat and eps_hat, and for the rounding of the value."""
    wide = (value.astype(np.float64), x_t.astype(np.float64))
    found, per = parts_of(asked.prediction, *wide, way.at_t, case.format), (way.at_s.alpha, way.at_s.sigma)
    total = np.zeros(x_t.shape)
    for name, part, factor in zip(PARTS, found, per, strict=True):
        slope = 1.0 if name == asked.prediction else sensitivity((asked.prediction, name), value, x_t, way.at_t)
        rounded = case.format.u * np.abs(wide[0]) * slope
        total = total + column(factor, x_t.ndim) * (part.tolerance + rounded)
    return 2.0 * total


def _errors_of_step(way: Way, u: float) -> tuple[Floats, Floats]:
    """Return the tolerances of alpha_s and sigma_s after a step from the marginal at t.

    One rounding of x_t, and the tolerances of alpha_t and sigma_t, are carried over by the step.
    """
    at_s, at_t = way.at_s, way.at_t
    ratio = at_s.alpha / at_t.alpha
    alpha = 2.0 * (at_s.d_alpha + ratio * at_t.d_alpha) + ROUNDINGS * u * at_s.alpha
    sigma = 2.0 * (at_s.d_sigma + ratio * at_t.d_sigma) + ROUNDINGS * u * (at_s.sigma + ratio * at_t.sigma)
    return alpha, sigma + 2.0 * ratio * (at_t.sigma + at_t.d_sigma) * at_t.d_alpha / at_t.alpha
