"""The posterior q(x_s | x_t, x_0) from certified scales, with its tolerances (MAR-7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Process, Times

from ..oracles.certified import Floats, Quantity
from .tiers import column, delta, exact

SCALES: tuple[Quantity, Quantity] = ("alpha", "variance")


@final
@dataclass(frozen=True, slots=True)
class Tolerances:
    """Domain of MAR-7, (n,), and its tolerances of the variance and of a coefficient of the mean."""

    domain: npt.NDArray[np.bool_]
    variance: Floats
    coefficient: Floats
    added: Floats
    """Tolerance of the variance of the transition, 1 - alpha_bar_t/alpha_bar_s."""


def tolerances_at(process: Process, s: Times, t: Times, fmt: Format) -> Tolerances:
    """Return MAR-7's tolerances for a process that is known."""
    alphas, variances = ((exact(process, name, s).value, exact(process, name, t).value) for name in SCALES)
    uncertain = (delta(process, "alpha_bar", s, fmt), delta(process, "alpha_bar", t, fmt))
    return tolerances_of(s < t, alphas, variances, uncertain, fmt)


def tolerances_of(
    ordered: npt.NDArray[np.bool_],
    alphas: tuple[Floats, Floats],
    variances: tuple[Floats, Floats],
    uncertain: tuple[Floats, Floats],
    fmt: Format,
) -> Tolerances:
    """Return MAR-7's tolerances from alpha and sigma^2 at s and at t, and from the tolerances of alpha_bar there."""
    (a_s, a_t), (v_s, v_t), (d_s, d_t), u = alphas, variances, uncertain, fmt.u
    with np.errstate(all="ignore"):
        e = d_s + d_t + (d_t + d_s) / a_s**2
        ratio = a_t / a_s
        between = v_t - ratio**2 * v_s
        variance, on_x_t = between * v_s / v_t, ratio * v_s / v_t
        by_root = np.fmin(e / (on_x_t * v_t), np.sqrt(e / v_t))
        # Where alpha_t is exactly 0, no right form divides by the ratio.
        divisor = np.where(ratio == 0.0, 1.0, ratio)
        return Tolerances(
            (8.0 * e <= v_t) & ordered,
            2.0 * e * (between + v_s + variance) / v_t + 4.0 * u * variance,
            (4.0 * e / v_t + by_root) / divisor,
            2.0 * e + 4.0 * u * between,
        )


@final
@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of the mean, and the variance, computed from certified scales in binary64 without cancellation."""

    on_x_0: Floats
    on_x_t: Floats
    variance: Floats
    added: Floats
    """Variance of the transition from s to t."""


def scales_of(process: Process, s: Times, t: Times) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return alpha and sigma^2, each at s and at t."""
    alphas, variances = ((exact(process, name, s).value, exact(process, name, t).value) for name in SCALES)
    return alphas, variances


def coefficients(process: Process, s: Times, t: Times) -> Coefficients:
    """Return those of MAR-7, s < t."""
    (a_s, a_t), (v_s, v_t) = scales_of(process, s, t)
    logs = [exact(process, "log_alpha_bar", x).value for x in (s, t)]
    between = -np.expm1(logs[1] - logs[0])
    return Coefficients(a_s * between / v_t, a_t / a_s * v_s / v_t, between * v_s / v_t, between)


def posterior(
    process: Process, s: Times, t: Times, x_0: Array, x_t: Array, limits: Tolerances
) -> tuple[Expected, Expected]:
    """Return mean and variance of q(x_s | x_t, x_0); data (n, *event), s < t."""
    q = coefficients(process, s, t)
    on_x_0, on_x_t, coefficient = (column(y, x_0.ndim) for y in (q.on_x_0, q.on_x_t, limits.coefficient))
    x, y = x_0.astype(np.float64), x_t.astype(np.float64)
    mean = Expected(on_x_0 * x + on_x_t * y, coefficient * (np.abs(x) + np.abs(y)))
    return mean, Expected(q.variance, limits.variance)
