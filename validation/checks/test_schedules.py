"""Chapter 1: does a target's schedule obey SCH-1 to SCH-9."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.integrate import romb

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Cosine, Linear, Own, Quantity, Times
from refdiff.conformance.subject import Subject

from ..expected.tiers import KNOWN, C, delta, exact, in_rho_domain, rho
from ..oracles.certified import Floats
from .grids import drawn_times, dyadic_nodes, edges, serves, times
from .readings import readings, rise, starts

CONTINUOUS = (Linear, Cosine, Own)
ALL: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")
BY_RATE: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha")


@check("SCH-1", "schedule", on=CONTINUOUS)
def test_no_noise_at_the_start(subject: Subject) -> None:
    """SCH-1: at t = 0, alpha_bar is 1 by every quantity that tells it, but for a floor of sigma that is declared."""
    if not serves(subject, 0.0):
        raise NotClaimed("the claim has no t = 0")
    zero = np.zeros(1, dtype=subject.format.carrier)
    floor = subject.process.sigma_min if isinstance(subject.process, Own) else 0.0
    bound = C * subject.format.u + floor**2
    for reading in readings(subject, zero, ALL):
        subject.expect(f"alpha_bar by {reading.name}", reading.alpha_bar, Expected(1.0, bound), at={"t": zero})


def _rate(subject: Subject) -> None:
    t = times(subject)
    want = exact(subject.process, "beta", t)
    got = subject.built.quantity("beta", t)
    bound = delta(subject.process, "beta", t, subject.format)
    subject.expect("beta", got, Expected(want.value, bound, residual=want.residual), at={"t": t})


@check("SCH-2", "schedule", on=(Linear,))
def test_linear_rate(subject: Subject) -> None:
    """SCH-2: beta(t) = beta_min + t (beta_max - beta_min), per unit of time."""
    _rate(subject)


@check("SCH-5", "schedule", on=(Cosine,))
def test_cosine_rate(subject: Subject) -> None:
    """SCH-5: beta(t) = pi/(1 + s) tan(pi/2 (t + s)/(1 + s))."""
    _rate(subject)


def _alpha_bar(subject: Subject) -> None:
    t = times(subject)
    want = exact(subject.process, "alpha_bar", t)
    for reading in readings(subject, t, ("alpha_bar", "log_alpha_bar")):
        name = f"alpha_bar by {reading.name}"
        subject.expect(
            name, reading.alpha_bar, Expected(want.value, reading.bound, residual=want.residual), at={"t": t}
        )


@check("SCH-3", "schedule", on=(Linear,))
def test_linear_alpha_bar(subject: Subject) -> None:
    """SCH-3: log_alpha_bar = -(beta_min t + (beta_max - beta_min) t^2/2), and alpha_bar is its exponential."""
    _alpha_bar(subject)


@check("SCH-4", "schedule", on=(Cosine,))
def test_cosine_alpha_bar(subject: Subject) -> None:
    """SCH-4: alpha_bar is a ratio of squared cosines, uncapped."""
    _alpha_bar(subject)


@check("SCH-3", "schedule", on=CONTINUOUS)
def test_alpha_bar_is_the_integral_of_the_rate(subject: Subject) -> None:
    """SCH-3: alpha_bar = exp(-int beta), for the target's own beta.

    Romberg's rule on 64 equal intervals whose ends every format holds exactly; its error is estimated by the
    same rule on every other node.
    """
    nodes = dyadic_nodes(subject)
    beta = subject.built.quantity("beta", subject.format.rounded(nodes)).astype(np.float64)
    cuts = np.array([16, 32, 64])
    spacing = float(nodes[1] - nodes[0])
    integral = np.array([romb(beta[: k + 1], dx=spacing) for k in cuts])
    coarse = np.array([romb(beta[: k + 1 : 2], dx=2.0 * spacing) for k in cuts])
    t = subject.format.rounded(nodes[cuts])
    rate = _loss_of_rate(subject, nodes, cuts, beta)
    first = subject.format.rounded(nodes[:1])
    for reading, start in zip(readings(subject, t, BY_RATE), starts(subject, first, BY_RATE), strict=True):
        want = start.alpha_bar * np.exp(-integral)
        bound = reading.bound + start.bound * np.exp(-integral) + want * (np.abs(integral - coarse) + rate)
        subject.expect(f"exp(-int beta) against {reading.name}", reading.alpha_bar, Expected(want, bound), at={"t": t})


def _loss_of_rate(subject: Subject, nodes: Floats, cuts: npt.NDArray[np.int64], beta: Floats) -> Floats:
    """Return how far the integral of the rate over each cut may be off: its length times the rate's largest bound.

    Of a library's own rate the conditioning is read from the target, and kappa(beta) is at most t beta' + beta.
    """
    fmt = subject.format
    if isinstance(subject.process, Own):
        off = C * fmt.u * (1.0 + 2.0 * beta + nodes * np.abs(np.gradient(beta, nodes[1] - nodes[0])))
    else:
        off = delta(subject.process, "beta", fmt.rounded(nodes), fmt)
    return np.array([(nodes[k] - nodes[0]) * off[: k + 1].max() for k in cuts])


@check("SCH-6", "schedule")
def test_alpha_bar_never_rises(subject: Subject) -> None:
    """SCH-6: alpha_bar and log_snr do not increase, and fall where the exact gap exceeds the bounds."""

    def body(drawn: Times) -> None:
        t = drawn[np.argsort(drawn)]
        at = {"t": t[1:], "after": t[:-1]}
        slack = rise(subject, t)
        for reading in readings(subject, t, ALL):
            step, allowed = np.diff(reading.alpha_bar), slack + reading.rounding
            up = np.maximum(step, 0.0) if not np.isnan(step).any() else step
            subject.expect(f"rise of alpha_bar by {reading.name}", up, Expected(0.0, allowed[1:] + allowed[:-1]), at=at)
            if isinstance(subject.process, KNOWN):
                gap = np.diff(exact(subject.process, "alpha_bar", t).value)
                apart = np.abs(gap) > reading.bound[1:] + reading.bound[:-1]
                # What falls, by however much, is as wanted here; what does not is shown as it is.
                shown = np.where(apart & ~(step < 0.0), step, gap)
                subject.expect(f"fall of alpha_bar by {reading.name}", shown, Expected(gap, 0.0), at=at)

    subject.law(body, drawn=drawn_times(subject, least=2))


@check("SCH-7", "schedule")
def test_log_snr(subject: Subject) -> None:
    """SCH-7: log_snr = log(alpha^2/sigma^2), natural."""
    t = times(subject)
    found = subject.built.coefficients(t)
    if "log_snr" not in found:
        raise NotClaimed("coefficients has no log_snr")
    if isinstance(subject.process, KNOWN):
        want = exact(subject.process, "alpha_bar", t)
        reading = readings(subject, t, ("log_snr",))[0]
        subject.expect(
            "1/(1 + exp(-log_snr))",
            reading.alpha_bar,
            Expected(want.value, reading.bound, residual=want.residual),
            at={"t": t},
        )
        return
    by_log_snr, *others = readings(subject, t, ("log_snr", "alpha_bar", "log_alpha_bar", "alpha", "sigma"))
    for other in others:
        name = f"1/(1 + exp(-log_snr)) against {other.name}"
        subject.expect(
            name, by_log_snr.alpha_bar, Expected(other.alpha_bar, by_log_snr.bound + other.bound), at={"t": t}
        )


@check("SCH-8", "schedule")
def test_one_alpha_bar_behind_all(subject: Subject) -> None:
    """SCH-8: alpha_bar, log_alpha_bar, alpha, sigma and log_snr at one t tell one alpha_bar."""

    def body(t: Times) -> None:
        first, *others = readings(subject, t, ALL)
        if not others:
            raise NotClaimed("coefficients has one quantity only, and nothing to compare it with")
        for other in others:
            name = f"alpha_bar by {other.name} against {first.name}"
            subject.expect(name, other.alpha_bar, Expected(first.alpha_bar, first.bound + other.bound), at={"t": t})

    subject.law(body, t=drawn_times(subject))


@check("SCH-9", "schedule", on=(Linear, Cosine))
def test_relative_accuracy(subject: Subject) -> None:
    """SCH-9: log_alpha_bar, alpha_bar, beta and log_snr are accurate relative to themselves."""
    t = np.concatenate([times(subject), edges(subject)])
    asked = in_rho_domain(subject.process, t, subject.format)
    found = subject.built.coefficients(t)
    names = [name for name in ("log_alpha_bar", "alpha_bar", "beta", "log_snr") if name in found]
    if not names:
        raise NotClaimed("coefficients has none of log_alpha_bar, alpha_bar, beta and log_snr")
    for name in names:
        want, bound = exact(subject.process, name, t), rho(subject.process, name, t, subject.format)
        bound = np.where(asked & (np.abs(want.value) <= subject.format.largest), bound, np.inf)
        bound = np.where(np.isinf(want.value) & asked, 0.0, bound)
        subject.expect(name, found[name], Expected(want.value, bound, residual=want.residual), at={"t": t})
