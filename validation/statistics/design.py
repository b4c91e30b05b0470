"""Statistical tests with a sample size computed from the discrepancy to detect.

A `Design` states the discrepancy, the false-alarm rate and the miss rate. The sample size n follows from the exact
distribution of the statistic (normal for a mean, chi-square for a variance, Kolmogorov for a distribution function,
binomial for rare events), or from Markov's inequality for dependent draws; never from a central limit theorem. All
designs of the suite together have one false-alarm rate, BUDGET, so that the suite may run with any seed: one run in
a million gives a false alarm. No test is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, isfinite, log, sqrt
from types import MappingProxyType
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy  # which imports its parts when they are first used, and many a judgement uses none

from . import wagers

Floats: TypeAlias = npt.NDArray[np.float64]
Law: TypeAlias = Literal["mean", "variance", "law", "shares", "rare"]

BUDGET = 1e-6
"""Probability that any statistical test of the suite fails for a correct target."""

SHARES: Mapping[str, float] = MappingProxyType(
    {
        "euler-mean": 0.05,
        "euler-variance": 0.05,
        "euler-law": 0.05,
        "path-mean": 0.05,
        "path-variance": 0.05,
        "reverse-mean": 0.05,
        "reverse-variance": 0.05,
        "reverse-law": 0.05,
        "sampler-law": 0.1,
        "run-mean": 0.03,
        "run-variance": 0.05,
        "times-law": 0.1,
        "times-counts": 0.05,
        "times-order": 0.1,
        "times-repeats": 0.05,
        "times-small": 0.1,
    }
)
"""Fraction of BUDGET allocated to each design."""

if not (all(share > 0.0 for share in SHARES.values()) and sum(SHARES.values()) <= 1.0):
    # Raised on import, so that a suite that overspends is not even collected.
    raise ValueError(f"expected positive shares with a sum of at most 1, got {dict(SHARES)}")

_RECORDS: ContextVar[list[tuple[str, Outcome]] | None] = ContextVar("records", default=None)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A statistical test with a sample size fixed before any number is drawn."""

    name: str
    """Key in SHARES."""
    law: Law
    """Property tested. "mean": the mean of N(0, 1) draws; "variance": their variance about 0; "law": the distribution
    of uniform draws; "shares": the distribution over many calls, with draws that may depend on each other within a
    call; "rare": the rate of a rare event."""
    catches: float
    """Discrepancy to detect: a mean, in standard deviations; a relative change of the variance; a distance of
    distribution functions, for "shares" at one of the levels; a rate."""
    why: str
    """Reason for `catches`: the fault that causes this discrepancy."""
    miss: float = 1e-3
    """Probability of passing when the discrepancy is `catches`."""
    samples: int = 1
    """Number of samples tested, which divide the allocation of the design equally."""
    bias: float = 0.0
    """For "law" and "shares": a proven bound on the distance between sampled and tested distribution; for "rare": the
    largest conditional probability of an event, given all previous trials."""
    places: int = 1
    """For "shares": number of draws per call."""

    def __post_init__(self) -> None:
        if self.name not in SHARES:
            raise ValueError(f"expected a Design with an allocation in SHARES, got {self.name!r}")
        if not (0.0 < self.catches < 1.0 and 0.0 < self.miss < 1.0 and self.samples >= 1):
            raise ValueError(f"expected a Design with 0 < catches < 1, 0 < miss < 1 and samples >= 1, got {self}")
        if not (0.0 <= self.bias < self.catches) or (self.bias > 0.0 and self.law in ("mean", "variance")):
            raise ValueError(f"expected 0 <= bias < catches, and bias 0 for a mean or variance, got {self}")
        if self.places < 1:
            raise ValueError(f"expected a Design with places >= 1, got {self}")

    @property
    def false_alarm(self) -> float:
        """Probability that one sample with the correct distribution is rejected."""
        return BUDGET * SHARES[self.name] / self.samples

    @property
    def n(self) -> int:
        """Smallest sample size that satisfies both rates."""
        match self.law:
            case "shares":
                return wagers.calls_needed(self.catches, self.bias, self.false_alarm, self.miss, self.places)
            case "rare":
                return _size_of_rare(self.catches, self.bias, self.false_alarm, self.miss)
            case _:
                return _size(self.law, self.catches - self.bias, self.false_alarm, self.miss)

    def judge(self, sample: Floats) -> Outcome:
        """Test at least n independent draws: standard normal, or uniform if `law` is "law"."""
        n = sample.size
        if n < self.n:
            raise ValueError(f"expected at least {self.n} draws for {self.name}, got {n}")
        if self.law in ("shares", "rare"):
            raise ValueError(f"expected law 'mean', 'variance' or 'law' for draws, got {self.law!r} for {self.name}")
        low, high = _limits(self.law, n, self.false_alarm)
        match self.law:
            case "mean":
                statistic = float(np.mean(sample))
            case "variance":
                statistic = float(np.mean(np.square(sample)))
            case _:
                statistic = float(scipy.stats.kstest(np.ravel(sample), "uniform").statistic)
        p = _p_value(self.law, n, statistic - self.bias)
        return self._recorded(Outcome(statistic, low, high + self.bias, n, p))

    def judge_shares(self, fractions: Floats, levels: Floats, rounding: float = 0.0) -> Outcome:
        """Test at least n independent calls; fractions: (calls, levels), the fraction of draws at or below each level.

        rounding: added to the bias for the format of the draws. The statistic is the largest distance of a mean from
        its level, and `high` its acceptance limit for this number of calls.
        """
        n = self._checked(len(fractions), "shares", "calls")
        distance = np.abs(fractions.mean(axis=0) - levels)
        return self._by_capital(lambda bias: wagers.log_capital(fractions, levels, bias), distance, n, rounding)

    def judge_weighted(self, values: Floats, means: Floats, rounding: float = 0.0) -> Outcome:
        """Test at least n independent calls: whether the means of values of at least 0 are at most `means`.

        values: (calls, means), such as the weights of the times in an interval, or 0. n is sized for weights of 1; the
        false-alarm rate holds for weights of any size. The statistic is the largest excess of a mean, and `high` its
        acceptance limit.
        """
        n = self._checked(len(values), "shares", "calls")
        excess = np.maximum(values.mean(axis=0) - means, 0.0)
        return self._by_capital(lambda bias: wagers.log_capital_above(values, means, bias), excess, n, rounding)

    def judge_limit(self, coarse: Floats, fine: Floats) -> Outcome:
        """Test whether the mean of draws is 0, or their variance about 0 is 1, in the limit of many steps.

        coarse, fine: at least n independent normal draws after m and after 4m steps. If the moment is a + b/m + c/m^2,
        then (4 fine - coarse)/3 is a - c/(4 m^2), and that is bounded by the square of b/m, and taken for `catches` at
        most. Where the moment changes by less than a tenth, a limit that is off by twice `catches` passes with a
        probability of at most `miss`.
        """
        n = min(coarse.size, fine.size)
        if n < self.n or self.law not in ("mean", "variance"):
            raise ValueError(f"expected at least {self.n} draws of a mean or a variance, got {n} for {self.law!r}")
        limit = 1.0 if self.law == "variance" else 0.0
        statistic, half = _extrapolated(self.law, coarse, fine, self.false_alarm, self.catches)
        passing, failing = 0.0, -700.0  # Logarithms of levels: at the first the interval is the narrowest.
        for _ in range(40):
            middle = 0.5 * (passing + failing)
            rejected = abs(statistic - limit) > _extrapolated(self.law, coarse, fine, exp(middle), self.catches)[1]
            passing, failing = (middle, failing) if rejected else (passing, middle)
        return self._recorded(Outcome(statistic, limit - half, limit + half, n, exp(passing)))

    def _by_capital(self, capital: Callable[[float], float], discrepancies: Floats, n: int, rounding: float) -> Outcome:
        """Return the outcome of a test by betting; capital: log capital as a function of the bias."""
        bias, limit = self.bias + rounding, -log(self.false_alarm)
        statistic = float(np.max(discrepancies))
        p = exp(min(-capital(bias), 0.0))
        rejected = wagers.ruled_out(capital, statistic if isfinite(statistic) else 1.0, bias, limit)
        return self._recorded(Outcome(statistic, 0.0, statistic - rejected + bias, n, p))

    def _checked(self, n: int, law: Law, unit: str) -> int:
        """Return n. Raises ValueError for too few calls or trials, and for a design that tests another property."""
        if n < self.n or self.law != law:
            raise ValueError(
                f"expected at least {self.n} {unit} and law {law!r} for {self.name}, got {n} and {self.law!r}"
            )
        return n

    def judge_rare(self, happened: npt.NDArray[np.bool_]) -> Outcome:
        """Test at least n trials, each with conditional probability at most `bias` of the event."""
        n = self._checked(happened.size, "rare", "trials")
        count = int(happened.sum())
        p = float(scipy.stats.binom.sf(count - 1, n, self.bias))
        high = float(scipy.stats.binom.isf(self.false_alarm, n, self.bias))
        return self._recorded(Outcome(count / n, 0.0, high / n, n, p))

    def _recorded(self, outcome: Outcome) -> Outcome:
        if (records := _RECORDS.get()) is not None:
            records.append((self.name, outcome))
        return outcome


