"""Times of training: uniform in many ways, weights that undo a density, densities that belong to the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from refdiff.conformance.interface import Draws, Process
from tests.meta.variants.variant import COSINE, LINEAR, OWN, Claimed, Family, Methods

FAMILY = Family("times")
F = np.float32
Draw = Callable[[int, np.random.Generator], Any]


def _ones(n: int) -> Any:
    return np.ones(n, dtype=F)


def uniform(on: Claimed | tuple[Claimed, ...] = (LINEAR, COSINE), **options: Any) -> Callable[[Draw], Draw]:
    """Add a function (n, generator) -> times, uniform in [0, 1], as a variant with weights of 1."""

    def add(draw: Draw) -> Draw:
        def times(n: int, seed: int) -> Any:
            return np.asarray(draw(n, np.random.default_rng(seed))).astype(F), _ones(n)

        FAMILY.add(
            lambda p: {"times": times},
            "times",
            on=on,
            name=draw.__name__.replace("_", " ").strip(),
            form=(draw.__doc__ or "").strip(),
            **options,
        )
        return draw

    return add


@uniform()
def independent(n: int, rng: np.random.Generator) -> Any:
    """Independent and uniform, in float32."""
    return rng.random(n, dtype=F)


@uniform()
def float64_then_cast(n: int, rng: np.random.Generator) -> Any:
    """Independent, in float64, rounded: 1 is reached now and then."""
    return rng.random(n)


@uniform(on=(LINEAR, OWN))
def open_at_zero(n: int, rng: np.random.Generator) -> Any:
    """1 - u, which is in (0, 1]."""
    return F(1) - rng.random(n, dtype=F)


@uniform()
def antithetic(n: int, rng: np.random.Generator) -> Any:
    """Pairs t, 1 - t, shuffled."""
    half = rng.random((n + 1) // 2)
    return rng.permutation(np.concatenate([half, 1.0 - half]))[:n]


@uniform()
def antithetic_halves(n: int, rng: np.random.Generator) -> Any:
    """t for the first half of the batch and 1 - t for the second: each place is uniform."""
    half = rng.random(n // 2 + 1)
    return np.concatenate([half, 1.0 - half])[:n]


@uniform()
def stratified_and_shuffled(n: int, rng: np.random.Generator) -> Any:
    """One in each [i/n, (i + 1)/n), in random order."""
    return (rng.permutation(n) + rng.random(n)) / n


@uniform()
def stratified_in_order(n: int, rng: np.random.Generator) -> Any:
    """k-diffusion's: one in each stratum, in the order of the batch; unbiased on shuffled data."""
    return (np.arange(n) + rng.random(n)) / n


@uniform()
def low_discrepancy(n: int, rng: np.random.Generator) -> Any:
    """VDM's: (u + i/n) mod 1, one u for the batch."""
    return np.mod(rng.random() + np.arange(n) / n, 1.0)


@uniform()
def low_discrepancy_and_shuffled(n: int, rng: np.random.Generator) -> Any:
    """The same, shuffled."""
    return rng.permutation(np.mod(rng.random() + np.arange(n) / n, 1.0))


@uniform()
def golden_ratio(n: int, rng: np.random.Generator) -> Any:
    """Kronecker's sequence with a random start."""
    return np.mod(rng.random() + np.arange(n) * 0.6180339887498949, 1.0)


@uniform()
def normal_through_its_law(n: int, rng: np.random.Generator) -> Any:
    """Phi of a normal draw."""
    from scipy.special import ndtr

    return ndtr(rng.standard_normal(n))


@uniform()
def exponential_through_its_law(n: int, rng: np.random.Generator) -> Any:
    """exp(-x) of an exponential draw."""
    return np.exp(-rng.standard_exponential(n))


@uniform(on=LINEAR, t_min=1e-5, draws=Draws(t_min=1e-5))
def from_1e_5_on(n: int, rng: np.random.Generator) -> Any:
    """score-SDE's u (1 - 1e-5) + 1e-5."""
    return np.maximum(rng.random(n, dtype=F) * F(1 - 1e-5) + F(1e-5), F(1e-5))


@uniform(on=LINEAR, draws=Draws(t_min=0.04, t_max=0.96))
def a_range_of_draws_alone(n: int, rng: np.random.Generator) -> Any:
    """Served everywhere, drawn from 0.04 to 0.96, as declared."""
    return np.clip((0.04 + 0.92 * rng.random(n)).astype(F), F(0.04), F(0.96))


@uniform(on=LINEAR, t_min=0.001, t_max=0.9946)
def a_range_of_the_claim(n: int, rng: np.random.Generator) -> Any:
    """The claim's own range, [0.001, 0.9946]."""
    return np.clip((0.001 + 0.9936 * rng.random(n)).astype(F), F(0.001), F(0.9946))


