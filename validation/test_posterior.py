"""Chapter 2: does a target's posterior obey MAR-7 and MAR-8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.interface import Chain, Times
from refdiff.conformance.subject import Subject

from .certify import KNOWN, exact
from .grids import drawn_data, drawn_times, times
from .oracles.certified import Floats, Quantity
from .readings import scales, uncertainty, unit_scales
from .serving import served

SCALES: tuple[Quantity, Quantity] = ("alpha", "variance")


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """Where MAR-7 speaks, and its bounds on the variance, and on a coefficient of the mean."""

    clear: npt.NDArray[np.bool_]
    variance: Floats
    coefficient: Floats


def _bounds(
    subject: Subject, s: Times, t: Times, alphas: tuple[Floats, Floats], variances: tuple[Floats, Floats]
) -> Bounds:
    (a_s, a_t), (v_s, v_t), u = alphas, variances, subject.format.u
    d_s, d_t = (uncertainty(subject, x) for x in (s, t))
    with np.errstate(all="ignore"):
        e = d_s + d_t + (d_t + d_s) / a_s**2
        ratio = a_t / a_s
        between = v_t - ratio**2 * v_s
        variance, on_x_t = between * v_s / v_t, ratio * v_s / v_t
        by_root = np.fmin(e / (on_x_t * v_t), np.sqrt(e / v_t))
        return Bounds(
            (8.0 * e <= v_t) & (s < t),
            2.0 * e * (between + v_s + variance) / v_t + 4.0 * u * variance,
            (4.0 * e / v_t + by_root) / ratio,
        )


@check("MAR-7", "posterior", on=KNOWN)
def test_posterior(subject: Subject) -> None:
    """MAR-7: mean and variance of q(x_s | x_t, x_0), for steps of any length."""
    t = times(subject)
    share = subject.rng().random(len(t))
    strided = (
        np.floor(t * share).astype(np.int64)
        if isinstance(subject.process, Chain)
        else subject.format.rounded(t * share)
    )
    if not isinstance(subject.process, Chain):
        _compare(subject, strided, t)
        return
    # Apart: a library may serve adjacent steps only.
    served(
        subject, ("adjacent", "strided"), lambda kind: _compare(subject, t - 1 if kind == "adjacent" else strided, t)
    )


def _compare(subject: Subject, s: Times, t: Times) -> None:
    alphas, variances = (
        (exact(subject.process, name, s).value, exact(subject.process, name, t).value) for name in SCALES
    )
    bounds = _bounds(subject, s, t, alphas, variances)
    s, t = s[bounds.clear], t[bounds.clear]
    if len(t) == 0:
        return
    (a_s, a_t), (v_s, v_t) = (tuple(x[bounds.clear] for x in pair) for pair in (alphas, variances))
    logs = [exact(subject.process, "log_alpha_bar", x).value for x in (s, t)]
    between = -np.expm1(logs[1] - logs[0])
    x_0, x_t = (drawn_data(subject, t, (2,), key) for key in (1, 2))
    mean, variance = subject.built.posterior(x_t, x_0, t, s)
    on_x_0, on_x_t = a_s * between / v_t, a_t / a_s * v_s / v_t
    want = on_x_0[:, None] * x_0.astype(np.float64) + on_x_t[:, None] * x_t.astype(np.float64)
    size = np.abs(x_0.astype(np.float64)) + np.abs(x_t.astype(np.float64))
    at = {"t": t, "s": s}
    subject.expect("posterior variance", variance, between * v_s / v_t, bounds.variance[bounds.clear], at=at)
    subject.expect("posterior mean", mean, want, bounds.coefficient[bounds.clear][:, None] * size, at=at)


@check("MAR-8", "posterior", "perturb")
def test_posterior_undoes_the_marginal(subject: Subject) -> None:
    """MAR-8: x_t from the marginal and x_s from the posterior give x_s from the marginal."""
    adjacent = isinstance(subject.process, Chain)
    served(subject, ("adjacent", "strided") if adjacent else ("strided",), lambda kind: _undoes(subject, kind))


def _undoes(subject: Subject, kind: str) -> None:
    def body(t: Times, fraction: float) -> None:
        if isinstance(subject.process, Chain):
            earlier: Times = t - 1 if kind == "adjacent" else np.floor(t * fraction).astype(np.int64)
        else:
            earlier = subject.format.rounded(t * fraction)
        # k = 0 is the data itself, which `perturb` is not asked for.
        kept = (t > earlier) & (earlier >= (1 if isinstance(subject.process, Chain) else 0))
        if not kept.all():
            return
        alpha_s, sigma_s = unit_scales(subject, earlier)
        alpha_t, sigma_t = unit_scales(subject, t)
        bounds = _bounds(subject, earlier, t, (alpha_s, alpha_t), (sigma_s**2, sigma_t**2))
        if not bounds.clear.all():
            return
        one = np.ones((len(t), 1), dtype=subject.format.carrier)
        on_x_0, variance = subject.built.posterior(np.zeros_like(one), one, t, earlier)
        on_x_t, again = subject.built.posterior(one, np.zeros_like(one), t, earlier)
        a, b = (x[:, 0].astype(np.float64) for x in (on_x_0, on_x_t))
        at = {"t": t, "s": earlier}
        known, bound = [scales(subject, x) for x in (earlier, t)], bounds.coefficient
        slack = known[0].d_alpha + np.abs(b) * known[1].d_alpha
        subject.expect("A + B alpha_t against alpha_s", a + b * alpha_t, alpha_s, 2.0 * bound + slack, at=at)
        power = b**2 * sigma_t**2 + variance.astype(np.float64)
        loss = bounds.variance + 2.0 * uncertainty(subject, t) + 2.0 * uncertainty(subject, earlier)
        limit = loss + (2.0 * np.abs(b) + bound) * sigma_t**2 * bound
        subject.expect("B^2 sigma_t^2 + variance against sigma_s^2", power, sigma_s**2, limit, at=at)
        first = variance.astype(np.float64)
        subject.expect("variance, whatever x is", again, first, 2.0 * bounds.variance, at=at)

    subject.law(body, t=drawn_times(subject, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))