@contextmanager
def recorded() -> Iterator[list[tuple[str, Outcome]]]:
    """Collect the outcome of every test inside the context, with the name of its design."""
    found: list[tuple[str, Outcome]] = []
    token = _RECORDS.set(found)
    try:
        yield found
    finally:
        _RECORDS.reset(token)


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """A statistic of n draws and its acceptance interval.

    If the tested property holds, the statistic is outside with the probability `Design.false_alarm`.
    """

    statistic: float
    low: float
    high: float
    n: int
    p: float
    """Probability of a statistic at least as extreme if the tested property holds. p is uniform then; with a bias, it
    is stochastically larger than uniform."""

    @property
    def passed(self) -> bool:
        """Whether the statistic is inside the interval; NaN is not."""
        return self.low <= self.statistic <= self.high


@cache
def _size_of_rare(catches: float, chance: float, false_alarm: float, miss: float) -> int:
    """Return the smallest n for which events at the rate `catches` pass with a probability of at most `miss`."""
    n = 1
    while scipy.stats.binom.cdf(scipy.stats.binom.isf(false_alarm, n, chance), n, catches) > miss:
        n += 1
    return n


def _limits(law: Law, n: int, false_alarm: float) -> tuple[float, float]:
    """Return the acceptance interval of the statistic, by its exact distribution."""
    match law:
        case "mean":
            high = float(scipy.stats.norm.isf(false_alarm / 2)) / sqrt(n)
            return -high, high
        case "variance":
            chi2 = scipy.stats.chi2
            return float(chi2.ppf(false_alarm / 2, n)) / n, float(chi2.isf(false_alarm / 2, n)) / n
        case _:
            return 0.0, float(scipy.stats.kstwo.isf(false_alarm, n))


