"""Chapter 2: does a target's posterior obey MAR-7 and MAR-8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Own, Times

from ..expected.posteriors import Tolerances, posterior, scales_of
from ..expected.tiers import KNOWN
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_times, event_of, times
from .inferred import scales, uncertainty, unit_scales
from .posteriors import tolerances
from .probes import affordable, earlier, probe
from .serving import served

FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375])
"""Shares of the way to t at which a step ends."""


@check("MAR-7", "posterior", on=KNOWN)
def test_posterior(case: Case) -> None:
    """MAR-7: mean and variance of q(x_s | x_t, x_0), for steps of any length."""
    t = times(case)
    strided = earlier(case, t, case.rng().random(len(t)))
    # Apart: a library may serve adjacent steps only, or none to the data.
    apart = {"adjacent": t - 1} if case.steps else {"to the data": earlier(case, t, 0.0)}
    ends = {**apart, "strided": strided}
    served(case, tuple(ends), lambda kind: _compare(case, ends[kind], t))


def _compare(case: Case, s: Times, t: Times) -> None:
    limits = tolerances(case, s, t, *scales_of(case.process, s, t))
    s, t = s[limits.domain], t[limits.domain]
    event = event_of(case, (2,))
    kept = affordable(case, len(t), event, 3)
    if len(kept) == 0:
        return
    s, t = s[kept], t[kept]
    t, s, (x_0, x_t) = probe(t, s, *(drawn_data(case, t, event, key) for key in (1, 2)))
    limits = tolerances(case, s, t, *scales_of(case.process, s, t))
    mean, variance = posterior(case.process, s, t, x_0, x_t, limits)
    got = case.built.posterior(x_t, x_0, t, s)
    case.expect("posterior variance", got[1], variance, at={"t": t, "s": s})
    case.expect("posterior mean", got[0], mean, at={"t": t, "s": s})


@check("MAR-8", "posterior", "perturb")
def test_posterior_undoes_the_marginal(case: Case) -> None:
    """MAR-8: x_t from the marginal and x_s from the posterior give x_s from the marginal."""
    adjacent = case.steps
    if case.steps == 1:
        raise NotClaimed("a chain of one step has the posterior at s = 0 alone")
    served(case, ("adjacent", "strided") if adjacent else ("strided",), lambda kind: _undoes(case, kind))


@check("MAR-7", "posterior", "perturb", on=(Chain, Own))
def test_posterior_by_own_scales(case: Case) -> None:
    """MAR-7: V and the factor of x_t follow from the alpha and sigma of the target's own `perturb`.

    MAR-8 alone leaves a choice: it also holds for the step of DDIM with any eta.
    """
    if case.steps == 1:
        raise NotClaimed("a chain of one step has the posterior at s = 0 alone")
    served(case, ("adjacent", "strided") if case.steps else ("strided",), lambda kind: _follows(case, kind))


@dataclass(frozen=True)
class _Own:
    """What the target's own `perturb` says of a pair of times, and what its posterior says."""

    s: Times
    alphas: tuple[Floats, Floats]
    sigmas: tuple[Floats, Floats]
    limits: Tolerances
    on_x_0: Floats
    on_x_t: Floats
    variances: tuple[Floats, Floats]
    """The variance for x_0 alone, and for x_t alone."""


def _own(case: Case, kind: str, t: Times, fraction: float) -> _Own | None:
    """Return scales and posterior of an adjacent or a longer step to each t; None outside the domain of MAR-7."""
    s: Times = t - 1 if kind == "adjacent" else earlier(case, t, fraction)
    # k = 0 is the data itself, which `perturb` is not asked for.
    if not ((t > s) & (s >= (1 if case.steps else 0))).all():
        return None
    alpha_s, sigma_s = unit_scales(case, s)
    alpha_t, sigma_t = unit_scales(case, t)
    limits = tolerances(case, s, t, (alpha_s, alpha_t), (sigma_s**2, sigma_t**2))
    if not limits.domain.all():
        return None
    one = np.ones((len(t), *event_of(case, (1,))), dtype=case.format.storage)
    on_x_0, variance = case.built.posterior(np.zeros_like(one), one, t, s)
    on_x_t, again = case.built.posterior(one, np.zeros_like(one), t, s)
    a, b = (x.reshape(len(t), -1)[:, 0].astype(np.float64) for x in (on_x_0, on_x_t))
    both = variance.astype(np.float64), again.astype(np.float64)
    return _Own(s, (alpha_s, alpha_t), (sigma_s, sigma_t), limits, a, b, both)


def _follows(case: Case, kind: str) -> None:
    def body(t: Times, fraction: float) -> None:
        found = _own(case, kind, t, fraction)
        if found is None:
            return
        (alpha_s, alpha_t), (v_s, v_t) = found.alphas, (sigma**2 for sigma in found.sigmas)
        ratio, at = alpha_t / alpha_s, {"t": t, "s": found.s}
        # Both sides come from the target: each has the error of the bound at most.
        variance = Expected((v_t - ratio**2 * v_s) * v_s / v_t, 2.0 * found.limits.variance)
        case.expect("posterior variance", found.variances[0], variance, at=at)
        case.expect("factor of x_t", found.on_x_t, Expected(ratio * v_s / v_t, 2.0 * found.limits.coefficient), at=at)

    case.law(body, t=drawn_times(case, most=3), fraction=FRACTIONS)


def _undoes(case: Case, kind: str) -> None:
    def body(t: Times, fraction: float) -> None:
        found = _own(case, kind, t, fraction)
        if found is None:
            return
        (alpha_s, alpha_t), (sigma_s, sigma_t), limits = found.alphas, found.sigmas, found.limits
        a, b, at = found.on_x_0, found.on_x_t, {"t": t, "s": found.s}
        known, bound = [scales(case, x) for x in (found.s, t)], limits.coefficient
        # A bound that grows with what the target says is none where that is infinite.
        d_mean = np.where(np.isfinite(b), known[0].d_alpha + np.abs(b) * known[1].d_alpha, 0.0)
        case.expect("A + B alpha_t against alpha_s", a + b * alpha_t, Expected(alpha_s, 2.0 * bound + d_mean), at=at)
        first, again = found.variances
        d_power = limits.variance + 2.0 * uncertainty(case, t) + 2.0 * uncertainty(case, found.s)
        tolerance = np.where(np.isfinite(b), d_power + (2.0 * np.abs(b) + bound) * sigma_t**2 * bound, 0.0)
        power = Expected(sigma_s**2, tolerance)
        case.expect("B^2 sigma_t^2 + variance against sigma_s^2", b**2 * sigma_t**2 + first, power, at=at)
        case.expect("variance, whatever x is", again, Expected(first, 2.0 * limits.variance), at=at)

    case.law(body, t=drawn_times(case, most=3), fraction=FRACTIONS)


@check("DIS-4", "posterior", on=(Chain,))
def test_every_index(case: Case) -> None:
    """DIS-4: at every k, the posterior of the adjacent step, and of one that strides over a tenth of the chain."""
    assert isinstance(case.process, Chain)
    steps = len(case.process.betas)
    k, stride = np.arange(2, steps + 1), max(steps // 10, 2)
    if steps < 2:
        raise NotClaimed("a chain of one step has the posterior at s = 0 alone")
    strided = np.arange(stride + 1, steps + 1)
    pairs = {"adjacent": (k - 1, k)} | ({"strided": (strided - stride, strided)} if len(strided) else {})
    served(case, tuple(pairs), lambda kind: _compare(case, *pairs[kind]))
