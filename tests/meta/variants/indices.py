"""Indices of a chain, as training draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Process
from tests.meta.variants.variant import DDPM, SHORT, Claimed, Family, Methods

FAMILY = Family("indices")
F = np.float32


TWO, THREE = Chain(betas=(0.2, 0.4)), Chain(betas=(0.1, 0.2, 0.3))
CHAINS = (DDPM, SHORT, TWO, THREE, Chain(betas=(0.25,)))


def indices(on: tuple[Claimed, ...] = CHAINS) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a function (n, steps, generator) -> k in 1..steps as a variant with weights of 1."""

    def add(draw: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            assert isinstance(p, Chain)
            steps = len(p.betas)
            return {
                "times": lambda n, seed: (
                    np.asarray(draw(n, steps, np.random.default_rng(seed))).astype(np.int64),
                    np.ones(n, dtype=F),
                )
            }

        FAMILY.add(make, "times", on=on, name=draw.__name__.replace("_", " "), form=(draw.__doc__ or "").strip())
        return draw

    return add


@indices()
def integers(n: int, steps: int, rng: np.random.Generator) -> Any:
    """Independent, by NumPy's integers from 1 to N."""
    return rng.integers(1, steps + 1, size=n)


@indices()
def integers_from_zero(n: int, steps: int, rng: np.random.Generator) -> Any:
    """randint(0, N) of a library that counts from 0: the adapter adds 1."""
    return rng.integers(0, steps, size=n) + 1


@indices()
def floor_of_a_uniform(n: int, steps: int, rng: np.random.Generator) -> Any:
    """floor(u N) + 1."""
    return np.floor(rng.random(n) * steps) + 1


@indices()
def ceiling_of_a_uniform(n: int, steps: int, rng: np.random.Generator) -> Any:
    """ceil((1 - u) N)."""
    return np.ceil((1.0 - rng.random(n)) * steps)


@indices()
def chosen(n: int, steps: int, rng: np.random.Generator) -> Any:
    """choice with equal probabilities, as guided-diffusion's uniform sampler."""
    return rng.choice(steps, size=n, p=np.full(steps, 1.0 / steps)) + 1


@indices()
def permutations(n: int, steps: int, rng: np.random.Generator) -> Any:
    """One permutation of all indices after another, as many as are needed."""
    return np.concatenate([rng.permutation(steps) for _ in range(-(-n // steps))])[:n] + 1


@indices()
def antithetic_indices(n: int, steps: int, rng: np.random.Generator) -> Any:
    """DDIM's: k and N + 1 - k in one batch."""
    half = rng.integers(1, steps + 1, size=n // 2 + 1)
    return np.concatenate([half, steps + 1 - half])[:n]


@indices()
def strata_of_indices(n: int, steps: int, rng: np.random.Generator) -> Any:
    """Stratified times, shuffled, and the index of the step that each falls into."""
    return np.minimum(np.floor((rng.permutation(n) + rng.random(n)) / n * steps), steps - 1) + 1


@FAMILY.of("times", on=(DDPM, SHORT, THREE))
def indices_by_importance(p: Process) -> Methods:
    """P(k) proportional to k + 1, weights (1/N)/P(k)."""
    assert isinstance(p, Chain)
    steps = len(p.betas)
    mass = np.arange(2, steps + 2) / np.arange(2, steps + 2).sum()

    def times(n: int, seed: int) -> Any:
        k = np.random.default_rng(seed).choice(steps, size=n, p=mass)
        return k.astype(np.int64) + 1, (1.0 / (steps * mass[k])).astype(F)

    return {"times": times}
