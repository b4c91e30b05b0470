"""One sampling step from t to s, by each rule of the contract, with its tolerance (chapter 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Chain, Process, Times

from ..oracles.certified import Floats
from .conversions import converted
from .posteriors import Tolerances, coefficients
from .propagation import Terms, propagated
from .tiers import column, delta, exact, must_scales, of_variance

ROUNDINGS = 12.0
"""Of the terms of a step (chapter 10)."""
Sum: TypeAlias = Literal["em", "ode", "ddim"]
"""Rules whose step is a sum of terms in the scales at t and s; ddpm is a draw of the posterior."""


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
        domain = ((sigma > 0.0) & (8.0 * d_sigma <= sigma)) | (rule == "ddim" and not general)
        largest = (np.abs(found.value) + found.tolerance) / sigma
        if rule == "ddim":
            alpha, d_alpha = known["a_t"]
            domain = domain & (alpha > 0.0) & (8.0 * d_alpha <= alpha)
            largest = (np.abs(found.value) + found.tolerance) / alpha
        else:
            # The slope may leave the range of the format though the step would not.
            slope = known["beta"][0] * (np.abs(given.x) + np.abs(given.eps) / sigma)
            largest = np.maximum(largest, 2.0 * slope)
        if rule == "em":
            # A rate that delta lets fall below 0 has no root.
            domain = domain & (known["beta"][0] > known["beta"][1])
        domain = np.broadcast_to(domain, found.value.shape) & (largest < fmt.largest)
    return Expected(found.value, found.tolerance, domain)


def ancestral(
    given: Inputs,
    process: Process,
    s: Times,
    t: Times,
    limits: Tolerances,
    fmt: Format,
    *,
    silent: float | None = None,
) -> Expected:
    """Return a draw of the posterior at x_0_hat: its mean, plus its deviation times the noise.

    Args:
        given: arguments of the step.
        process: process of the contract, whose exact values are known.
        s: times to step to, (n,).
        t: times to step from, (n,).
        limits: tolerances of the posterior.
        fmt: format of the target.
        silent: deviation of noise that counts as none, for a step that adds no noise.
    """
    x_0_hat = converted(("eps", "x_0"), given.eps, given.x, must_scales(process, t, fmt), fmt)
    q, ndim = coefficients(process, s, t), given.x.ndim
    deviation = np.sqrt(q.variance)
    on_x_0, on_x_t, root = (column(y, ndim) for y in (q.on_x_0, q.on_x_t, deviation))
    terms = (on_x_0 * x_0_hat.value, on_x_t * given.x, root * given.noise)
    size = np.asarray(sum(np.abs(term) for term in terms))
    d_deviation = of_variance(deviation, limits.variance) if silent is None else np.full(len(t), silent)
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
