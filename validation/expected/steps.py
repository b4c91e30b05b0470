"""One sampling step from t to s, by each rule of the contract, with its tolerance (chapter 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import numpy as np

from refdiff.conformance.comparison import Expected, Mask
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Chain, Process, Times
from refdiff.conformance.step import Step

from ..oracles.certified import Floats
from .conversions import converted, parts_of
from .posteriors import Tolerances, coefficients
from .propagation import Ingredients, Terms, propagated
from .tiers import column, delta, divides, exact, must_scales, of_variance

ROUNDINGS = 12.0
"""Of the terms of a step (chapter 10)."""
Sum: TypeAlias = Literal["em", "ode", "ddim"]
"""Rules whose step is a sum of terms in the scales at t and s; ddpm is a draw of the posterior."""
OF_EPS = Step(kind="ddpm")
"""The step of ddpm that `ancestral` expects by default."""


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments of a step, in binary64: x_t, eps_hat and the noise, (n, *event), and h = t - s, shaped for them."""

    x: Floats
    eps: Floats
    noise: Floats
    h: Floats

    @staticmethod
    def of(x_t: Array, eps_hat: Array, noise: Array, s: Times, t: Times) -> Inputs:
        """Return the arguments of the target's step, widened."""
        x, eps, z = (array.astype(np.float64) for array in (x_t, eps_hat, noise))
        return Inputs(x, eps, z, column(t.astype(np.float64) - s.astype(np.float64), x.ndim))


_TERMS: Mapping[Sum, Callable[[Inputs], Terms]] = {
    "em": lambda i: (
        lambda q: (
            i.x,
            0.5 * i.h * q["beta"] * i.x,
            -i.h * q["beta"] * i.eps / q["s_t"],
            np.sqrt(i.h) * q["g"] * i.noise,
        )
    ),
    "ode": lambda i: lambda q: (i.x, 0.5 * i.h * q["beta"] * i.x, -0.5 * i.h * q["beta"] * i.eps / q["s_t"]),
    "ddim": lambda i: (
        lambda q: (
            q["a_s"] * i.x / q["a_t"],
            -q["a_s"] * q["s_t"] * i.eps / q["a_t"],
            q["s_s"] * i.eps,
        )
    ),
}
"""Terms of x_s, from alpha and sigma at t and s, the rate beta at t, and g = sqrt(beta)."""


def step(
    rule: Sum, given: Inputs, process: Process, s: Times, t: Times, fmt: Format, *, general: bool = True
) -> Expected:
    """Return x_s, where no divisor is near 0 and nothing leaves the range of the format.

    general: whether ddim may be written for any eta, with the posterior's variance, which divides by sigma_t^2.
    """
    known = _ingredients(process, s, t, given.x.ndim, fmt)
    found = propagated(_TERMS[rule](given), known, fmt, ROUNDINGS)
    sigma, d_sigma = known["s_t"]
    with np.errstate(all="ignore"):
        domain = divides(sigma, d_sigma) | (rule == "ddim" and not general)
        largest = (np.abs(found.value) + found.tolerance) / sigma
        if rule == "ddim":
            domain = domain & divides(*known["a_t"])
            largest = (np.abs(found.value) + found.tolerance) / known["a_t"][0]
        else:
            # The slope may leave the range of the format though the step would not.
            slope = known["beta"][0] * (np.abs(given.x) + np.abs(given.eps) / sigma)
            largest = np.maximum(largest, 2.0 * slope)
        if rule == "em":
            # A rate that delta lets fall below 0 has no root.
            domain = domain & (known["beta"][0] > known["beta"][1])
        domain = np.broadcast_to(domain, found.value.shape) & (largest < fmt.largest)
    return Expected(found.value, found.tolerance, domain)


