"""Whole sampling runs of a target: the times along which they go, the denoiser they are given, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt
import scipy  # which imports its parts when they are first used, and many a judgement uses none

from refdiff.conformance.case import Case
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import (
    Array,
    Chain,
    Cosine,
    Denoiser,
    DType,
    Linear,
    Own,
    Process,
    Sampler,
    Times,
)

from ..expected.tiers import Scales
from ..oracles.gaussian import Floats, Gaussian, Levels, Prediction, chain_levels, cosine_levels, linear_levels
from .grids import event_of, middle, span
from .inferred import scales, unit_scales

NODES = 1025
"""Times at which the scales of a library's own process are asked for."""
ENDS = (0.9, 0.1)
"""alpha^2/(alpha^2 + sigma^2) at the last and at the first time of a run."""


def samplers_of(case: Case) -> list[Sampler]:
    """Return the samplers that the claim has for this kind of process."""
    return [sampler for sampler in case.claim.samplers if sampler.chains or not case.steps]


@final
@dataclass(slots=True)
class Best:
    """The best denoiser of Gaussian data, in the format of the target; it notes what it is given."""

    case: Case
    data: Gaussian
    sampler: Sampler
    levels: Levels
    shape: tuple[int, ...]
    asked: list[npt.NDArray[Any]] = field(default_factory=list)
    given: list[Floats] = field(default_factory=list)
    """x of each call, (n, numbers of an event)."""

    def __call__(self, x_t: Array, t: Times) -> Array:
        """Return the prediction, shaped as x_t."""
        if np.shape(x_t) != self.shape or np.shape(t) != self.shape[:1]:
            got = f"{np.shape(x_t)} and {np.shape(t)}"
            raise ValueError(f"expected x_t {self.shape} and t {self.shape[:1]} for the denoiser, got {got}")
        self.asked.append(np.array(t))
        x = np.array(x_t, dtype=np.float64).reshape(len(x_t), -1)
        self.given.append(x)
        found = self.data.predict(self.sampler.prediction, x.T, *self.levels(np.asarray(t)))
        return self.case.format.rounded(found.T.reshape(self.shape))

    def __repr__(self) -> str:
        """Return Python for the reproducer, in which the names of the contract and the target are defined."""
        process = "None" if isinstance(self.case.process, Own) else self.case.member.expression
        data = f"{self.data.mean.tolist()}, {self.data.variance.tolist()}"
        module = f"__import__({__name__!r}, fromlist=['best'])"
        return f"{module}.best({process}, {self.sampler.prediction!r}, {data}, {self.case.format.name!r})"


