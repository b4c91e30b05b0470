"""The order of convergence from errors at n, 2n and 4n steps, with bounds for what rounding adds (SMP-11).

If E(n) = C n^-q (1 + a/n + ...), the slopes p_1 = log2 E(n)/E(2n) and p_2 = log2 E(2n)/E(4n) differ from q by a term
of order 1/n, which halves from one to the other. So q is within |p_2 - p_1| of p_2, up to terms of order 1/n^2, and
p_2 + |p_2 - p_1| is at least q whatever the sign of a.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import inf, isfinite, log2

import numpy as np

from ..oracles.gaussian import Floats, Gaussian
from .tiers import Scales

HIDDEN = 1.0 / 8.0
"""Largest share of an error that rounding may be, for a slope to be taken at it."""
ROUNDINGS = 12.0
"""Of the terms of a step (chapter 10)."""


def largest_order(errors: Sequence[float], floors: Sequence[float]) -> tuple[float, int]:
    """Return the largest order that errors at n, 2n, 4n, ... agree with, and the index of the last error used.

    The last three are used that exceed what rounding adds, their floors, eight times; else the first three, and a
    floor counts in favour of the order: it is infinite where rounding may be the whole error. NaN if an error is no
    number.
    """
    if not all(isfinite(error) for error in errors):
        return float("nan"), len(errors) - 1
    clear = [i for i in range(2, len(errors)) if floors[i] <= HIDDEN * errors[i]]
    last = clear[-1] if clear else 2
    (e_0, e_1, e_2), (_, f_1, f_2) = errors[last - 2 : last + 1], floors[last - 2 : last + 1]
    if e_2 <= f_2:
        return inf, last
    change = abs(log2(max(e_1, f_1)) * 2.0 - log2(max(e_0, f_1)) - log2(e_2))
    return log2((e_1 + f_1) / (e_2 - f_2)) + change, last


def rounding_of_step(data: Gaussian, z: Floats, at_t: Scales, at_s: Scales, u: float) -> Floats:
    """Return how far rounding moves the result of one step from t to s on the flow of each example.

    x_s = alpha_s (x_t - sigma_t eps)/alpha_t + sigma_s eps, with each of the four scales within its MUST bound, and 12
    roundings of each term; twice, for what other formulas add. at_t, at_s: of one time each.
    """
    (a_t, s_t, d_a, d_s), (a_s, s_s, d_b, d_r) = _of_one(at_t), _of_one(at_s)
    power = data.deviation(a_t, s_t)
    with np.errstate(all="ignore"):
        x, eps = np.abs(a_t * data.mean) + power * np.abs(z), np.abs(s_t / power * z)
        if a_t == 0.0:  # There the best x_0_hat is the mean, and nothing is divided by alpha.
            terms = a_s * np.abs(data.mean)
            moved = terms * (d_s + d_b / a_s) + eps * d_r
        else:
            terms = a_s / a_t * (x + s_t * eps)
            moved = terms * (d_a / a_t + d_b / a_s) + a_s / a_t * eps * d_s + eps * d_r
        return np.asarray(2.0 * (moved + ROUNDINGS * u * (terms + s_s * eps)))


def _of_one(scales: Scales) -> tuple[float, float, float, float]:
    found = (scales.alpha, scales.sigma, scales.d_alpha, scales.d_sigma)
    alpha, sigma, d_alpha, d_sigma = (float(x[0]) for x in found)
    return alpha, sigma, d_alpha, d_sigma


def rounding_of_run(data: Gaussian, z: Floats, scales: Scales, u: float) -> Floats:
    """Return how far rounding moves x along times of these scales, (times, n): nothing at the first.

    The flow carries a difference by the ratio of the deviations S of x_s and x_t.
    """
    totals = [np.zeros(len(z))]
    rows = [scales.rows(np.array([i])) for i in range(len(scales.alpha))]
    for at_t, at_s in itertools.pairwise(rows):
        (a_t, s_t, _, _), (a_s, s_s, _, _) = _of_one(at_t), _of_one(at_s)
        ratio = data.deviation(a_s, s_s) / data.deviation(a_t, s_t)
        totals.append(np.asarray(totals[-1] * ratio + rounding_of_step(data, z, at_t, at_s, u)))
    return np.array(totals)
