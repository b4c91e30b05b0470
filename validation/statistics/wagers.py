"""Test of a distribution function by calls that return many draws each, with arbitrary dependence within a call.

Call i gives, at each level c, the share X of its draws whose place is at most c: a number in [0, 1] of mean c if the
law is right, whether the draws of one call are independent, strata, or one number n times. The calls are independent.
A bet of the fraction f/(c + b) against "the mean is at most c + b" has, after all calls, the capital

    K = prod (1 + f/(c + b) (X - c - b)),   f in (0, 1),

whose mean is at most 1 if the bet is lost on average; and so has the mean of such capitals over levels, both
directions and several f. By Markov's inequality it exceeds 1/p with probability p at most: exact for every n.
Of values of any size above 0, such as weights, a mean that is too large is seen in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, inf, log

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.97)
"""Fractions of the largest bet: large bets win fast if shares vary little, small bets still win if they vary much."""
LEVELS = 63
"""Number of levels for a continuous distribution: multiples of 1/64."""


def even_levels(count: int = LEVELS) -> Floats:
    """Return levels evenly spread inside (0, 1)."""
    return np.asarray(np.arange(1, count + 1) / (count + 1))


def log_capital(shares: Floats, levels: Floats, bias: float) -> float:
    """Return the logarithm of the capital won against means within `bias` of the levels; shares: (calls, levels)."""
    # Towards too large a mean, and, on what is left of 1, towards too small a one. A share cannot have a mean above 1.
    below = (levels + bias < 1.0, 1.0 - levels + bias < 1.0)
    return _log_capital((shares, levels + bias, below[0]), (1.0 - shares, 1.0 - levels + bias, below[1]))


def log_capital_above(values: Floats, means: Floats, bias: float) -> float:
    """Return the logarithm of the capital won against means of at most `means` + `bias`; values: (calls, means).

    Values are at least 0, of any size: the factor 1 + f/m (X - m) is above 0 for them too, and its mean is at most 1.
    """
    return _log_capital((values, means + bias, np.ones(len(means), dtype=bool)))


def _log_capital(*bets: tuple[Floats, Floats, npt.NDArray[np.bool_]]) -> float:
    """Return the logarithm of the mean of the capitals of bets: values, the means bet against, and where to bet."""
    if not all(np.isfinite(x).all() for x, _, _ in bets):
        return inf
    logs = []
    for fraction in FRACTIONS:
        for x, mean, kept in bets:
            stake = np.where(kept, fraction / mean, 0.0)
            logs.append(_summed_logs(1.0 + stake * (x - mean)))
    return float(logsumexp(np.concatenate(logs)) - log(sum(map(len, logs))))


def _summed_logs(factors: Floats) -> Floats:
    """Return the sum of logarithms over calls, as that of products of eight, each off by 16 roundings at most.

    A factor is at least 0.03. The products are taken where no product of eight can leave the range of binary64.
    """
    whole = len(factors) - len(factors) % 8 if np.max(factors, initial=1.0) < 2.0**127 else 0
    eights = np.multiply.reduce(factors[:whole].reshape(-1, 8, factors.shape[1]), axis=1)
    return np.asarray(np.log(eights).sum(axis=0) + np.log(factors[whole:]).sum(axis=0))


def ruled_out(capital: Callable[[float], float], far: float, bias: float, log_limit: float) -> float:
    """Return a distance that the calls rule out, and all smaller ones: above `bias` exactly if they rule that out.

    capital: `log_capital` by its bias; far: the distance seen. Found in few steps, for a report: to a sixteenth of what
    lies between.
    """
    broken = capital(bias) >= log_limit
    if broken and capital(max(far, bias)) == inf:
        return max(far, 1.0)
    low, high = (bias, max(far, bias)) if broken else (0.0, bias)
    for _ in range(4):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if capital(middle) >= log_limit else (low, middle)
    return max(low, bias * (1.0 + 1e-9) + 1e-12) if broken else low


@cache
def calls_needed(catches: float, bias: float, false_alarm: float, miss: float, places: int) -> int:
    """Return how many calls of so many independent draws show a distance `catches` at some level, but for `miss`.

    By Chernoff's bound on the capital of the best of the bets, at the level and in the direction that ask for most.
    """
    levels = even_levels()
    limit = log(2 * len(FRACTIONS) * len(levels) / false_alarm)
    x = np.arange(places + 1) / places
    most = 0.0
    for c in levels:
        if c + catches < 1.0:  # by symmetry, one direction will do
            chance = stats.binom.pmf(np.arange(places + 1), places, c + catches)
            most = max(most, _calls(chance, x - c - bias, 1.0 / (c + bias), limit, log(miss)))
    return ceil(most)


def _calls(chance: Floats, gain: Floats, stake: float, limit: float, log_miss: float) -> float:
    """Return the least n with P(log capital < limit) <= exp(theta limit) E[(1 + gain)^-theta]^n <= miss."""
    best = inf
    for fraction in FRACTIONS:
        logs = np.log1p(fraction * stake * gain)
        for theta in np.linspace(0.05, 3.0, 60):
            rate = log(float(chance @ np.exp(-theta * logs)))
            if rate < 0.0:
                best = min(best, (theta * limit - log_miss) / -rate)
    return best
