"""Chapter 2: does a target's posterior obey MAR-7 and MAR-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.interface import Chain, Times
from refdiff.conformance.subject import Subject

from .certify import KNOWN, exact
from .grids import drawn_data, drawn_times, times
from .oracles.certified import Floats
from .readings import scales, uncertainty, unit_scales


def _clear(
    subject: Subject, s: Times, t: Times, alpha_bar_s: Floats, variance_t: Floats
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return where MAR-7 speaks, and its bound on a coefficient."""
    d_s, d_t = (uncertainty(subject, x) for x in (s, t))
    with np.errstate(all="ignore"):
        e = d_s + d_t + (d_t + d_s) / alpha_bar_s
        return (8.0 * e <= variance_t) & (s < t), 4.0 * e / variance_t


@check("MAR-7", "posterior", on=KNOWN)
def test_posterior(subject: Subject) -> None:
    """MAR-7: mean and variance of q(x_s | x_t, x_0)."""
    t = times(subject)
    rng = subject.rng()
    s: Times
    if isinstance(subject.process, Chain):
        # Half of them adjacent steps, half strided, down to k = 0.
        s = np.where(rng.random(len(t)) < 0.5, t - 1, np.floor(t * rng.random(len(t)))).astype(np.int64)
    else:
        s = subject.format.rounded(t * rng.random(len(t)))
    known = exact(subject.process, "alpha_bar", s).value, exact(subject.process, "variance", t).value
    clear, bound = _clear(subject, s, t, *known)
    s, t, bound = s[clear], t[clear], bound[clear]
    if len(t) == 0:
        return
    ab_s, ab_t = (exact(subject.process, "alpha_bar", x).value for x in (s, t))
    v_s, v_t = (exact(subject.process, "variance", x).value for x in (s, t))
    logs = [exact(subject.process, "log_alpha_bar", x).value for x in (s, t)]
    between = -np.expm1(logs[1] - logs[0])
    x_0, x_t = (drawn_data(subject, t, (2,), key) for key in (1, 2))
    mean, variance = subject.built.posterior(x_t, x_0, t, s)
    on_x_0, on_x_t = np.sqrt(ab_s) * between / v_t, np.sqrt(ab_t / ab_s) * v_s / v_t
    want = on_x_0[:, None] * x_0.astype(np.float64) + on_x_t[:, None] * x_t.astype(np.float64)
    size = np.abs(x_0.astype(np.float64)) + np.abs(x_t.astype(np.float64))
    at = {"t": t, "s": s}
    subject.expect("posterior variance", variance, between * v_s / v_t, bound, at=at)
    subject.expect("posterior mean", mean, want, bound[:, None] * size, at=at)


@check("MAR-8", "posterior", "perturb")
def test_posterior_undoes_the_marginal(subject: Subject) -> None:
    """MAR-8: x_t from the marginal and x_s from the posterior give x_s from the marginal."""

    def body(t: Times, fraction: float) -> None:
        earlier = (
            np.floor(t * fraction).astype(np.int64) if t.dtype == np.int64 else subject.format.rounded(t * fraction)
        )
        if t.dtype == np.int64 and (earlier < 1).any():
            return
        alpha_s, sigma_s = unit_scales(subject, earlier)
        alpha_t, sigma_t = unit_scales(subject, t)
        clear, bound = _clear(subject, earlier, t, alpha_s**2, sigma_t**2)
        if not clear.all():
            return
        one = np.ones((len(t), 1), dtype=subject.format.carrier)
        on_x_0, variance = subject.built.posterior(np.zeros_like(one), one, t, earlier)
        on_x_t, again = subject.built.posterior(one, np.zeros_like(one), t, earlier)
        a, b = (x[:, 0].astype(np.float64) for x in (on_x_0, on_x_t))
        at = {"t": t, "s": earlier}
        known = [scales(subject, x) for x in (earlier, t)]
        slack = known[0].d_alpha + np.abs(b) * known[1].d_alpha
        subject.expect("A + B alpha_t against alpha_s", a + b * alpha_t, alpha_s, 2.0 * bound + slack, at=at)
        power = b**2 * sigma_t**2 + variance.astype(np.float64)
        loss = 2.0 * uncertainty(subject, t) + 2.0 * uncertainty(subject, earlier)
        limit = (1.0 + 2.0 * np.abs(b) * sigma_t**2) * bound + bound**2 + loss
        subject.expect("B^2 sigma_t^2 + variance against sigma_s^2", power, sigma_s**2, limit, at=at)
        subject.expect("variance, whatever x is", again, variance.astype(np.float64), 2.0 * bound, at=at)

    subject.law(body, t=drawn_times(subject, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))
