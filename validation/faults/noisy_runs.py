"""Faults of whole samplers with noise (chapter 10)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .clean.runs import SAMPLERS, Ask, Noise
from .clean.target import Clean
from .fault import LINEAR, OWN, Chapter

FAULTS = Chapter("noisy-run", "sample")
NAMED = {sampler.name: sampler for sampler in SAMPLERS}
ANCESTRAL: dict[str, Any] = {"samplers": (NAMED["ancestral"],)}
REVERSE: dict[str, Any] = {"samplers": (NAMED["reverse"],)}

# DDPM.


@FAULTS.plant("spread_of", breaks="SMP-12", **ANCESTRAL)
def noise_at_the_end(self: Clean, t: Any, s: Any) -> Any:
    """The deviation is sqrt(1 - alpha_bar_t/alpha_bar_s), in the last step too.

    Meant: no noise in the step to s = 0.

    Seen: the ancestral predictor of https://github.com/yang-song/score_sde_pytorch; `fixed_large` of diffusers.
    """
    return np.sqrt(self.transition_variance(t, s))


@FAULTS.plant("spread_of", breaks="SMP-13", **ANCESTRAL)
def variance_for_deviation(self: Clean, t: Any, s: Any) -> Any:
    """The noise is V z.

    Meant: sqrt(V) z.

    Seen: plausible.
    """
    return self.posterior_variance(t, s)


@FAULTS.plant("spread_of", breaks="SMP-13", **ANCESTRAL)
def noise_a_tenth_short(self: Clean, t: Any, s: Any) -> Any:
    """The noise is 0.9 sqrt(V) z.

    Meant: sqrt(V) z.

    Seen: plausible, as a temperature.
    """
    return 0.9 * Clean.spread_of(self, t, s)


@FAULTS.plant("spread_of", breaks="SMP-13", **ANCESTRAL)
def variance_at_the_design(self: Clean, t: Any, s: Any) -> Any:
    """The noise is 0.9356 sqrt(V) z: the variance at the end is 0.12 short in the limit of many steps.

    Meant: sqrt(V) z; a variance 0.12 off is twice the 0.06 of the design run-variance, which it detects of a limit.

    Seen: plausible, as a temperature.
    """
    return 0.9356 * Clean.spread_of(self, t, s)


@FAULTS.plant("denoised", breaks="SMP-13", **ANCESTRAL)
def mean_at_the_design(self: Clean, x: Any, eps: Any, t: Any) -> Any:
    """x_0 + 0.03614: the mean at the end is 0.1 deviations off in the limit of many steps.

    Meant: x_0 = (x_t - sigma eps)/alpha; 0.1 is twice the 0.05 of the design run-mean, which it detects of a limit.

    Seen: plausible, as bytes that are centred at 132 in place of 127.5.
    """
    return Clean.denoised(self, x, eps, t) + 0.036139


@FAULTS.plant("denoised", breaks="SMP-13", **ANCESTRAL)
def x_0_a_tenth_too_large(self: Clean, x: Any, eps: Any, t: Any) -> Any:
    """1.1 x_0.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible, as a rescaling of data that is not undone.
    """
    return 1.1 * Clean.denoised(self, x, eps, t)


@FAULTS.plant("denoised", breaks="SMP-12", **ANCESTRAL)
def x_0_clipped_far_out(self: Clean, x: Any, eps: Any, t: Any) -> Any:
    """x_0 is clipped to [-10, 10] along the run.

    Meant: x_0 as predicted, unless a clip is asked for.

    Seen: plausible, as a guard against a prediction that explodes.
    """
    return np.clip(Clean.denoised(self, x, eps, t), -10.0, 10.0)


@FAULTS.plant("denoised", breaks="SMP-12 SMP-13", **ANCESTRAL)
def x_0_not_divided(self: Clean, x: Any, eps: Any, t: Any) -> Any:
    """x_0 = x_t - sigma eps.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible.
    """
    return x - self.sigma(t) * eps


@FAULTS.plant("denoised", breaks="SMP-12 SMP-13", **ANCESTRAL)
def data_in_the_unit_interval(self: Clean, x: Any, eps: Any, t: Any) -> Any:
    """x_0 is clipped to [0, 1].

    Meant: x_0 as predicted; data is in [-1, 1].

    Seen: plausible; data in [0, 255] or [0, 1] is met in six issues of trainers.
    """
    return np.clip(Clean.denoised(self, x, eps, t), 0.0, 1.0)


@FAULTS.plant("run_ancestral", breaks="SMP-13", **ANCESTRAL)
def first_step_without_noise(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """The first step adds no noise.

    Meant: every step to s > 0 adds noise.

    Seen: plausible, as a test of the index of the step for its first in place of its last.
    """
    for k, (t, s) in enumerate(self.pairs(times)):
        on_x_0, on_x_t = self.posterior_factors(t, s)
        x = on_x_0 * self.denoised(x, ask(x, t), t) + on_x_t * x + (k > 0) * self.spread_of(t, s) * noise()
    return x


@FAULTS.plant("draw", breaks="SMP-13", **ANCESTRAL)
def same_noise_in_every_step(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Every step has the same noise.

    Meant: each step has noise of its own.

    Seen: plausible, as a generator that is made again in the loop.
    """
    return np.random.default_rng(0).standard_normal(shape)


