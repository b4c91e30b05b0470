"""Chapter 1: does a target's schedule obey SCH-1 to SCH-9."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Cosine, Linear, Own, Quantity, Times

from ..expected.integral import CUTS, romberg
from ..expected.tiers import KNOWN, C, delta, exact, must, of_variance, should
from ..oracles.certified import Floats
from .grids import drawn_times, dyadic_nodes, edges, serves, times
from .inferred import inferred, rise, starts, unit_scales

CONTINUOUS = (Linear, Cosine, Own)
ALL: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")
BY_RATE: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha")


@check("SCH-1", "schedule", on=CONTINUOUS)
def test_no_noise_at_the_start(case: Case) -> None:
    """SCH-1: at t = 0, alpha_bar is 1 by every quantity that tells it, but for a floor of sigma that is declared."""
    if not serves(case, 0.0):
        raise NotClaimed("the claim has no t = 0")
    zero = np.zeros(1, dtype=case.format.storage)
    floor = case.process.sigma_min if isinstance(case.process, Own) else 0.0
    bound = C * case.format.u + floor**2
    for one in inferred(case, zero, ALL):
        case.expect(f"alpha_bar by {one.name}", one.alpha_bar, Expected(1.0, bound), at={"t": zero})
    if floor and (sigma := case.built.coefficients(zero).get("sigma")) is not None:
        # The variance at t = 0 is floor^2, or within floor^4 of it where alpha^2 + sigma^2 = 1.
        tolerance = of_variance(np.full(1, floor), np.full(1, C * case.format.u)) + floor**3
        case.expect("sigma", sigma, Expected(floor, tolerance), at={"t": zero})


@check("SCH-1", "perturb", on=(Own,))
def test_noising_starts_at_the_data(case: Case) -> None:
    """SCH-1: at t = 0, alpha of the target's own `perturb` is 1, but for a floor of sigma that is declared."""
    if not serves(case, 0.0):
        raise NotClaimed("the claim has no t = 0")
    assert isinstance(case.process, Own)
    zero = np.zeros(1, dtype=case.format.storage)
    alpha, _ = unit_scales(case, zero)
    bound = (C + 4.0) * case.format.u + case.process.sigma_min**2
    case.expect("alpha^2 of perturb", alpha**2, Expected(1.0, bound), at={"t": zero})


def _rate(case: Case) -> None:
    t = times(case)
    got = case.built.quantity("beta", t)
    case.expect("beta", got, must(case.process, "beta", t, case.format), at={"t": t})


@check("SCH-2", "schedule", on=(Linear,))
def test_linear_rate(case: Case) -> None:
    """SCH-2: beta(t) = beta_min + t (beta_max - beta_min), per unit of time."""
    _rate(case)


@check("SCH-5", "schedule", on=(Cosine,))
def test_cosine_rate(case: Case) -> None:
    """SCH-5: beta(t) = pi/(1 + s) tan(pi/2 (t + s)/(1 + s))."""
    _rate(case)


def _alpha_bar(case: Case) -> None:
    t = times(case)
    alpha_bar = exact(case.process, "alpha_bar", t)
    for one in inferred(case, t, ("alpha_bar", "log_alpha_bar")):
        case.expect(f"alpha_bar by {one.name}", one.alpha_bar, one.expected(alpha_bar), at={"t": t})


@check("SCH-3", "schedule", on=(Linear,))
def test_linear_alpha_bar(case: Case) -> None:
    """SCH-3: log_alpha_bar = -(beta_min t + (beta_max - beta_min) t^2/2), and alpha_bar is its exponential."""
    _alpha_bar(case)


@check("SCH-4", "schedule", on=(Cosine,))
def test_cosine_alpha_bar(case: Case) -> None:
    """SCH-4: alpha_bar is a ratio of squared cosines, uncapped."""
    _alpha_bar(case)


@check("SCH-3", "schedule", on=CONTINUOUS)
def test_alpha_bar_is_the_integral_of_the_rate(case: Case) -> None:
    """SCH-3: alpha_bar = exp(-int beta), for the target's own beta.

    Romberg's rule on 64 equal intervals whose ends every format holds exactly; its error is estimated by the
    same rule on every other node.
    """
    nodes = dyadic_nodes(case)
    beta = case.built.quantity("beta", case.format.rounded(nodes)).astype(np.float64)
    integral, error = romberg(beta, float(nodes[1] - nodes[0]))
    error = error + _error_of_rate(case, nodes, beta)
    t, first = case.format.rounded(nodes[CUTS]), case.format.rounded(nodes[:1])
    # Of a target that has only sigma or log_snr, SCH-8 has nothing to hold it against: the integral does.
    names = BY_RATE if set(BY_RATE) & set(case.built.coefficients(first)) else ALL
    for one, start in zip(inferred(case, t, names), starts(case, first, names), strict=True):
        value = start.alpha_bar * np.exp(-integral)
        tolerance = one.tolerance + start.tolerance * np.exp(-integral) + value * error
        case.expect(f"exp(-int beta) against {one.name}", one.alpha_bar, Expected(value, tolerance), at={"t": t})


