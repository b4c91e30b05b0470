"""alpha_bar inferred from the quantities of a target, with the tolerance of each inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Cosine, Own, Quantity, Times

from ..expected.tiers import C, Scales, delta, exact, must_scales, of_variance
from ..oracles.certified import Column, Floats
from .grids import LARGEST, event_of, span


@final
@dataclass(frozen=True, slots=True)
class Inferred:
    """alpha_bar inferred from one quantity of the target."""

    name: Quantity
    alpha_bar: Floats
    tolerance: Floats
    """Distance that the exact alpha_bar may have: delta, and the rounding of this quantity."""
    rounding: Floats
    """The part of the tolerance due to rounding of this quantity."""

    def expected(self, exact: Column) -> Expected:
        """Return the exact alpha_bar within the tolerance."""
        return Expected(exact.value, self.tolerance, residual=exact.residual)

    def agrees(self, other: Inferred) -> Expected:
        """Return this alpha_bar as expected of another inference, within both tolerances."""
        return Expected(self.alpha_bar, self.tolerance + other.tolerance)


def inferred(case: Case, t: Times, names: Sequence[Quantity]) -> list[Inferred]:
    """Return alpha_bar from each of the named quantities that the target reports. Raises NotClaimed if it has none."""
    found = case.built.coefficients(t)
    present = [name for name in names if name in found]
    if not present:
        raise NotClaimed(f"coefficients has none of {', '.join(names)}")
    return [_inferred(case, name, found[name], t) for name in present]


def starts(case: Case, t: Times, names: Sequence[Quantity]) -> list[Inferred]:
    """Return alpha_bar at one time from which an integral of the rate starts.

    At t = 0 of a process without a floor, alpha_bar is 1 whatever the target returns.
    """
    found = inferred(case, t, names)
    if float(t[0]) > 0.0 or (isinstance(case.process, Own) and case.process.sigma_min > 0.0):
        return found
    return [Inferred(one.name, np.ones(1), np.zeros(1), np.zeros(1)) for one in found]


def _inferred(case: Case, name: Quantity, values: Array, t: Times) -> Inferred:
    wide, u = values.astype(np.float64), case.format.u
    alpha_bar = _TELLS[name](wide)
    # |d alpha_bar/d value| |value|: the change of alpha_bar from rounding the value.
    sensitivity = {
        "log_alpha_bar": alpha_bar * np.abs(wide),
        "alpha": 2.0 * alpha_bar,
        "log_snr": alpha_bar * (1.0 - alpha_bar) * np.abs(wide),
    }.get(name, np.zeros(()))
    # At the ends a logarithm is infinite, and what it multiplies is 0.
    more = np.asarray(4.0 * u * np.where(np.isfinite(sensitivity), sensitivity, 0.0))
    return Inferred(name, alpha_bar, uncertainty(case, t) + more, more)


def uncertainty(case: Case, t: Times) -> Floats:
    """Return delta(alpha_bar). For a process of the library's own its conditioning is read from the target.

    With a floor of sigma two inferences may differ by sigma_min^2 more. If sigma(0) = sigma_min, then either
    alpha^2 = 1 - sigma^2, and alpha_bar(0) = 1 - sigma_min^2; or sigma^2 = 1 - alpha^2 + sigma_min^2, at every t.
    """
    floor = case.process.sigma_min**2 if isinstance(case.process, Own) else 0.0
    return rounding(case, t) + floor


def rounding(case: Case, t: Times) -> Floats:
    """Return the part of `uncertainty` that is rounding: all of it where alpha and sigma are the target's own."""
    if not isinstance(case.process, Own):
        return delta(case.process, "alpha_bar", t, case.format)
    return _own_rounding(case, t)


def _own_rounding(case: Case, t: Times) -> Floats:
    if case.steps:
        return _own_rounding_of_chain(case, t)
    return C * case.format.u * (1.0 + _own_conditioning(case, t))


