"""Shared parts of the evidence tests: dtypes, times, exact values, and the tolerances of chapter 11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from ..oracles import certified, naive

Floats: TypeAlias = npt.NDArray[np.float64]
Array: TypeAlias = npt.NDArray[Any]
Dtype: TypeAlias = Literal["float16", "float32"]

ROUNDOFF: Mapping[Dtype, float] = {"float16": 2.0**-11, "float32": 2.0**-24}
SMALLEST: Mapping[Dtype, float] = {"float16": 2.0**-24, "float32": 2.0**-149}
NORMAL: Mapping[Dtype, float] = {"float16": 2.0**-14, "float32": 2.0**-126}

LINEAR = certified.linear(0.1, 20.0)
COSINE = certified.cosine(0.008)


@final
@dataclass(frozen=True, slots=True)
class Case:
    """A process, and right formulas for it by name."""

    process: certified.Process
    formulas: Mapping[str, naive.Formula]


DEFAULTS = (Case(LINEAR, naive.LINEAR), Case(COSINE, naive.COSINE))
OTHERS = (
    Case(certified.linear(0.0, 2.0), naive.LINEAR),
    Case(certified.linear(1.0, 1.0), naive.LINEAR),
    Case(certified.linear(5.0, 60.0), naive.LINEAR),
    Case(certified.cosine(0.0), naive.COSINE),
    Case(certified.cosine(0.1), naive.COSINE),
)


@cache
def times(dtype: Dtype, count: int = 300) -> Array:
    """Return every float16 in [0, 1], or a sample of float32.

    The sample has the ends, their neighbours, and midpoints of strata of t, log t and log(1 - t).
    """
    if dtype == "float16":
        return np.arange(0x3C01, dtype=np.uint16).view(np.float16)
    fraction = (np.arange(count) + 0.5) / count
    ends = [0.0, 2.0**-149, 2.0**-126, 1 - 2.0**-24, 1.0]
    values = np.concatenate([ends, fraction, 2.0 ** (-149 * fraction), 1 - 2.0 ** (-1 - 23 * fraction[::4])])
    return np.unique(values.astype(np.float32))


@final
@dataclass(frozen=True, slots=True)
class Exact:
    """The marginal at many times: certified values rounded to binary64, with their conditioning."""

    t: Floats
    alpha: Floats
    alpha_bar: Floats
    variance: Floats
    k_alpha: Floats
    """The conditioning of alpha."""
    k: Floats
    """The conditioning of alpha_bar, and of sigma^2."""

    @property
    def sigma(self) -> Floats:
        """Noise scale, sqrt(variance)."""
        return np.sqrt(self.variance)

    @property
    def log_alpha_bar(self) -> Floats:
        """log(alpha_bar), by log1p where alpha_bar is near 1; -inf at the end of the cosine schedule."""
        with np.errstate(divide="ignore"):
            return np.where(self.variance < 0.5, np.log1p(-np.minimum(self.variance, 0.5)), np.log(self.alpha_bar))

    @property
    def log_snr(self) -> Floats:
        """Log-SNR, log(alpha_bar/sigma^2)."""
        with np.errstate(divide="ignore"):
            return self.log_alpha_bar - np.log(self.variance)


@cache
def exact(process: certified.Process, dtype: Dtype, count: int = 300) -> Exact:
    """Return the marginal at `times`, from certified sigma^2.

    alpha_bar = 1 - sigma^2 keeps its relative accuracy, as the residual of sigma^2 is subtracted too.
    """
    t = times(dtype, count).astype(np.float64)
    found = certified.column(process, "variance", t)
    alpha_bar = (1.0 - found.value) - found.residual
    alpha = np.sqrt(alpha_bar)
    # kappa(alpha) = kappa(alpha_bar)/(2 alpha), which is 0/0 at the end of the cosine schedule.
    k_alpha = found.conditioning / (2.0 * np.where(alpha > 0.0, alpha, 1.0))
    for i in np.flatnonzero(alpha == 0.0):
        k_alpha[i] = certified.at(process, "alpha", float(t[i])).conditioning
    return Exact(t, alpha, alpha_bar, found.value, k_alpha, found.conditioning)


def delta(u: float, conditioning: Floats) -> Floats:
    """Return the MUST tolerance, 6u (1 + kappa) (NUM-1)."""
    return 6.0 * u * (1.0 + conditioning)


def ulp(dtype: Dtype, values: Floats) -> Floats:
    """Return the distance between floats in the binade of each value, at least the smallest subnormal."""
    _, exponent = np.frexp(values)
    binade: Floats = np.ldexp(1.0, exponent - 1)
    return np.maximum(2.0 * ROUNDOFF[dtype] * binade, SMALLEST[dtype])


def rho(dtype: Dtype, values: Floats, conditioning: Floats) -> Floats:
    """Return the SHOULD tolerance of finite values y, 4 ulp(y) (1 + kappa/|y|) (NUM-2); it is 0 for y = 0."""
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0.0, 4.0 * ulp(dtype, values) * (1.0 + conditioning / size), 0.0)


def rho_sigma(q: Exact, dtype: Dtype) -> Floats:
    """Return the SHOULD tolerance of sigma, where kappa(sigma) = kappa(sigma^2)/(2 sigma)."""
    return rho(dtype, q.sigma, q.k / (2.0 * np.where(q.sigma > 0.0, q.sigma, 1.0)))


def should_domain(q: Exact, dtype: Dtype) -> npt.NDArray[np.bool_]:
    """Return the domain of the SHOULD tolerance: where log alpha_bar is 0 or a normal number of the dtype."""
    size = np.abs(q.log_alpha_bar)
    domain: npt.NDArray[np.bool_] = (size == 0.0) | (size >= NORMAL[dtype])
    return domain


def wide(values: Array) -> Floats:
    """Return the array in binary64."""
    return values.astype(np.float64)


def worst(error: Floats, bound: Floats, t: Floats) -> str:
    """Return time, error and bound where error/bound is largest, as the message of an assertion."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error <= bound, np.where(error > 0.0, error / bound, 0.0), np.inf)
    i = int(np.argmax(ratio))
    return f"at t = {t[i]}: error {error[i]}, bound {bound[i]}"