def _error_of_rate(case: Case, nodes: Floats, beta: Floats) -> Floats:
    """Return the error of each integral of the rate: its length times the rate's largest tolerance.

    Of a library's own rate the conditioning is read from the target, and kappa(beta) is at most t beta' + beta.
    """
    fmt = case.format
    if isinstance(case.process, Own):
        tolerance = C * fmt.u * (1.0 + 2.0 * beta + nodes * np.abs(np.gradient(beta, nodes[1] - nodes[0])))
    else:
        tolerance = delta(case.process, "beta", fmt.rounded(nodes), fmt)
    return np.array([(nodes[k] - nodes[0]) * tolerance[: k + 1].max() for k in CUTS])


@check("SCH-6", "schedule")
def test_alpha_bar_never_rises(case: Case) -> None:
    """SCH-6: alpha_bar and log_snr do not increase, and fall where the exact gap exceeds the bounds."""

    def body(drawn: Times) -> None:
        t = drawn[np.argsort(drawn)]
        at = {"t": t[1:], "after": t[:-1]}
        allowance = rise(case, t)
        for one in inferred(case, t, ALL):
            step, allowed = np.diff(one.alpha_bar), allowance + one.rounding
            up = np.maximum(step, 0.0) if not np.isnan(step).any() else step
            case.expect(f"rise of alpha_bar by {one.name}", up, Expected(0.0, allowed[1:] + allowed[:-1]), at=at)
            if isinstance(case.process, KNOWN):
                gap = np.diff(exact(case.process, "alpha_bar", t).value)
                apart = np.abs(gap) > one.tolerance[1:] + one.tolerance[:-1]
                # Any fall is right here, whatever its size; a step that does not fall is shown as it is.
                shown = np.where(apart & ~(step < 0.0), step, gap)
                case.expect(f"fall of alpha_bar by {one.name}", shown, Expected(gap, 0.0), at=at)

    body(times(case))
    case.law(body, drawn=drawn_times(case, least=2))


@check("SCH-7", "schedule")
def test_log_snr(case: Case) -> None:
    """SCH-7: log_snr = log(alpha^2/sigma^2), natural."""
    t = times(case)
    found = case.built.coefficients(t)
    if "log_snr" not in found:
        raise NotClaimed("coefficients has no log_snr")
    if isinstance(case.process, KNOWN):
        (one,) = inferred(case, t, ("log_snr",))
        expected = one.expected(exact(case.process, "alpha_bar", t))
        case.expect("1/(1 + exp(-log_snr))", one.alpha_bar, expected, at={"t": t})
        return
    by_log_snr, *others = inferred(case, t, ("log_snr", "alpha_bar", "log_alpha_bar", "alpha", "sigma"))
    for other in others:
        name = f"1/(1 + exp(-log_snr)) against {other.name}"
        case.expect(name, by_log_snr.alpha_bar, other.agrees(by_log_snr), at={"t": t})


@check("SCH-8", "schedule")
def test_one_alpha_bar_behind_all(case: Case) -> None:
    """SCH-8: alpha_bar, log_alpha_bar, alpha, sigma and log_snr at one t tell one alpha_bar."""

    def body(t: Times) -> None:
        first, *others = inferred(case, t, ALL)
        if not others:
            raise NotClaimed("coefficients has one quantity only, and nothing to compare it with")
        for other in others:
            name = f"alpha_bar by {other.name} against {first.name}"
            case.expect(name, other.alpha_bar, first.agrees(other), at={"t": t})

    case.law(body, t=drawn_times(case))


@check("SCH-9", "schedule", on=(Linear, Cosine))
def test_relative_accuracy(case: Case) -> None:
    """SCH-9: log_alpha_bar, alpha_bar, beta and log_snr are accurate relative to themselves."""
    t = np.concatenate([times(case), edges(case)])
    found = case.built.coefficients(t)
    names = [name for name in ("log_alpha_bar", "alpha_bar", "beta", "log_snr") if name in found]
    if not names:
        raise NotClaimed("coefficients has none of log_alpha_bar, alpha_bar, beta and log_snr")
    for name in names:
        expected = should(case.process, name, t, case.format)
        # A finite value that overflows the format is no fault; an infinite one has the tolerance 0.
        held = (np.abs(expected.value) <= case.format.largest) | np.isinf(expected.value)
        case.expect(name, found[name], replace(expected, domain=expected.domain & held), at={"t": t})