def expected(
    asked: Step,
    given: Inputs,
    process: Process,
    s: Times,
    t: Times,
    limits: Tolerances,
    fmt: Format,
    *,
    silent: float | None = None,
) -> Expected:
    """Return x_s of any step of the contract; given.eps is the prediction that the step names.

    limits: tolerances of the posterior, for ddpm and for an eta above 0; silent: as in `ancestral`.
    """
    if asked.kind == "ddpm":
        return ancestral(given, process, s, t, limits, fmt, asked=asked, silent=silent)
    if asked.eta > 0.0:
        return _partly_drawn(asked, given, process, s, t, limits, fmt, silent)
    if asked.prediction == "eps":
        return step(asked.kind, given, process, s, t, fmt)
    x_0_hat, eps_hat = parts_of(asked.prediction, given.eps, given.x, must_scales(process, t, fmt), fmt)
    known = _ingredients(process, s, t, given.x.ndim, fmt)
    if asked.kind == "ddim":
        found = propagated(lambda q: (q["a_s"] * x_0_hat.value, q["s_s"] * eps_hat.value), known, fmt, ROUNDINGS)
        return _moved(found, (x_0_hat, eps_hat), (known["a_s"][0], known["s_s"][0]), _divided(known))
    found = step(asked.kind, replace(given, eps=eps_hat.value), process, s, t, fmt)
    with np.errstate(all="ignore"):
        per_eps = (1.0 if asked.kind == "em" else 0.5) * given.h * known["beta"][0] / known["s_t"][0]
    return _moved(found, (eps_hat,), (per_eps,), found.domain)


def _moved(found: Expected, parts: tuple[Expected, ...], per: tuple[Floats, ...], domain: Mask) -> Expected:
    """Return a step with the tolerances of x_0_hat and eps_hat that it multiplies by `per`; 8/7 as in `propagated`."""
    tolerance, inside = found.tolerance, np.broadcast_to(domain, found.value.shape)
    with np.errstate(all="ignore"):
        for part, factor in zip(parts, per, strict=True):
            tolerance = tolerance + 8.0 / 7.0 * np.abs(factor) * part.tolerance
            inside = inside & part.domain
    return Expected(found.value, tolerance, inside & np.isfinite(tolerance))


def _divided(known: Ingredients) -> Mask:
    """Return where a step of ddim or ddpm may divide by sigma_t, and by alpha_t unless a chain has an exact 0."""
    return np.asarray(divides(*known["s_t"]) & (divides(*known["a_t"]) | known_zero(known)))


def known_zero(known: Ingredients) -> Mask:
    """Return where alpha_t is exactly 0: at the last index of a chain whose last beta is 1."""
    return np.asarray((known["a_t"][0] == 0.0) & ("beta" not in known))


def _partly_drawn(
    asked: Step,
    given: Inputs,
    process: Process,
    s: Times,
    t: Times,
    limits: Tolerances,
    fmt: Format,
    silent: float | None,
) -> Expected:
    """Return the step of ddim with an eta above 0: alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise.

    With eta = 1 it may be written as that of ddpm too, with the bound of that.
    """
    parts = parts_of(asked.prediction, given.eps, given.x, must_scales(process, t, fmt), fmt)
    known, ndim = _ingredients(process, s, t, given.x.ndim, fmt), given.x.ndim
    variance, d_variance = (column(y, ndim) for y in (coefficients(process, s, t).variance, limits.variance))
    square = known["s_s"][0] ** 2 - asked.eta**2 * variance
    at_s = column(delta(process, "variance", s, fmt), ndim)
    d_square = at_s + asked.eta**2 * d_variance + 4.0 * fmt.u * known["s_s"][0] ** 2
    rest, spread = np.sqrt(np.fmax(square, 0.0)), asked.eta * np.sqrt(variance)
    d_spread = asked.eta * of_variance(np.sqrt(variance), d_variance) if silent is None else np.asarray(silent)
    terms = (known["a_s"][0] * parts[0].value, rest * parts[1].value, spread * given.noise)
    with np.errstate(all="ignore"):
        tolerance = (
            8.0 / 7.0 * known["a_s"][1] * np.abs(parts[0].value)
            + of_variance(rest, d_square) * np.abs(parts[1].value)
            + d_spread * np.abs(given.noise)
            + ROUNDINGS * fmt.u * np.asarray(sum(np.abs(term) for term in terms))
            + 4.0 * fmt.smallest
        )
    found = Expected(np.asarray(sum(terms)), tolerance)
    domain = _divided(known) & column(limits.domain, ndim)
    found = _moved(found, parts, (known["a_s"][0], rest), domain)
    if asked.eta < 1.0:
        return found
    same = ancestral(given, process, s, t, limits, fmt, asked=replace(asked, kind="ddpm", eta=0.0), silent=silent)
    return Expected(found.value, np.fmax(found.tolerance, same.tolerance), found.domain & same.domain)


