"""Chapter 6: right time samplers pass, and wrong ones fail the clause that they break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Chain, Draws, Own
from refdiff.conformance.judge import Judge, Settings
from tests.meta.targets.timed import F, Timed, chain
from validation.checks.suite import checks

DECLARED = Draws(density="declared")
FREE = Draws(density="declared", weights="free")


def failed(target: Timed, prefix: str = "TIM", seed: int = 0) -> dict[str, str]:
    """Return the clauses that fail, with their reasons."""
    outcomes = Judge.of(target, Settings(seed=seed)).judge(c for c in checks() if c[0].clause.startswith(prefix))
    return {outcome.clause: outcome.reason for outcome in outcomes if outcome.status == "fail"}


def must(found: dict[str, str]) -> dict[str, str]:
    """Return the MUST clauses that fail."""
    return {name: reason for name, reason in found.items() if clauses()[name].level == "MUST"}


def iid(n: int, rng: Any) -> Any:
    """Return independent times."""
    return rng.random(n)


def strata(n: int, rng: Any) -> Any:
    """Return stratified times in order."""
    return (np.arange(n) + rng.random(n)) / n


def shifted(n: int, rng: Any) -> Any:
    """Return VDM's equidistant times with one random start."""
    return (np.arange(n) / n + rng.random()) % 1.0


def antithetic(n: int, rng: Any) -> Any:
    """Return t and 1 - t in pairs."""
    u = rng.random((n + 1) // 2)
    return np.concatenate([u, 1.0 - u])[:n]


def rising(n: int, rng: Any) -> Any:
    """Return times of density 2t, with weights 1/(2t)."""
    t = np.maximum(np.sqrt(rng.random(n)), 1e-6)
    return t, 1.0 / (2.0 * t)


def cells(n: int, rng: Any) -> Any:
    """Return times of a density that is constant on each of 10 cells, with weights."""
    mass = np.arange(1, 11) / 55.0
    cell = rng.choice(10, size=n, p=mass)
    return (cell + rng.random(n)) / 10.0, 0.1 / mass[cell]


LOG_NORMAL = (-1.2, 1.2)
"""Mean and deviation of EDM's log sigma."""
LOGS = np.log([0.002, 80.0])


def _edm_log(t: Any) -> Any:
    return LOGS[0] + np.asarray(t, dtype=np.float64) * (LOGS[1] - LOGS[0])


def edm(n: int, rng: Any) -> Any:
    """Return stratified times of EDM's log-normal distribution of sigma, restricted to the range of sigma."""
    mean, spread = LOG_NORMAL
    low, high = ndtr((LOGS - mean) / spread)
    return (mean + spread * ndtri(low + (high - low) * rng.random(n)) - LOGS[0]) / (LOGS[1] - LOGS[0])


def edm_density(t: Any) -> Any:
    """Return the density of `edm`, up to a factor."""
    return np.exp(-0.5 * ((_edm_log(t) - LOG_NORMAL[0]) / LOG_NORMAL[1]) ** 2)


def logit_normal(n: int, rng: Any) -> Any:
    """Return times of SD3's logit-normal distribution."""
    return 1.0 / (1.0 + np.exp(-rng.standard_normal(n)))


def logit_normal_density(t: Any) -> Any:
    """Return their density, up to a factor."""
    t = np.asarray(t, dtype=np.float64)
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.exp(-0.5 * np.log(t / (1.0 - t)) ** 2) / (t * (1.0 - t)))


def arcsine(n: int, rng: Any) -> Any:
    """Return times of the arcsine distribution, whose density is unbounded at both ends."""
    return np.sin(0.5 * np.pi * rng.random(n)) ** 2


def arcsine_density(t: Any) -> Any:
    """Return their density, up to a factor."""
    with np.errstate(all="ignore"):
        return 1.0 / np.sqrt(np.asarray(t, dtype=np.float64) * (1.0 - np.asarray(t, dtype=np.float64)))


