"""Chapter 10: do a target's steps, one after another, lead to the law of SMP-7."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Times
from refdiff.conformance.step import Step

from ..expected.tiers import Scales, of_variance
from ..oracles import walk
from ..oracles.certified import Floats
from ..oracles.mixture import TWO
from ..statistics.design import Design
from ..statistics.experiments import PROCESSES, by_design
from .grids import event_of
from .inferred import rounding, scales
from .laws import record_draws
from .posteriors import tolerances
from .probes import first_served, last_served
from .serving import first_step

LAW = Design(
    name="sampler-law",
    law="law",
    catches=0.02,
    bias=1e-3,
    why="the noise of each step a tenth too small ends 0.027 off, eps_hat 7% too large 0.021 (linear default)",
    samples=PROCESSES,
)
"""The bias: the oracle is off by OWN at most, and rounding moves the law by 2e-4 where NOISE keeps it (chapter 11)."""
PARTS = 16
"""Steps go from 15/16 of the process to 1/16 of it."""
POINTS, OWN = 700, 1e-4
"""Of the oracle's grid, and how far a grid of half as many may lead from it."""
NOISE = 0.05
"""Largest sum of the steps' bounds, each propagated to the end by the ratio of alphas."""


def _grid(case: Case) -> list[Times]:
    """Return the times of the walk, falling, each of shape (1,)."""
    shares = np.arange(PARTS - 1, 0, -1) / PARTS
    if not case.steps:
        low, high = first_served(case), last_served(case)
        return [case.format.rounded(np.array([low + share * (high - low)])) for share in shares]
    steps = case.steps
    indices = sorted({max(round(share * steps), 1) for share in shares.tolist()}, reverse=True)
    return [np.array([k]) for k in indices]


def _walkable(case: Case) -> tuple[list[Times], Floats, Floats]:
    """Return the times at which steps are known well enough to walk, with alpha and sigma. Raises NotClaimed."""
    if case.format.bits < 24:
        raise NotClaimed("a walk in half precision is moved by rounding more than the test allows")
    times = _grid(case)
    found: list[Scales] = [scales(case, t) for t in times]
    kept = [bool((8.0 * q.d_alpha[0] <= q.alpha[0]) and (8.0 * q.d_sigma[0] <= q.sigma[0])) for q in found]
    times = [t for t, keep in zip(times, kept, strict=True) if keep]
    found = [q for q, keep in zip(found, kept, strict=True) if keep]
    if len(times) < 2:
        raise NotClaimed("the process has too few times at which alpha and sigma exceed their own uncertainty to walk")
    alphas, sigmas = (
        np.array([float(x[0]) for x in xs]) for xs in ([q.alpha for q in found], [q.sigma for q in found])
    )
    whole: npt.NDArray[Any] = np.concatenate(times)
    t, s = whole[:-1], whole[1:]
    limits = tolerances(case, s, t, (alphas[1:], alphas[:-1]), (sigmas[1:] ** 2, sigmas[:-1] ** 2), rounding)
    spread = np.sqrt([variance for _, variance in walk.ancestral(TWO, alphas, sigmas)])
    # Of numbers of size 2, and a draw of noise; a difference at one time is the less at the next, by alpha_t/alpha_s.
    moved = (4.0 * limits.coefficient + of_variance(spread, limits.variance)) * alphas[1:] / alphas[-1]
    if not (limits.domain.all() and moved.sum() <= NOISE):
        raise NotClaimed("rounding may move the steps of this process, in this dtype, by more than the test allows")
    return times, alphas, sigmas


@by_design(LAW)
@check("SMP-7", "step", "perturb")
def test_walk(case: Case) -> None:
    """SMP-7: from the law of a mixture near t = 1, ddpm steps with the exact eps* lead to the law of their kernels."""
    if case.steps == 1:
        raise NotClaimed("a chain of one step has no walk")
    asked = first_step(case, "ddpm")
    if asked.variance != "posterior":
        raise NotClaimed("the claim lists no step of ddpm with the variance of the posterior")
    times, alphas, sigmas = _walkable(case)
    want, rng = _law(tuple(alphas.tolist()), tuple(sigmas.tolist())), case.rng()
    laws = [TWO.noised(a, s**2) for a, s in zip(alphas.tolist(), sigmas.tolist(), strict=True)]
    shape = _shape(case)
    x: Array = case.format.rounded(laws[0].draw(int(np.prod(shape)), rng).reshape(shape))
    for (t, s), law, alpha, sigma in zip(itertools.pairwise(times), laws, alphas, sigmas, strict=False):
        eps_hat = -sigma * law.score(x.astype(np.float64).ravel()).reshape(shape)
        noise = case.format.rounded(rng.standard_normal(shape))
        rows = np.zeros(len(x), dtype=np.intp)
        later, earlier = t[rows], s[rows]
        value = _predicted(asked, x.astype(np.float64), eps_hat, float(alpha), float(sigma))
        x = case.built.step(x, case.format.rounded(value), later, earlier, noise, asked)
    places = want.cdf(x.astype(np.float64).ravel())
    outcome = LAW.judge(places)
    what = f"Kolmogorov distance after {len(times) - 1} ddpm steps ({outcome.n} draws)"
    record_draws(case, what, places, outcome.high)
    case.expect(what, [outcome.statistic], Expected(0.0, outcome.high), at={"t": times[-1]})


def _predicted(asked: Step, x: Floats, eps: Floats, alpha: float, sigma: float) -> Floats:
    """Return the prediction that a step names."""
    x_0 = (x - sigma * eps) / alpha
    found = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0, "score": -eps / sigma}
    return np.asarray(found[asked.prediction])


def _shape(case: Case) -> tuple[int, ...]:
    """Return the shape of the draws: one example of all, or as many of the claimed event as make as many draws."""
    event = event_of(case, (LAW.n,))
    return (-(-LAW.n // int(np.prod(event))), *event)


@lru_cache(maxsize=64)
def _law(alphas: tuple[float, ...], sigmas: tuple[float, ...]) -> walk.Law:
    """Return the exact law of the last step. Raises NotClaimed if half the grid leads elsewhere."""
    first, last = (TWO.noised(alphas[i], sigmas[i] ** 2) for i in (0, -1))
    steps = walk.ancestral(TWO, np.array(alphas), np.array(sigmas))
    try:
        fine, coarse = (walk.carried(TWO, steps, first, last, points) for points in (POINTS, POINTS // 2))
    except ArithmeticError as error:
        raise NotClaimed(f"the suite cannot work out the law of this walk: {error}") from None
    if not fine.distance(coarse.cdf) <= OWN:
        raise NotClaimed("the suite cannot work out the law of this walk to 1e-4")
    return fine