def ancestral(
    given: Inputs,
    process: Process,
    s: Times,
    t: Times,
    limits: Tolerances,
    fmt: Format,
    *,
    asked: Step = OF_EPS,
    silent: float | None = None,
) -> Expected:
    """Return a draw of the posterior at x_0_hat: its mean, plus a deviation times the noise.

    Args:
        given: arguments of the step.
        process: process of the contract, whose exact values are known.
        s: times to step to, (n,).
        t: times to step from, (n,).
        limits: tolerances of the posterior.
        fmt: format of the target.
        asked: the prediction that is given, and the variance of the noise.
        silent: deviation of noise that counts as none, for a step that adds no noise.
    """
    at_t = must_scales(process, t, fmt)
    if asked.prediction == "eps":
        x_0_hat = converted(("eps", "x_0"), given.eps, given.x, at_t, fmt)
    else:
        x_0_hat, _ = parts_of(asked.prediction, given.eps, given.x, at_t, fmt)
    q, ndim = coefficients(process, s, t), given.x.ndim
    variance, d_variance = q.variance, limits.variance
    if asked.variance == "beta":
        variance, d_variance = np.where(np.asarray(s) > 0, q.added, 0.0), limits.added
    deviation = np.sqrt(variance)
    on_x_0, on_x_t, root = (column(y, ndim) for y in (q.on_x_0, q.on_x_t, deviation))
    terms = (on_x_0 * x_0_hat.value, on_x_t * given.x, root * given.noise)
    size = np.asarray(sum(np.abs(term) for term in terms))
    d_deviation = of_variance(deviation, d_variance) if silent is None else np.full(len(t), silent)
    with np.errstate(all="ignore"):
        tolerance = (
            column(limits.coefficient, ndim) * (np.abs(x_0_hat.value) + np.abs(given.x))
            + on_x_0 * x_0_hat.tolerance
            + ROUNDINGS * fmt.u * size
            + column(d_deviation, ndim) * np.abs(given.noise)
        )
    return Expected(np.asarray(sum(terms)), tolerance, column(limits.domain, ndim) & x_0_hat.domain)


def _ingredients(process: Process, s: Times, t: Times, ndim: int, fmt: Format) -> dict[str, tuple[Floats, Floats]]:
    """Return alpha and sigma at both times, and of a schedule the rate at t and its root, with their tolerances."""
    at_t, at_s = (must_scales(process, x, fmt).shaped(ndim) for x in (t, s))
    found = {
        "a_t": (at_t.alpha, at_t.d_alpha),
        "s_t": (at_t.sigma, at_t.d_sigma),
        "a_s": (at_s.alpha, at_s.d_alpha),
        "s_s": (at_s.sigma, at_s.d_sigma),
    }
    if isinstance(process, Chain):
        return found
    beta, d_beta = (column(x, ndim) for x in (exact(process, "beta", t).value, delta(process, "beta", t, fmt)))
    with np.errstate(all="ignore"):
        return found | {"beta": (beta, d_beta), "g": (np.sqrt(beta), of_variance(np.sqrt(beta), d_beta))}
