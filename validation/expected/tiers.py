"""Certified values and the two tiers of bounds for a process of the contract (NUM-1, NUM-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Cosine, Linear, NoProcess, Own, Process, Times

from ..oracles import certified
from ..oracles.certified import Column, Floats, Quantity

Number = TypeVar("Number", np.float64, np.bool_)

KNOWN = (Linear, Cosine, Chain)
"""Processes with known exact values; a library's own process is judged by identities."""
C = 12.0
"""Number of roundings that the MUST bound allows: a product of four values of elementary functions (NUM-1)."""
JUDGE_U = 2.0**-50
"""Relative error of the suite's own binary64 arithmetic, in units of the terms of a sum."""


@cache
def _continuous(process: Linear | Cosine) -> certified.Process:
    if isinstance(process, Linear):
        return certified.linear(process.beta_min, process.beta_max)
    return certified.cosine(process.s)


def exact(process: Process, quantity: Quantity, t: Times) -> Column:
    """Return a quantity at times of shape (n,), with its conditioning. Raises NotClaimed for a library's own."""
    match process:
        case Linear() | Cosine():
            return certified.column(_continuous(process), quantity, t.tolist())
        case Chain():
            return certified.chain_column(process.betas, quantity, t.tolist())
        case Own() | NoProcess():
            raise NotClaimed("a process of the library's own has no exact value")


def delta(process: Process, quantity: Quantity, t: Times, fmt: Format) -> Floats:
    """Return the MUST bound (NUM-1); `variance` is that of sigma^2."""
    column = exact(process, quantity, t)
    conditioning = column.conditioning
    if isinstance(process, Cosine) and quantity == "beta":
        conditioning = conditioning + _in_the_rest(process, t)
    bound = C * fmt.u * (1.0 + conditioning)
    if isinstance(process, Cosine):
        bound = (1.0 + 2.0 * process.s) * bound
    if isinstance(process, Chain):
        # A product of k factors; alpha is the root of it.
        of_alpha = quantity == "alpha"
        scale = exact(process, "alpha" if of_alpha else "alpha_bar", t).value
        bound = bound + (0.5 if of_alpha else 1.0) * t * fmt.u * scale
    return bound


def _in_the_rest(process: Cosine, t: Times) -> Floats:
    """Return (1 - t) d beta/dt of a cosine schedule: the conditioning of its rate in 1 - t (SCH-5)."""
    speed = 0.5 * np.pi / (1.0 + process.s)
    rest = 1.0 - t.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(rest > 0.0, rest * 2.0 * (speed / np.sin(speed * rest)) ** 2, np.inf))


def rho(process: Process, quantity: Quantity, t: Times, fmt: Format) -> Floats:
    """Return the SHOULD bound (NUM-2): 0 where the exact value is 0, infinite, or a 1 at an end."""
    column = exact(process, quantity, t)
    with np.errstate(all="ignore"):
        bound = 4.0 * fmt.ulp(column.value) * (1.0 + column.conditioning / np.abs(column.value))
    # A value too small for binary64 is any of the smallest numbers.
    bound = np.where((column.value == 0.0) & (column.residual != 0.0), 4.0 * fmt.smallest, bound)
    if isinstance(process, Chain):
        bound = bound + 2.0 * t * fmt.ulp(column.value)
    one = (column.value == 1.0) & (column.residual == 0.0) & (column.conditioning == 0.0)
    settled = ((column.value == 0.0) & (column.residual == 0.0)) | np.isinf(column.value) | one
    return np.where(settled, 0.0, bound)


def must(process: Process, quantity: Quantity, t: Times, fmt: Format) -> Expected:
    """Return a quantity with its MUST tolerance (NUM-1)."""
    column = exact(process, quantity, t)
    return Expected(column.value, delta(process, quantity, t, fmt), residual=column.residual)