def _extrapolated(law: Law, coarse: Floats, fine: Floats, false_alarm: float, most: float) -> tuple[float, float]:
    """Return the moment extrapolated from m and 4m steps, and how far it may be from its limit.

    Each of the two moments is within its acceptance interval at half the level, relative to its own variance. most: of
    what the extrapolation leaves, which grows without bound where the two have nothing to do with each other.
    """
    squares = [float(np.mean(np.square(x))) for x in (coarse, fine)]
    moments = squares if law == "variance" else [float(np.mean(x)) for x in (coarse, fine)]
    halves = []
    for x, square in zip((coarse, fine), squares, strict=True):
        low, high = _limits(law, x.size, false_alarm / 2.0)
        # A variance is at most what is observed over `low`; the mean of draws has the root of it, with 10% to spare.
        halves.append((high - 1.0) * square / low if law == "variance" else high * 1.1 * sqrt(square))
    statistic = (4.0 * moments[1] - moments[0]) / 3.0
    change = abs(moments[0] - moments[1]) + sum(halves)
    return statistic, (4.0 * halves[1] + halves[0]) / 3.0 + min(change**2, most)


def _p_value(law: Law, n: int, statistic: float) -> float:
    """Return the p-value of the statistic by its exact distribution: two-sided, or for a distance one-sided."""
    match law:
        case "mean":
            return 2.0 * float(scipy.stats.norm.sf(abs(statistic) * sqrt(n)))
        case "variance":
            chi2 = scipy.stats.chi2
            return 2.0 * min(float(chi2.cdf(n * statistic, n)), float(chi2.sf(n * statistic, n)))
        case _:
            return float(scipy.stats.kstwo.sf(max(statistic, 0.0), n))


def _missed(law: Law, n: int, catches: float, false_alarm: float) -> float:
    """Return (a bound on) the probability that n draws pass although the discrepancy is `catches`."""
    low, high = _limits(law, n, false_alarm)
    match law:
        case "mean":
            return float(scipy.stats.norm.cdf((high - catches) * sqrt(n)))
        case "variance":
            larger, smaller, chi2 = 1 + catches, 1 - catches, scipy.stats.chi2
            return max(float(chi2.cdf(n * high / larger, n)), float(chi2.sf(n * low / smaller, n)))
        case _:
            # The empirical F_n passes only if its distance from the sampled distribution exceeds catches - high.
            return float(scipy.stats.kstwo.sf(catches - high, n)) if catches > high else 1.0


def _bracket(law: Law, catches: float, false_alarm: float, miss: float) -> tuple[int, int]:
    """Return low < high with `_missed` above `miss` at low (or low = 0), and at most `miss` at high.

    The search starts at the size by the limit distributions, as one evaluation of Kolmogorov's costs 0.1 s.
    """
    tail = scipy.stats.kstwobign if law == "law" else scipy.stats.norm
    spread = 1.0 if law == "law" else sqrt(2.0)
    near = max(ceil((spread * (float(tail.isf(false_alarm)) + float(tail.isf(miss))) / catches) ** 2), 2)
    step = max(near // 64, 1)
    if _missed(law, near, catches, false_alarm) > miss:
        low, high = near, near + step
        while _missed(law, high, catches, false_alarm) > miss:
            low, high, step = high, high + 2 * step, 2 * step
        return low, high
    low, high = max(near - step, 0), near
    while low > 0 and _missed(law, low, catches, false_alarm) <= miss:
        low, high, step = max(low - 2 * step, 0), low, 2 * step
    return low, high


@cache
def _size(law: Law, catches: float, false_alarm: float, miss: float) -> int:
    """Return the smallest n with `_missed` at most `miss`; `_missed` decreases as n grows."""
    if law == "mean":
        return ceil(((float(scipy.stats.norm.isf(false_alarm / 2)) + float(scipy.stats.norm.isf(miss))) / catches) ** 2)
    low, high = _bracket(law, catches, false_alarm, miss)
    while high - low > 1:
        middle = (low + high) // 2
        if _missed(law, middle, catches, false_alarm) > miss:
            low = middle
        else:
            high = middle
    return high
