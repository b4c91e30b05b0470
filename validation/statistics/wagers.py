"""Test of a distribution function by calls that return many draws each, with arbitrary dependence within a call.

The calls are independent. Call i gives, at each level c, the fraction X of its draws t with F(t) <= c, where F is the
tested distribution function. X is in [0, 1], and has the mean c if F is right, whether the draws of a call are
independent, stratified, or one number repeated. Betting with a stake f/(c + b) against "the mean is at most c + b"
gives, after all calls, the capital

    K = prod (1 + f/(c + b) (X - c - b)),   f in (0, 1),

with a mean of at most 1 if that statement is true. The same holds for the average of such capitals over levels, both
directions and several f. By Markov's inequality, the capital exceeds 1/p with a probability of at most p, for every n.
A mean that is too large, of values of at least 0 and of any size, such as weights, is tested in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, inf, log

import numpy as np
import numpy.typing as npt
import scipy  # which imports its parts when they are first used, and many a judgement uses none

Floats = npt.NDArray[np.float64]

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.97)
"""Values of f. Large bets win quickly if X varies little between calls; small bets win if X varies much."""
LEVELS = 63
"""Number of levels for a continuous distribution: multiples of 1/64."""


def even_levels(count: int = LEVELS) -> Floats:
    """Return evenly spaced levels in (0, 1)."""
    return np.asarray(np.arange(1, count + 1) / (count + 1))


def log_capital(fractions: Floats, levels: Floats, bias: float) -> float:
    """Return the log capital of bets against "each mean is within `bias` of its level"; fractions: (calls, levels).

    Bets on too large a mean use X, and bets on too small a mean use 1 - X. Neither mean can exceed 1.
    """
    too_large = (fractions, levels + bias, levels + bias < 1.0)
    too_small = (1.0 - fractions, 1.0 - levels + bias, 1.0 - levels + bias < 1.0)
    return _log_capital(too_large, too_small)


def log_capital_above(values: Floats, means: Floats, bias: float) -> float:
    """Return the log capital of bets against "each mean is at most `means` + `bias`"; values: (calls, means).

    Values are at least 0 and may be of any size, since the factor 1 + f/m (X - m) is above 0, with a mean of at most 1.
    """
    return _log_capital((values, means + bias, np.ones(len(means), dtype=bool)))


def _log_capital(*bets: tuple[Floats, Floats, npt.NDArray[np.bool_]]) -> float:
    """Return the logarithm of the average capital over all bets.

    bets: values, the means to bet against, and a mask of the means for which to bet.
    """
    if not all(np.isfinite(x).all() for x, _, _ in bets):
        return inf
    logs = []
    for fraction in FRACTIONS:
        for x, mean, mask in bets:
            stake = np.where(mask, fraction / mean, 0.0)
            logs.append(_summed_logs(1.0 + stake * (x - mean)))
    return float(scipy.special.logsumexp(np.concatenate(logs)) - log(sum(map(len, logs))))


def _summed_logs(factors: Floats) -> Floats:
    """Return the sum of the logarithms over calls, by logarithms of products of eight, which have at most 16 roundings.

    A factor is at least 0.03. Products are used only if no product of eight can leave the range of binary64.
    """
    whole = len(factors) - len(factors) % 8 if np.max(factors, initial=1.0) < 2.0**127 else 0
    eights = np.multiply.reduce(factors[:whole].reshape(-1, 8, factors.shape[1]), axis=1)
    return np.asarray(np.log(eights).sum(axis=0) + np.log(factors[whole:]).sum(axis=0))


def ruled_out(capital: Callable[[float], float], distance: float, bias: float, log_limit: float) -> float:
    """Return (a lower bound on) the largest distance that the test rejects; above `bias` exactly if the test fails.

    capital: log capital as a function of the bias; distance: the observed one. The bisection stops at 1/16 of the first
    interval, which is enough for a report.
    """
    rejected = capital(bias) >= log_limit
    if rejected and capital(max(distance, bias)) == inf:
        return max(distance, 1.0)
    low, high = (bias, max(distance, bias)) if rejected else (0.0, bias)
    for _ in range(4):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if capital(middle) >= log_limit else (low, middle)
    return max(low, bias * (1.0 + 1e-9) + 1e-12) if rejected else low


@cache
def calls_needed(catches: float, bias: float, false_alarm: float, miss: float, places: int) -> int:
    """Return a number of calls for which a distance `catches` at any one level passes with a probability below `miss`.

    Each call has `places` independent draws. By Chernoff's bound on the capital of the best bet, at the level that
    needs the most calls.
    """
    levels = even_levels()
    limit = log(2 * len(FRACTIONS) * len(levels) / false_alarm)
    x = np.arange(places + 1) / places
    needed = 0.0
    for c in levels:
        if c + catches < 1.0:  # by symmetry, one direction is enough
            probability = scipy.stats.binom.pmf(np.arange(places + 1), places, c + catches)
            needed = max(needed, _calls(probability, x - c - bias, 1.0 / (c + bias), limit, log(miss)))
    return ceil(needed)


def _calls(probability: Floats, gain: Floats, stake: float, limit: float, log_miss: float) -> float:
    """Return the least n with P(log capital < limit) <= exp(theta limit) E[(1 + gain)^-theta]^n <= miss."""
    best = inf
    for fraction in FRACTIONS:
        logs = np.log1p(fraction * stake * gain)
        for theta in np.linspace(0.05, 3.0, 60):
            rate = log(float(probability @ np.exp(-theta * logs)))
            if rate < 0.0:
                best = min(best, (theta * limit - log_miss) / -rate)
    return best