def declared_and_undone(n: int, rng: Any) -> Any:
    """Return times of density 1/2 + t, with weights 1 over the density."""
    t = np.sqrt(0.25 + 2.0 * rng.random(n)) - 0.5
    return t, 1.0 / (0.5 + t)


def fine_cells(n: int, rng: Any) -> Any:
    """Return times of a decreasing density on 37 cells, which differ from those of a chain, with weights."""
    mass = 1.0 / (np.arange(37) + 1.0)
    mass /= mass.sum()
    cell = rng.choice(37, size=n, p=mass)
    return (cell + rng.random(n)) / 37.0, 1.0 / (37.0 * mass[cell])


def within(low: float, high: float = 1.0) -> Any:
    """Return a sampler of stratified times in a range, shuffled."""
    return lambda n, rng: low + (high - low) * (rng.permutation(n) + rng.random(n)) / n


def weighted_indices(n: int, rng: Any) -> Any:
    """Return indices with probabilities proportional to k, for a chain of 10 steps, with weights."""
    mass = np.arange(1, 11) / 55.0
    k = rng.choice(10, size=n, p=mass)
    return (k + 0.5) / 10.0, 0.1 / mass[k]


RIGHT: dict[str, Timed] = {
    "independent": Timed(iid),
    "independent, float64": Timed(iid, dtype="float64"),
    "independent, float16": Timed(lambda n, rng: rng.integers(0, 2048, n) / 2048.0, dtype="float16"),
    "strata in order": Timed(strata),
    "strata, falling": Timed(lambda n, rng: strata(n, rng)[::-1]),
    "strata, shuffled": Timed(within(0.0)),
    "one random start": Timed(shifted),
    "antithetic": Timed(antithetic),
    "one time for a batch": Timed(lambda n, rng: np.full(n, rng.random())),
    "one time for a batch, density 2t": Timed(lambda n, rng: tuple(np.repeat(x, n) for x in rising(1, rng))),
    "density 2t": Timed(rising),
    "constant on cells": Timed(cells),
    "density 1/2 + t, declared": Timed(declared_and_undone, density=lambda t: 0.5 + t, draws=DECLARED),
    "density 1/2 + t, declared up to a factor": Timed(
        declared_and_undone, density=lambda t: 8 + 16 * t, draws=DECLARED
    ),
    "EDM's log-normal": Timed(edm, density=edm_density, draws=FREE),
    "SD3's logit-normal": Timed(logit_normal, density=logit_normal_density, draws=FREE),
    "density without bounds": Timed(arcsine, density=arcsine_density, draws=FREE),
    "uniform, with weights of an objective": Timed(
        lambda n, rng: (t := iid(n, rng), 1 + t), draws=Draws(weights="free")
    ),
    "range declared": Timed(within(1e-3), draws=Draws(t_min=1e-3)),
    "range of the claim": Timed(within(0.01, 0.99), t_min=0.01, t_max=0.99),
    "range not declared": Timed(within(0.01)),
    "process of its own": Timed(iid, Own(label="own")),
    "chain": Timed(iid, chain(1000)),
    "any chain": Timed(iid, Chain),
    "any chain, strata in order": Timed(strata, Chain),
    "any chain, one time for a batch": Timed(lambda n, rng: np.full(n, rng.random()), Chain),
    "chain of one step": Timed(iid, chain(1)),
    "chain of two steps": Timed(iid, chain(2)),
    "chain of two steps, strata in order": Timed(strata, chain(2)),
    "chain of 4000 steps": Timed(shifted, chain(4000)),
    "indices with weights": Timed(weighted_indices, chain(10)),
    "cells that are not those of the chain": Timed(fine_cells, chain(100)),
    "cells that are not those of a short chain": Timed(fine_cells, chain(3)),
    "indices of a declared law": Timed(weighted_indices, chain(10), density=lambda k: k, draws=DECLARED),
    "indices of a declared law, weights free": Timed(
        lambda n, rng: weighted_indices(n, rng)[0], chain(10), density=lambda k: k, draws=FREE
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_times_pass(name: str) -> None:
    """TIM: right times fail no MUST clause, for any order, dependence within a batch, and declared distribution."""
    assert must(failed(RIGHT[name])) == {}


def rounded_ends(n: int, rng: Any) -> Any:
    """Return k = 1 + round(u (N - 1)): both ends have half the probability of other indices."""
    u = rng.random(n)
    return (lambda steps: 1 + np.rint(u * (steps - 1))), np.ones(n)


def clipped_rounds(n: int, rng: Any) -> Any:
    """Return k = max(1, round(u N)): the last index has 1/2, and the first 3/2, of the probability of others."""
    u = rng.random(n)
    return (lambda steps: np.maximum(np.rint(u * steps), 1)), np.ones(n)


def last_missing(n: int, rng: Any) -> Any:
    """Return k in 1..N-1."""
    u = rng.random(n)
    return (lambda steps: 1 + np.floor(u * max(steps - 1, 1))), np.ones(n)


WRONG: dict[str, tuple[Timed, str]] = {
    "u^0.95 of a chain": (Timed(lambda n, rng: iid(n, rng) ** 0.95, chain(1000)), "TIM-2"),
    "ends half as likely, any chain": (Timed(rounded_ends, Chain), "TIM-2"),
    "ends half as likely, N = 1000": (Timed(rounded_ends, chain(1000)), "TIM-2"),
    "ends half as likely, N = 3": (Timed(rounded_ends, chain(3)), "TIM-2"),
    "rounded and clipped, N = 1000": (Timed(clipped_rounds, chain(1000)), "TIM-2"),
    "last index missing, N = 1000": (Timed(last_missing, chain(1000)), "TIM-2"),
    "begin at 0.04, claimed 1e-3": (Timed(within(0.04), t_min=1e-3), "TIM-2"),
    "begin at 0.06": (Timed(within(0.06)), "TIM-2"),
    "logit-normal, declared uniform": (Timed(logit_normal, draws=Draws(weights="free")), "TIM-2"),
    "logit-normal of spread 1.05": (
        Timed(
            lambda n, rng: 1.0 / (1.0 + np.exp(-1.05 * rng.standard_normal(n))),
            density=logit_normal_density,
            draws=FREE,
        ),
        "TIM-2",
    ),
    "log-normal declared with another mean": (
        Timed(edm, density=lambda t: np.exp(-0.5 * ((_edm_log(t) + 1.1) / 1.2) ** 2), draws=FREE),
        "TIM-2",
    ),
    "indices of another law than declared": (
        Timed(lambda n, rng: weighted_indices(n, rng)[0], chain(10), density=lambda k: k**1.2, draws=FREE),
        "TIM-2",
    ),
}
"""Those that the fault catalogue leaves out: other ranges, declared densities, and lengths of chains."""


@pytest.mark.parametrize("name", WRONG)
def test_wrong_times_fail_their_clause(name: str) -> None:
    """TIM: each wrong sampler fails the clause that it breaks."""
    target, clause = WRONG[name]
    assert clause in failed(target, clause)


def test_declared_density_needs_its_method() -> None:
    """CON-1: a target that declares a density and has no such method fails."""

    class Without:
        claim = Timed(iid, draws=FREE).claim

        def build(self, process: object) -> object:
            made = Timed(iid).build(process)  # type: ignore[arg-type]  # whatever it is
            return type("Built", (), {"times": lambda self, n, seed: made.times(n, seed)})()

    outcomes = Judge.of(Without()).judge(c for c in checks() if c[0].clause == "TIM-2")
    assert any(o.clause == "CON-1" and "density" in o.reason for o in outcomes if o.status == "fail")


def test_times_are_float32_numbers() -> None:
    """The targets of these tests return the dtypes that they claim."""
    t, weight = Timed(iid).build(chain(3)).times(4, 0)
    assert t.dtype == np.dtype(np.int64)
    assert weight.dtype == np.dtype(F)