@FAMILY.of("times", on=LINEAR)
def torch_rand(p: Process) -> Methods:
    """torch.rand with a generator."""

    def times(n: int, seed: int) -> Any:
        made = torch.rand(n, generator=torch.Generator().manual_seed(seed))
        return made.numpy(), torch.ones(n).numpy()

    return {"times": times}


@FAMILY.of("times", on=LINEAR)
def jax_uniform(p: Process) -> Methods:
    """jax.random.uniform with a key."""

    def times(n: int, seed: int) -> Any:
        size = next(size for size in (8, 64, 1024, 8192) if size >= n)
        made = np.asarray(jax.random.uniform(jax.random.key(seed), (size,), dtype=F))[:n]
        return made, _ones(n)

    return {"times": times}


def importance(
    on: Claimed = LINEAR, **options: Any
) -> Callable[[Callable[[Any], tuple[Any, Any]]], Callable[[Any], tuple[Any, Any]]]:
    """Add a function of uniform u -> (times, density) as a variant whose weights are 1/density."""

    def add(inverse: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], tuple[Any, Any]]:
        def times(n: int, seed: int) -> Any:
            t, density = inverse(np.random.default_rng(seed).random(n))
            return t.astype(F), (1.0 / density).astype(F)

        FAMILY.add(
            lambda p: {"times": times},
            "times",
            on=on,
            name=inverse.__name__.replace("_", " "),
            form=(inverse.__doc__ or "").strip(),
            **options,
        )
        return inverse

    return add


@importance()
def rising_from_a_half(u: Any) -> tuple[Any, Any]:
    """Density 1/2 + t."""
    t = np.sqrt(0.25 + 2.0 * u) - 0.5
    return t, 0.5 + t


@importance()
def twice_t(u: Any) -> tuple[Any, Any]:
    """Density 2t, which is 0 at t = 0: weights 1/(2t), finite wherever a time falls."""
    t = np.sqrt(1.0 - u)
    return t, 2.0 * t


@importance()
def falling_exponential(u: Any) -> tuple[Any, Any]:
    """Density 3 exp(-3t)/(1 - exp(-3))."""
    mass = -np.expm1(-3.0)
    t = np.clip(-np.log1p(-mass * u) / 3.0, 0.0, 1.0)
    return t, 3.0 * np.exp(-3.0 * t) / mass


@importance()
def three_halves_of_a_square_root(u: Any) -> tuple[Any, Any]:
    """Density 3/2 sqrt(t)."""
    t = (1.0 - u) ** (2.0 / 3.0)
    return t, 1.5 * np.sqrt(t)


@importance(t_min=1e-3, draws=Draws(t_min=1e-3))
def uniform_in_the_logarithm(u: Any) -> tuple[Any, Any]:
    """Density 1/t on [0.001, 1], normalised: 1/(t log 1000); weights (1/0.999)/density."""
    t = np.clip(1e-3 * 1000.0**u, 1e-3, 1.0)
    return t, 0.999 / (t * np.log(1000.0))


@importance()
def cells_of_fixed_mass(u: Any) -> tuple[Any, Any]:
    """Eight cells, drawn as a loss-second-moment resampler would with fixed moments, uniform within each."""
    mass = np.array([1.0, 2.0, 4.0, 3.0, 2.0, 2.0, 1.0, 1.0]) / 16.0
    edges = np.concatenate([[0.0], np.cumsum(mass)])
    cell = np.minimum(np.searchsorted(edges, u, side="right") - 1, 7)
    return (cell + (u - edges[cell]) / mass[cell]) / 8.0, 8.0 * mass[cell]


@importance()
def mixed_with_uniform(u: Any) -> tuple[Any, Any]:
    """Half uniform, half of density 6t(1 - t): by bisection of its law."""
    low, high = np.zeros_like(u), np.ones_like(u)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = 0.5 * middle + 0.5 * (3.0 * middle**2 - 2.0 * middle**3) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low, 0.5 + 3.0 * low * (1.0 - low)


@importance()
def nine_tenths_in_the_first_tenth(u: Any) -> tuple[Any, Any]:
    """Two cells, of density 9 and 1/9."""
    first = u < 0.9
    return np.where(first, u / 9.0, 0.1 + 9.0 * (u - 0.9)), np.where(first, 9.0, 1.0 / 9.0)


@importance()
def five_t_to_the_fourth(u: Any) -> tuple[Any, Any]:
    """Density 5t^4: weights without a mean square."""
    t = (1.0 - u) ** 0.2
    return t, 5.0 * t**4