def _own_rounding_of_chain(case: Case, k: Times) -> Floats:
    """Return delta(alpha_bar) of a chain, for the betas that the target's own alpha_bar implies (NUM-1)."""
    bars = np.fmax(_bare(case, np.arange(1, case.steps + 1)), 0.0)
    ratio = bars / np.concatenate([[1.0], bars[:-1]])
    parts = np.where((bars > 0.0) & (ratio > 0.0), np.abs(1.0 - ratio) / ratio, 0.0)
    conditioning = bars * np.cumsum(np.where(np.isfinite(parts), parts, 0.0))
    bound = C * case.format.u * (1.0 + conditioning) + np.arange(1, case.steps + 1) * case.format.u * bars
    # k = 0 is the data: exact.
    return np.asarray(np.concatenate([[C * case.format.u], bound])[k])


def rise(case: Case, t: Times) -> Floats:
    """Return how far from a falling function a right alpha_bar may be at each time: half of SCH-6's allowance.

    Rounding keeps the order of what it rounds; values of elementary functions do not, by C u in all (NUM-1). Of a
    product of k factors, taken in another order for another k, each rounds; arguments do in (1 + 2s) of a cosine.
    """
    process, allowance = case.process, np.full(len(t), C * case.format.u)
    if isinstance(process, Cosine):
        return allowance * (1.0 + 2.0 * process.s)
    if isinstance(process, Chain):
        return allowance + t * case.format.u * exact(process, "alpha_bar", t).value
    return _own_rounding(case, t) if isinstance(process, Own) else allowance


def scales(case: Case, t: Times) -> Scales:
    """Return alpha and sigma with their MUST bounds; for a library's own process, as its `perturb` has them.

    Its floor e = sigma_min^2 may make alpha^2 + sigma^2 = 1 + e, which what comes from v takes for 1: each scale is
    uncertain by e of itself.
    """
    if not isinstance(case.process, Own):
        return must_scales(case.process, t, case.format)
    alpha, sigma = unit_scales(case, t)
    d_alpha_bar, floor = _own_rounding(case, t), case.process.sigma_min**2
    d_alpha = np.fmin(d_alpha_bar / alpha, np.sqrt(d_alpha_bar)) + floor * alpha
    return Scales(alpha, sigma, d_alpha, of_variance(sigma, d_alpha_bar) + floor * sigma, floor)