def should(process: Process, quantity: Quantity, t: Times, fmt: Format) -> Expected:
    """Return a quantity with its SHOULD tolerance, on the domain of NUM-2 (of a chain, every index)."""
    column, domain = exact(process, quantity, t), isinstance(process, Chain) or in_rho_domain(process, t, fmt)
    return Expected(column.value, rho(process, quantity, t, fmt), domain, column.residual)


def in_rho_domain(process: Process, t: Times, fmt: Format) -> npt.NDArray[np.bool_]:
    """Return where the SHOULD bound applies: at t = 0, and where log alpha_bar is a normal number of the format.

    For a cosine schedule the increment of its argument must be a normal number too.
    """
    least = np.abs(exact(process, "log_alpha_bar", t).value)
    if isinstance(process, Cosine):
        least = np.minimum(least, 0.5 * np.pi / (1.0 + process.s) * np.asarray(t, dtype=np.float64))
    return np.asarray((np.asarray(t) == 0) | (least >= fmt.smallest_normal))


@final
@dataclass(frozen=True, slots=True)
class Scales:
    """alpha and sigma at (n,) times with their uncertainties, from which bounds are propagated."""

    alpha: Floats
    sigma: Floats
    d_alpha: Floats
    d_sigma: Floats
    floor: float = 0.0
    """Tolerance of alpha^2 + sigma^2 = 1, for a library's own process that declares it."""

    def shaped(self, ndim: int) -> Scales:
        """Return the same, reshaped to broadcast against data of that rank."""
        tail = (1,) * (ndim - 1)
        return self._each(lambda x: x.reshape(-1, *tail))

    def rows(self, index: npt.NDArray[np.intp]) -> Scales:
        """Return the same at some of the times, in the order given."""
        return self._each(lambda x: np.asarray(x[index]))

    def _each(self, change: Callable[[Floats], Floats]) -> Scales:
        arrays = (change(x) for x in (self.alpha, self.sigma, self.d_alpha, self.d_sigma))
        alpha, sigma, d_alpha, d_sigma = arrays
        return Scales(alpha, sigma, d_alpha, d_sigma, self.floor)


def divides(value: Floats, uncertainty: Floats) -> npt.NDArray[np.bool_]:
    """Return where a right form may divide by a scale: where it is above 0, and known to within an eighth of itself."""
    return np.asarray((value > 0.0) & (8.0 * uncertainty <= value))


def column(values: npt.NDArray[Number], ndim: int) -> npt.NDArray[Number]:
    """Return one number for each example, reshaped to broadcast against data of that rank."""
    return np.asarray(values.reshape(-1, *(1,) * (ndim - 1)))


def must_scales(process: Process, t: Times, fmt: Format) -> Scales:
    """Return alpha and sigma within delta; an error d of sigma^2 is one of min(d/sigma, sqrt(d)) in sigma."""
    sigma = exact(process, "sigma", t).value
    return Scales(
        exact(process, "alpha", t).value,
        sigma,
        delta(process, "alpha", t, fmt),
        of_variance(sigma, delta(process, "variance", t, fmt)),
    )


def should_scales(process: Process, t: Times, fmt: Format) -> Scales:
    """Return alpha and sigma within rho."""
    return Scales(
        exact(process, "alpha", t).value,
        exact(process, "sigma", t).value,
        rho(process, "alpha", t, fmt),
        rho(process, "sigma", t, fmt),
    )


def root(got: Floats, value: Floats, d_square: Floats) -> Floats:
    """Return the tolerance of an output whose square has the tolerance `d_square`: |got^2 - value^2| <= d_square."""
    total = got + value
    with np.errstate(all="ignore"):
        return np.asarray(d_square / np.where(total > 0.0, total, np.sqrt(d_square)))


def of_variance(sigma: Floats, d_variance: Floats) -> Floats:
    """Return the error of a standard deviation whose square is wrong by d_variance."""
    with np.errstate(all="ignore"):
        return np.asarray(np.fmin(d_variance / sigma, np.sqrt(d_variance)))