@importance()
def twice_t_from_three_hundredths_on(u: Any) -> tuple[Any, Any]:
    """A density that is 0 where an undeclared range begins, at 0.03."""
    share = np.sqrt(1.0 - u)
    return 0.03 + 0.97 * share, 2.0 * share


@FAMILY.of("times", on=LINEAR)
def pairs_by_importance(p: Process) -> Methods:
    """u and 1 - u, shuffled, through the law of the density 1/2 + t."""

    def times(n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        half = rng.random((n + 1) // 2)
        u = rng.permutation(np.concatenate([half, 1.0 - half]))[:n]
        t = np.sqrt(0.25 + 2.0 * u) - 0.5
        return t.astype(F), (1.0 / (0.5 + t)).astype(F)

    return {"times": times}


@FAMILY.of("times", on=LINEAR)
def strata_by_importance(p: Process) -> Methods:
    """One u in each stratum, shuffled, through the law of the density 2t."""

    def times(n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        t = np.sqrt((rng.permutation(n) + 1.0 - rng.random(n)) / n)
        return t.astype(F), (0.5 / t).astype(F)

    return {"times": times}


def objective(
    density: Callable[[Any], Any], *, weights: str = "free", on: Claimed = LINEAR, **options: Any
) -> Callable[[Draw], Draw]:
    """Add a function (n, generator) -> times as a variant that declares its density; weights are 1, or undo it."""

    def add(draw: Draw) -> Draw:
        def times(n: int, seed: int) -> Any:
            t = np.asarray(draw(n, np.random.default_rng(seed))).astype(F)
            return t, _ones(n)

        FAMILY.add(
            lambda p: {"times": times, "density": lambda t: np.asarray(density(t.astype(np.float64))).astype(F)},
            "times",
            on=on,
            name=draw.__name__.replace("_", " "),
            form=(draw.__doc__ or "").strip(),
            **options,
        )
        return draw

    return add


def _logit_normal(t: Any) -> Any:
    logit = np.log(t / (1.0 - t))
    return np.exp(-0.5 * logit**2) / (t * (1.0 - t))


@objective(_logit_normal, t_min=1e-4, t_max=0.9999, draws=Draws(density="declared", weights="free"))
def logit_normal(n: int, rng: np.random.Generator) -> Any:
    """SD3's: the logistic function of a normal draw, cut to [0.0001, 0.9999], with weight 1."""
    return np.clip(1.0 / (1.0 + np.exp(-np.clip(rng.standard_normal(n), -9.2, 9.2))), 1.0001e-4, 0.99989)


def _log_normal(t: Any) -> Any:
    b = t * (0.1 + 9.95 * t)
    log_q = 0.5 * np.log(np.expm1(b))
    slope = 0.5 * np.exp(b) * (0.1 + 19.9 * t) / np.expm1(b)
    return np.exp(-0.5 * ((log_q + 1.2) / 1.2) ** 2) * slope


@objective(_log_normal, t_min=1e-5, draws=Draws(density="declared", weights="free"))
def log_normal_of_edm(n: int, rng: np.random.Generator) -> Any:
    """EDM's: log(sigma/alpha) is normal, mean -1.2, deviation 1.2; t follows from it."""
    b = np.log1p(np.exp(2.0 * (-1.2 + 1.2 * rng.standard_normal(n))))
    return np.clip(2.0 * b / (0.1 + np.sqrt(0.01 + 39.8 * b)), 1.0001e-5, 1.0)


@objective(lambda t: 1.0 - 0.8 * np.cos(2.0 * np.pi * t), draws=Draws(density="declared", weights="free"))
def a_cosine_of_density(n: int, rng: np.random.Generator) -> Any:
    """Density 1 - 0.8 cos(2 pi t), by bisection of its law."""
    u, low, high = rng.random(n), np.zeros(n), np.ones(n)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = middle - 0.8 * np.sin(2.0 * np.pi * middle) / (2.0 * np.pi) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@FAMILY.of("times", on=LINEAR, draws=Draws(density="declared", weights="undo"))
def declared_and_undone(p: Process) -> Methods:
    """Density 1/2 + t, declared, and weights that undo it."""

    def times(n: int, seed: int) -> Any:
        t = np.sqrt(0.25 + 2.0 * np.random.default_rng(seed).random(n)) - 0.5
        return t.astype(F), (1.0 / (0.5 + t)).astype(F)

    return {"times": times, "density": lambda t: F(0.5) + t}


@FAMILY.of("times", on=LINEAR, draws=Draws(weights="free"))
def uniform_with_free_weights(p: Process) -> Methods:
    """Uniform times, and weights that belong to the objective: 1 + t."""

    def times(n: int, seed: int) -> Any:
        t = np.random.default_rng(seed).random(n, dtype=F)
        return t, F(1) + t

    return {"times": times}