def best(process: Process, prediction: Prediction, mean: Floats, variance: Floats, dtype: DType) -> Denoiser:
    """Return the best denoiser of Gaussian data, one mean and variance for each example, for a reproducer.

    Raises NotClaimed for a process of the library's own, whose scales are known in a run of the suite only.
    """
    data, levels = Gaussian(np.array(mean), np.array(variance)), known_levels(process)

    def denoiser(x_t: Array, t: Times) -> Array:
        x = np.asarray(x_t, dtype=np.float64).reshape(len(x_t), -1)
        found = data.predict(prediction, x.T, *levels(np.asarray(t)))
        return FORMATS[dtype].rounded(found.T.reshape(x_t.shape))

    return denoiser


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What a run returned, and what it gave to its denoiser."""

    x: Floats
    """x at the last time, (n, numbers of an event)."""
    asked: npt.NDArray[Any]
    """The time of each call."""
    given: list[Floats]
    """x of each call, shaped as `x`."""
    steps: int

    @property
    def evaluations(self) -> float:
        """Calls of the denoiser in each step, at least one."""
        return max(len(self.asked) / self.steps, 1.0)


def run(
    case: Case, sampler: Sampler, data: Gaussian, start: Floats, times: Times, levels: Levels, *, later: int = 0
) -> Run:
    """Run a sampler from `start`, (n,), all numbers of an event alike, with the best denoiser of the data.

    later: added to the seed of the case.
    """
    event = event_of(case, (1,))
    x = case.format.rounded(np.broadcast_to(start.reshape(-1, *(1,) * len(event)), (len(start), *event)))
    denoiser = Best(case, data, sampler, levels, x.shape)
    found = case.built.sample(denoiser, x, times, case.seed + later, sampler.name)
    asked = np.array([t[0] for t in denoiser.asked]).astype(times.dtype)
    return Run(found.astype(np.float64).reshape(len(x), -1), asked, denoiser.given, len(times) - 1)


def scales_of_run(case: Case, sampler: Sampler, times: Times) -> Scales:
    """Return the scales at the times of a run; a floor of sigma moves what comes from v alone."""
    q = scales(case, times)
    if sampler.prediction == "v" or q.floor == 0.0:
        return q
    return Scales(q.alpha, q.sigma, q.d_alpha - q.floor * q.alpha, q.d_sigma - q.floor * q.sigma)


def judgeable(case: Case, sampler: Sampler, times: Times) -> Scales:
    """Return the scales at the times of a run. Raises NotClaimed where a division by one of them says nothing.

    From x_0 and v no step divides by alpha, so that a run may begin where a chain has an exact 0 (DIS-6).
    """
    q = scales_of_run(case, sampler, times)
    ended = (q.alpha == 0.0) & isinstance(case.process, Chain) & (sampler.prediction in ("x_0", "v"))
    if not (((8.0 * q.d_alpha <= q.alpha) | ended) & (8.0 * q.d_sigma <= q.sigma))[:-1].all():
        raise NotClaimed("alpha or sigma is within its own uncertainty at a time of the run")
    return q


def drawn(
    case: Case, sampler: Sampler, data: Gaussian, z: Floats, times: Times, levels: Levels, *, later: int = 0
) -> Floats:
    """Run a sampler from independent draws of the data at the first time, z normal; return at least as many draws.

    later: added to the seed of the case.
    """
    alpha, sigma = (float(x[0]) for x in levels(times[:1].astype(np.float64)))
    event = event_of(case, (len(z),))
    shape = (-(-len(z) // int(np.prod(event))), *event)
    start = np.resize(data.on_flow(z, alpha, sigma), shape)
    denoiser = Best(case, data, sampler, levels, shape)
    x = case.format.rounded(start)
    return case.built.sample(denoiser, x, times, case.seed + later, sampler.name).astype(np.float64)


@final
@dataclass(frozen=True, slots=True)
class Stretch:
    """The times of a process where a run goes from much noise to little, with alpha and sigma in between."""

    first: float
    last: float
    levels: Levels
    known: bool
    """Whether the scales are known at every time of the process, and not on the stretch alone."""


def stretch(case: Case) -> Stretch:
    """Return the stretch where the share of the signal grows from 0.1 to 0.9, or the nearest that the claim has."""
    if isinstance(case.process, Own):
        return _own_stretch(case)
    last, first = (float(t) for t in middle(case, (0.0, 1.0)))
    return Stretch(first, last, known_levels(case.process), known=True)


def known_levels(process: Process) -> Levels:
    """Return alpha and sigma of a process of the contract."""
    match process:
        case Linear(beta_min=low, beta_max=high):
            return linear_levels(low, high)
        case Cosine(s=s):
            return cosine_levels(s)
        case Chain(betas=betas):
            return chain_levels(betas)
        case _:
            raise NotClaimed("a process of the library's own has scales that are known on a stretch only")


def levels_of_grids(case: Case, runs: Sequence[Times]) -> Levels:
    """Return alpha and sigma along a target's own grids; of its own process what it has there, and splines between."""
    if not isinstance(case.process, Own):
        return known_levels(case.process)
    if case.steps:
        return _table(case)
    low, high = span(case)
    t = np.unique(np.concatenate(runs))
    if t[0] < low or t[-1] > high:
        raise NotClaimed("the grid goes beyond the times that are claimed")
    nodes, (alpha, sigma) = t.astype(np.float64), unit_scales(case, t)
    between = _splines(case, np.unique(case.format.rounded(np.linspace(low, high, NODES))))

    def at(times: Floats) -> tuple[Floats, Floats]:
        place = np.searchsorted(nodes, times).clip(max=len(nodes) - 1)
        given, (a, s) = nodes[place] == times, between(times)
        return np.where(given, alpha[place], a), np.where(given, sigma[place], s)

    return at


