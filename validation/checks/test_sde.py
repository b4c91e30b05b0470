"""Chapter 3: does a target's SDE obey SDE-1 to SDE-4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Cosine, Linear, Own, Quantity, Times
from refdiff.conformance.subject import Subject

from ..expected.integral import CUTS, romberg
from ..expected.tiers import JUDGE_U, delta, exact, root
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_times, dyadic_nodes, event_of, times
from .inferred import inferred, starts, uncertainty, unit_scales

CONTINUOUS = (Linear, Cosine, Own)
ALL: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")
KEYS = st.integers(0, 2**16)


def _rate(subject: Subject, event: tuple[int, ...] = ()) -> tuple[Times, Floats, Floats]:
    """Return times with a finite rate, the rate, and its tolerance."""
    t = times(subject, event=event)
    t = t[np.isfinite(exact(subject.process, "beta", t).value)]
    return t, exact(subject.process, "beta", t).value, delta(subject.process, "beta", t, subject.format)


@check("SDE-1", "sde", on=(Linear, Cosine))
def test_drift(subject: Subject) -> None:
    """SDE-1: f(x, t) = -1/2 beta(t) x."""
    event = event_of(subject, (2,))
    t, beta, d_beta = _rate(subject, event)
    x = drawn_data(subject, t, event, 1)
    shape = (-1, *(1,) * len(event))
    size = np.abs(x.astype(np.float64))
    want = -0.5 * beta.reshape(shape) * x.astype(np.float64)
    bound = 0.5 * size * d_beta.reshape(shape) + (4.0 * subject.format.u + JUDGE_U) * np.abs(want)
    bound = bound + subject.format.smallest
    subject.expect("drift", subject.built.drift(x, t), _in_range(subject, Expected(want, bound), want), at={"t": t})


@check("SDE-2", "sde", on=(Linear, Cosine))
def test_diffusion(subject: Subject) -> None:
    """SDE-2: g(t) = sqrt(beta(t)) >= 0."""
    t, beta, d_beta = _rate(subject)
    # tan(pi/2 (t + s)/(1 + s)) in float32 falls below 0 one float before t = 1 for s = 0.0092: within delta, no root.
    kept = beta > d_beta
    if not kept.any():
        return
    t, beta, d_beta = t[kept], beta[kept], d_beta[kept]
    got = subject.built.diffusion(t)
    # The clause bounds g^2; reported as an error of g, which is what the target gave. A g below 0 has no tolerance.
    square = d_beta + (4.0 * subject.format.u + JUDGE_U) * beta + subject.format.smallest
    tolerance = np.where(got >= 0.0, root(got.astype(np.float64), np.sqrt(beta), square), 0.0)
    subject.expect("diffusion", got, _in_range(subject, Expected(np.sqrt(beta), tolerance), beta), at={"t": t})


@check("SDE-3", "sde", on=CONTINUOUS)
def test_variance_is_preserved(subject: Subject) -> None:
    """SDE-3: f(x, t) = -1/2 g(t)^2 x: the drift takes out of the variance what the noise brings in."""
    event = event_of(subject, (2,))
    shape = (-1, *(1,) * len(event))

    def body(t: Times, key: int) -> None:
        if not isinstance(subject.process, Own):
            t = t[np.isfinite(exact(subject.process, "beta", t).value)]
        if len(t) == 0:
            return
        x = drawn_data(subject, t, event, key)
        g = subject.built.diffusion(t).astype(np.float64).reshape(shape)
        got = subject.built.drift(x, t)
        if not (np.isfinite(g).all() and np.isfinite(got).all()):
            return
        want = -0.5 * g**2 * x.astype(np.float64)
        bound = 8.0 * subject.format.u * np.abs(want) + 4.0 * subject.format.smallest
        if not isinstance(subject.process, Own):
            d_beta = delta(subject.process, "beta", t, subject.format)
            bound = bound + np.abs(x.astype(np.float64)) * d_beta.reshape(shape)
        subject.expect("drift against -1/2 g^2 x", got, _in_range(subject, Expected(want, bound), want), at={"t": t})

    subject.law(body, t=drawn_times(subject), key=KEYS)


@check("SDE-4", "sde", on=CONTINUOUS)
def test_rate_is_that_of_the_marginal(subject: Subject) -> None:
    """SDE-4: log alpha_bar falls by the integral of g^2.

    Romberg's rule on 64 equal intervals whose ends every format holds exactly; its error is estimated by the same
    rule on every other node.
    """
    nodes = dyadic_nodes(subject)
    g = subject.built.diffusion(subject.format.rounded(nodes)).astype(np.float64)
    integral, error = romberg(g**2, float(nodes[1] - nodes[0]))
    t, first = subject.format.rounded(nodes[CUTS]), subject.format.rounded(nodes[:1])
    # A rate within its bound at every node is an integral within the mean of the bounds; 8u for g^2 of an Own.
    d_integral = 8.0 * subject.format.u * integral
    if not isinstance(subject.process, Own):
        d_beta = delta(subject.process, "beta", subject.format.rounded(nodes), subject.format)
        d_integral = d_integral + np.array([d_beta[: k + 1].max() for k in CUTS]) * (nodes[CUTS] - nodes[0])
    share = np.exp(-integral)
    d_alpha_bar = share * np.expm1(error + d_integral)
    if "schedule" in subject.capabilities:
        for one, start in zip(inferred(subject, t, ALL), starts(subject, first, ALL), strict=True):
            name = f"alpha_bar by {one.name} against exp(-int g^2)"
            expected = Expected(start.alpha_bar * share, one.tolerance + share * start.tolerance + d_alpha_bar)
            subject.expect(name, one.alpha_bar, expected, at={"t": t})
        return
    if "perturb" not in subject.capabilities:
        if isinstance(subject.process, Own):
            raise NotClaimed("of a process of its own, the SDE is held against its schedule or its noising")
        logs, log = (exact(subject.process, "log_alpha_bar", x).value for x in (t, first))
        subject.expect("exp(-int g^2)", share, Expected(np.exp(logs - log), d_alpha_bar + JUDGE_U), at={"t": t})
        return
    (alpha, _), (begin, _) = unit_scales(subject, t), unit_scales(subject, first)
    bound = uncertainty(subject, t) + share * uncertainty(subject, first) + 8.0 * subject.format.u + d_alpha_bar
    subject.expect("alpha^2 of perturb against exp(-int g^2)", alpha**2, Expected(begin**2 * share, bound), at={"t": t})


def _in_range(subject: Subject, expected: Expected, size: Floats) -> Expected:
    """Return the expected value on the domain where a result of this size is inside the range of the format."""
    return replace(expected, domain=np.abs(size) + expected.tolerance < subject.format.largest)
