"""Chapter 10: do a target's steps, one after another, lead to the law of SMP-7."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Times
from refdiff.conformance.subject import Subject

from .experiments import PROCESSES, by_design
from .oracles import walk
from .oracles.mixture import TWO
from .readings import scales
from .statistics import Design

LAW = Design(
    name="sampler-law",
    law="law",
    catches=0.02,
    bias=1e-3,
    why="the noise of each step a tenth too small ends 0.027 off, eps_hat 7% too large 0.021 (linear default)",
    samples=PROCESSES,
)
"""The bias: the grid is off by less than 1e-6, and float32 rounding moves a draw by 1e-6 a step where p < 3."""
PARTS = 16
"""Steps go from 15/16 of the process to 1/16 of it."""


def _grid(subject: Subject) -> list[Times]:
    """Return the times of the walk, falling, each of shape (1,)."""
    shares = np.arange(PARTS - 1, 0, -1) / PARTS
    if not isinstance(subject.process, Chain):
        return [subject.format.rounded(np.array([share])) for share in shares]
    steps = len(subject.process.betas)
    indices = sorted({max(round(share * steps), 1) for share in shares.tolist()}, reverse=True)
    if len(indices) < 2:
        raise NotClaimed("a chain this short has no walk")
    return [np.array([k]) for k in indices]


@by_design(LAW)
@check("SMP-7", "step", "perturb")
def test_walk(subject: Subject) -> None:
    """SMP-7: from the law of a mixture near t = 1, ddpm steps with the exact eps* lead to the law of their kernels."""
    if subject.format.bits < 24:
        raise NotClaimed("a walk in half precision is moved by rounding more than the test allows")
    times, rng = _grid(subject), subject.rng()
    at = [scales(subject, t) for t in times]
    alphas, sigmas = (np.array([float(x[0]) for x in xs]) for xs in ([q.alpha for q in at], [q.sigma for q in at]))
    laws = [TWO.noised(a, s**2) for a, s in zip(alphas.tolist(), sigmas.tolist(), strict=True)]
    x = subject.format.rounded(laws[0].draw(LAW.n, rng)[None, :])
    for (t, s), law, sigma in zip(itertools.pairwise(times), laws, sigmas.tolist(), strict=False):
        eps_hat = -sigma * law.score(x[0].astype(np.float64))
        noise = subject.format.rounded(rng.standard_normal(x.shape))
        x = subject.built.step(x, subject.format.rounded(eps_hat[None, :]), t, s, noise, "ddpm")
    want = _law(tuple(alphas.tolist()), tuple(sigmas.tolist()))
    outcome = LAW.judge(want.cdf(x[0].astype(np.float64)))
    what = f"Kolmogorov distance after {len(times) - 1} ddpm steps ({outcome.n} draws)"
    subject.expect(what, [outcome.statistic], 0.0, outcome.high, at={"t": times[-1]})


@lru_cache(maxsize=64)
def _law(alphas: tuple[float, ...], sigmas: tuple[float, ...]) -> walk.Law:
    """Return the exact law of the last step, on a grid whose spacing is at most the narrowest step's deviation."""
    first, last = (TWO.noised(alphas[i], sigmas[i] ** 2) for i in (0, -1))
    steps = walk.ancestral(TWO, np.array(alphas), np.array(sigmas))
    narrowest = min(np.sqrt(variance) for _, variance in steps)
    low, high = first.reach(1e-12)
    points = int(np.clip(2.0 * (high - low + 2.0) / narrowest, 400, 2000))
    return walk.walked(TWO, steps, first, last, points)