def _table(case: Case) -> Levels:
    """Return alpha and sigma of a chain of the library's own."""
    alpha, sigma = unit_scales(case, np.arange(case.steps + 1))
    return lambda k: (alpha[np.asarray(k, dtype=np.int64)], sigma[np.asarray(k, dtype=np.int64)])


def _splines(case: Case, t: Times) -> Levels:
    """Return alpha and sigma by splines through what the target has at these times."""
    alpha, sigma = unit_scales(case, t)
    wide = t.astype(np.float64)
    by_t = scipy.interpolate.CubicSpline(wide, alpha), scipy.interpolate.CubicSpline(wide, sigma)
    return lambda at: (by_t[0](at), by_t[1](at))


def _own_stretch(case: Case) -> Stretch:
    """Return the stretch of a library's own process, its scales by splines through what the target has."""
    low, high = span(case)
    coarse = np.arange(1, case.steps + 1) if case.steps else case.format.rounded(np.linspace(low, high, NODES))
    alpha, sigma = unit_scales(case, coarse)
    share = alpha**2 / (alpha**2 + sigma**2)
    inside = np.flatnonzero((share <= ENDS[0]) & (share >= ENDS[1]))
    if len(inside) < 2:
        raise NotClaimed("the process has too few times at which both alpha and sigma are large")
    last, first = float(coarse[inside[0]]), float(coarse[inside[-1]])
    if case.steps:
        return Stretch(first, last, _table(case), known=False)
    between = _splines(case, np.unique(case.format.rounded(np.linspace(last, first, NODES))))
    return Stretch(first, last, between, known=False)


def own_times(case: Case, counts: Sequence[int]) -> list[Times]:
    """Return the target's own grids. Raises NotClaimed without `grid`, and of a chain too short for an order."""
    if "grid" not in case.capabilities:
        raise NotClaimed("the sampler goes along the times of grid only, and the claim has none")
    if 0 < case.steps < 2 * max(counts):
        raise NotClaimed(f"the chain has fewer than {2 * max(counts)} steps")
    return [case.built.grid(n) for n in counts]


def even_times(case: Case, over: Stretch, n: int) -> Times:
    """Return n + 1 times at equal distances, indices of a chain included. Raises NotClaimed of too short a chain."""
    if case.steps:
        stride = int(over.first - over.last) // n
        if stride < 1:
            raise NotClaimed(f"the chain has no {n} even strides where its noise is neither little nor nearly all")
        return np.asarray(int(over.last) + stride * np.arange(n, -1, -1), dtype=np.int64)
    return case.format.rounded(over.first + (over.last - over.first) * np.arange(n + 1) / n)


def level_times(case: Case, over: Stretch, n: int) -> Times:
    """Return n + 1 times between which the log-SNR grows by equal steps, indices of a chain excluded."""
    if case.steps:
        raise NotClaimed("a chain has no times between its indices")
    t = np.linspace(over.first, over.last, 8193)
    alpha, sigma = over.levels(t)
    log_snr = np.log(alpha / sigma)
    found = scipy.interpolate.CubicSpline(log_snr, t)(np.linspace(log_snr[0], log_snr[-1], n + 1))
    return case.format.rounded(np.concatenate([t[:1], found[1:-1], t[-1:]]))


def short_then_long(case: Case, over: Stretch, length: float) -> Times:
    """Return five times: three short steps and one of this length, of the stretch; short is a quarter of its square."""
    if case.steps:
        raise NotClaimed("a chain has no times between its indices")
    steps = np.array([0.0, *np.cumsum([length**2 / 4.0] * 3 + [length])])
    return case.format.rounded(over.first + (over.last - over.first) * steps)


def falling(times: Times) -> Times:
    """Return the times. Raises NotClaimed if rounding has made two of them one."""
    if not (np.diff(times.astype(np.float64)) < 0.0).all():
        raise NotClaimed("the format has too few times between the ends of the run")
    return times