def unit_scales(case: Case, t: Times) -> tuple[Floats, Floats]:
    """Return alpha and sigma as `perturb` has them: its values at (1, 0) and at (0, 1), the first of each event.

    Large events cross in several calls. Of a claim without perturb, what `coefficients` has; raises NotClaimed where
    the claim has neither. At k = 0 a chain is the data.
    """
    if case.steps and (t == 0).any():
        alpha, sigma = unit_scales(case, np.maximum(t, 1))
        return np.where(t == 0, 1.0, alpha), np.where(t == 0, 0.0, sigma)
    if "perturb" not in case.capabilities:
        return _told_scales(case, t)
    if len(t) == 0:
        return np.zeros(0), np.zeros(0)
    event = event_of(case, (1,))
    at_once = max(1, LARGEST // int(np.prod(event)))
    parts = [_unit_scales(case, t[i : i + at_once], event) for i in range(0, len(t), at_once)]
    alpha, sigma = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    return alpha, sigma


def placed(case: Case, x_0: Array, eps: Array, t: Times) -> Array:
    """Return x_t as `perturb` has it; of a claim without perturb, alpha x_0 + sigma eps of its `coefficients`."""
    if "perturb" in case.capabilities:
        return case.built.perturb(x_0, eps, t)
    alpha, sigma = (x.reshape(-1, *(1,) * (x_0.ndim - 1)) for x in _told_scales(case, t))
    return case.format.rounded(alpha * x_0 + sigma * eps).astype(case.format.storage)


def _told_scales(case: Case, t: Times) -> tuple[Floats, Floats]:
    """Return alpha and sigma from the most accurate quantities of `coefficients` that determine them."""
    if "schedule" not in case.capabilities:
        raise NotClaimed("expected a claim with perturb or schedule, from which alpha and sigma follow, got neither")
    found = {name: x.astype(np.float64) for name, x in case.built.coefficients(t).items()}
    floor = case.process.sigma_min if isinstance(case.process, Own) else 0.0
    alphas = [tell(found[name]) for name, tell in _ALPHA.items() if name in found]
    sigmas = [tell(found[name]) for name, tell in (_SIGMA if floor else _SIGMA | _REST).items() if name in found]
    if not (alphas and sigmas):
        raise NotClaimed("coefficients has no quantities that determine alpha and sigma")
    return np.asarray(alphas[0]), np.asarray(sigmas[0])


def _unit_scales(case: Case, t: Times, event: tuple[int, ...]) -> tuple[Floats, Floats]:
    one = np.ones((len(t), *event), dtype=case.format.storage)
    zero = np.zeros_like(one)
    alpha = case.built.perturb(one, zero, t).reshape(len(t), -1)[:, 0].astype(np.float64)
    sigma = case.built.perturb(zero, one, t).reshape(len(t), -1)[:, 0].astype(np.float64)
    return alpha, sigma


def _own_conditioning(case: Case, t: Times) -> Floats:
    """Return twice |t d alpha_bar/dt| by a difference over [0.9 t, 1.1 t], as far as it is claimed.

    The other half is for parameters.
    """
    fmt, (least, most) = case.format, span(case)
    low, high = (np.clip(fmt.rounded(x * t), least, most).astype(fmt.storage) for x in (0.9, 1.1))
    wide = t.astype(np.float64)
    share = (high.astype(np.float64) - low.astype(np.float64)) / wide
    slope = 2.0 * np.abs(_bare(case, low) - _bare(case, high)) / share
    return np.asarray(np.where(share > 0.0, slope, 0.0))


def _bare(case: Case, t: Times) -> Floats:
    """Return alpha_bar inferred from the first quantity that determines it."""
    if "schedule" not in case.capabilities:
        return unit_scales(case, t)[0] ** 2
    found = case.built.coefficients(t)
    for name, tell in _TELLS.items():
        if name in found:
            return np.asarray(tell(found[name].astype(np.float64)))
    raise NotClaimed("coefficients has no quantity that determines alpha_bar")


_TELLS: dict[Quantity, Callable[[Floats], Floats]] = {
    "alpha_bar": lambda x: x,
    "log_alpha_bar": np.exp,
    "alpha": np.square,
    "sigma": lambda x: 1.0 - x**2,
    "log_snr": lambda x: 1.0 / (1.0 + np.exp(-x)),
}
"""alpha_bar from each quantity that determines it."""

_ALPHA: dict[Quantity, Callable[[Floats], Floats]] = {
    "alpha": lambda x: x,
    "log_alpha_bar": lambda x: np.exp(0.5 * x),
    "log_snr": lambda x: np.sqrt(_TELLS["log_snr"](x)),
    "alpha_bar": np.sqrt,
}
_SIGMA: dict[Quantity, Callable[[Floats], Floats]] = {
    "sigma": lambda x: x,
    "log_snr": lambda x: np.sqrt(_TELLS["log_snr"](-x)),
}
_REST: dict[Quantity, Callable[[Floats], Floats]] = {
    "log_alpha_bar": lambda x: np.sqrt(-np.expm1(x)),
    "alpha_bar": lambda x: np.sqrt(np.fmax(1.0 - x, 0.0)),
    "alpha": lambda x: np.sqrt(np.fmax(1.0 - x**2, 0.0)),
}
"""alpha and sigma from each quantity, the best first; sigma from the last ones only where alpha^2 + sigma^2 = 1."""