@FAULTS.plant("noise_source", breaks="SMP-13", **ANCESTRAL)
def seed_ignored(self: Clean, seed: int) -> np.random.Generator:
    """Every run has the noise of the seed 0.

    Meant: the noise of the seed that is given.

    Seen: plausible, as `manual_seed(0)` that is left in a sampler.
    """
    return np.random.default_rng(0)


@FAULTS.plant("draw", breaks="SMP-13", **ANCESTRAL)
def one_noise_for_all_rows(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """All examples have the same noise.

    Meant: each example has noise of its own.

    Seen: plausible, as `randn_like(x[0])`.
    """
    return np.full(shape, rng.standard_normal())


@FAULTS.plant("draw", breaks="SMP-13", **ANCESTRAL)
def uniform_noise(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """The noise is uniform in [0, 1).

    Meant: the noise is normal, of mean 0 and variance 1.

    Seen: plausible, as `rand` for `randn`.
    """
    return rng.random(shape)


@FAULTS.plant("posterior_factors", breaks="SMP-13", on=(LINEAR, OWN), also=("schedule",), **ANCESTRAL)
def factors_of_the_flow(self: Clean, t: Any, s: Any) -> tuple[Any, Any]:
    """The mean is that of DDIM, and the noise of DDPM is added to it.

    Meant: the mean of the posterior, with its noise.

    Seen: plausible, as DDIM with noise whose direction is not shortened.
    """
    on_x_t = self.sigma(s) / self.sigma(t)
    return self.alpha(s) - on_x_t * self.alpha(t), on_x_t


@FAULTS.plant("pairs", breaks="SMP-12", **ANCESTRAL)
def last_step_left_out(self: Clean, times: Any) -> Any:
    """The run ends at the time before the last.

    Meant: steps between all neighbours of the times.

    Seen: plausible, as `range(len(times) - 2)`.
    """
    return pairwise(times[:-1])


# Euler-Maruyama.


@FAULTS.plant("reverse_slope", breaks="SMP-13", **REVERSE)
def half_of_the_score(self: Clean, x: Any, score: Any) -> Any:
    """The slope is (x + score)/2.

    Meant: x/2 + score.

    Seen: plausible, as the flow's slope with noise.
    """
    return 0.5 * (x + score)


@FAULTS.plant("reverse_slope", breaks="SMP-13", **REVERSE)
def half_lost(self: Clean, x: Any, score: Any) -> Any:
    """The slope is x + score.

    Meant: x/2 + score.

    Seen: plausible.
    """
    return x + score


@FAULTS.plant("reverse_slope", breaks="SMP-13", **REVERSE)
def sign_of_the_drift(self: Clean, x: Any, score: Any) -> Any:
    """The slope is -x/2 + score.

    Meant: x/2 + score, as time runs backwards.

    Seen: plausible.
    """
    return -0.5 * x + score


@FAULTS.plant("draw", breaks="SMP-13", **REVERSE)
def no_noise(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """There is no noise.

    Meant: sqrt(beta h) z in every step.

    Seen: plausible.
    """
    return np.zeros(shape)


@FAULTS.plant("draw", breaks="SMP-13", **REVERSE)
def noise_doubled(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """The noise has the variance 2.

    Meant: sqrt(beta h) z, of variance beta h.

    Seen: a Langevin corrector lacks a root in diffusionjax; plausible here.
    """
    return np.sqrt(2.0) * rng.standard_normal(shape)
