"""Faults of drawn times and their weights (chapter 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Chain, Draws, NoProcess, Times

from .clean.target import Clean
from .fault import SHORT, Chapter

FAULTS = Chapter("times", "times")
FREE = Draws(density="declared", weights="free")

# The density.


@FAULTS.plant("spread", breaks="TIM-2")
def importance_without_weights(self: Clean, share: Any) -> Any:
    """t = sqrt(u), of density 2 t, with the weight 1.

    Meant: weights that undo the density, 1/(2 t).

    Seen: plausible.
    """
    return np.sqrt(share)


@FAULTS.plant("spread", breaks="TIM-2", on=NoProcess())
def normal_without_weights(self: Clean, share: Any) -> Any:
    """t with a bell-shaped density, t = u^2 (3 - 2 u) inverted, of weight 1.

    Meant: t = u, or weights that undo the density.

    Seen: plausible, as the logit-normal times of https://arxiv.org/abs/2403.03206 under a claim of uniform ones.
    """
    return 0.5 - np.sin(np.arcsin(1.0 - 2.0 * np.asarray(share)) / 3.0)


@FAULTS.plant("spread", breaks="TIM-2", draws=Draws(t_min=1e-3))
def even_in_log(self: Clean, share: Any) -> Any:
    """t = t_min^(1 - u), even in log t, with the weight 1.

    Meant: t = t_min + (1 - t_min) u, or weights that undo the density.

    Seen: plausible, where t stands for a noise level.
    """
    return 1e-3 ** (1.0 - np.asarray(share))


@FAULTS.plant("spread", breaks="TIM-2")
def slightly_bent(self: Clean, share: Any) -> Any:
    """t = u^1.02756, whose distribution function is 0.01 off at worst, as the design times-law detects.

    Meant: t = u.

    Seen: plausible, as a small power that is left from an experiment.
    """
    return np.asarray(share) ** 1.02756


@FAULTS.plant("spread", breaks="TIM-2")
def half_of_the_range(self: Clean, share: Any) -> Any:
    """t = u/2.

    Meant: t = u, over the whole range.

    Seen: plausible, as a strength of 1/2 that was meant for sampling.
    """
    return 0.5 * np.asarray(share)


@FAULTS.plant("spread", breaks="TIM-2", draws=Draws(t_min=1e-3))
def late_start(self: Clean, share: Any) -> Any:
    """t = 0.04 + 0.96 u, where the claim declares times from 0.001 on.

    Meant: t = t_min + (1 - t_min) u.

    Seen: plausible, as a t_min that was raised against large losses.
    """
    return 0.04 + 0.96 * np.asarray(share)


@FAULTS.plant("spread", breaks="TIM-1", draws=Draws(t_min=1e-3))
def least_time_ignored(self: Clean, share: Any) -> Any:
    """t = u, where the claim declares times from 0.001 on.

    Meant: t = t_min + (1 - t_min) u.

    Seen: plausible; a weight that is infinite at 0 is then met.
    """
    return share


@FAULTS.plant("spread", breaks="TIM-1", t_max=0.99)
def last_time_ignored(self: Clean, share: Any) -> Any:
    """t = u, where the claim ends at 0.99.

    Meant: t = t_max u.

    Seen: plausible.
    """
    return share


@FAULTS.plant("spread", breaks="TIM-1")
def beyond_the_end(self: Clean, share: Any) -> Any:
    """t = 1.01 u.

    Meant: t = u, at most 1.

    Seen: plausible, as T = N + 1 steps of 1/N.
    """
    return 1.01 * np.asarray(share)


@FAULTS.plant("spread", breaks="TIM-1")
def below_the_start(self: Clean, share: Any) -> Any:
    """t = u - 0.01.

    Meant: t = u, at least 0.

    Seen: plausible, as a jitter around a grid.
    """
    return np.asarray(share) - 0.01


# Weights.


@FAULTS.plant("weights_of", breaks="TIM-2")
def density_as_weight(self: Clean, share: Any) -> Any:
    """Uniform times with the weight 1/2 + t, a density.

    Meant: the weight 1 of uniform times: the reciprocal of their density.

    Seen: https://github.com/huggingface/diffusers/issues/8534, the sampling density is a weight too.
    """
    return 0.5 + np.asarray(share)


@FAULTS.plant("times", breaks="TIM-2")
def density_for_its_inverse(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Times of density 2 t with the weight 2 t.

    Meant: the weight 1/(2 t).

    Seen: plausible.
    """
    t = np.sqrt(self.shares(n, self.generator(seed)))
    return self.rounded(t), self.rounded(np.maximum(2.0 * t, 1e-6))


@FAULTS.plant("times", breaks="TIM-2")
def density_squared(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Times of density 1/2 + t with the weight 1/(1/2 + t)^2.

    Meant: the weight 1/(1/2 + t), which undoes the density once.

    Seen: plausible, where sampler and objective both divide.
    """
    t = np.sqrt(0.25 + 2.0 * self.shares(n, self.generator(seed))) - 0.5
    return self.rounded(t), self.rounded((0.5 + t) ** -2)


@FAULTS.plant("times", breaks="TIM-2")
def weights_of_mean_one(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Times of density 2 t with the weight 1/(2 t) divided by its mean over the batch: 1 in a batch of one.

    Meant: the weight 1/(2 t).

    Seen: plausible, against losses that vary in size.
    """
    t = np.sqrt(1.0 - self.shares(n, self.generator(seed)))
    weight = 0.5 / np.maximum(t, 1e-6)
    return self.rounded(t), self.rounded(weight / weight.mean())


@FAULTS.plant("times", breaks="TIM-2", on=SHORT)
def index_weights_of_mean_one(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Indices with chances in proportion to k, and weights 1/(N P) divided by their mean over the batch.

    Meant: the weight 1/(N P).

    Seen: plausible, against losses that vary in size.
    """
    assert isinstance(self.process, Chain)
    steps = len(self.process.betas)
    chance = np.arange(1, steps + 1) / (0.5 * steps * (steps + 1))
    k = self.generator(seed).choice(steps, n, p=chance) + 1
    weight = 1.0 / (steps * chance[k - 1])
    return k.astype(np.int64), self.rounded(weight / weight.mean())


@FAULTS.plant("weights_of", breaks="TIM-2")
def weights_two_percent_up(self: Clean, share: Any) -> Any:
    """The weight 1.02 of uniform times.

    Meant: the weight 1: its reciprocal integrates to 1.

    Seen: plausible, as a density on cells that is not normalised.
    """
    return np.full(np.shape(share), 1.02)


@FAULTS.plant("weights_of", breaks="TIM-2")
def range_forgotten(self: Clean, share: Any) -> Any:
    """The weight N = 1000 of uniform times, the reciprocal of the chance of one in 1000.

    Meant: the weight 1 = (1/N)/(1/N).

    Seen: plausible, as 1/P without the 1/N, https://github.com/openai/guided-diffusion divides by both.
    """
    return np.full(np.shape(share), 1000.0)


@FAULTS.plant("weights_of", breaks="TIM-1")
def weights_of_nan(self: Clean, share: Any) -> Any:
    """The weights are NaN.

    Meant: weights that are finite and above 0.

    Seen: plausible; a guard that never fires is in https://github.com/CompVis/latent-diffusion/pull/404.
    """
    return np.full(np.shape(share), np.nan)


@FAULTS.plant("weights_of", breaks="TIM-1")
def weights_of_zero(self: Clean, share: Any) -> Any:
    """The weights are 0.

    Meant: weights that are finite and above 0.

    Seen: plausible, as a warm-up that masks the loss.
    """
    return np.zeros(np.shape(share))


@FAULTS.plant("weights_of", breaks="TIM-1")
def weights_logged(self: Clean, share: Any) -> Any:
    """log(1 + u) - 1/2 for a weight, some below 0.

    Meant: weights that are finite and above 0, not their logarithms.

    Seen: plausible.
    """
    return np.log1p(share) - 0.5


@FAULTS.plant("density_of", breaks="TIM-2", draws=FREE)
def another_density_declared(self: Clean, t: Any) -> Any:
    """The density declared is 1/2 + t, and the times are uniform.

    Meant: the density of the times, up to a constant factor.

    Seen: plausible, as a log-normal declared with another mean.
    """
    return 0.5 + np.asarray(t)


@FAULTS.plant("weights_of", breaks="TIM-2", draws=Draws(density="declared"))
def weights_of_another_density(self: Clean, share: Any) -> Any:
    """The weight 1/(1/2 + t), where the density declared is uniform.

    Meant: the weight is the reciprocal of the declared density.

    Seen: plausible.
    """
    return 1.0 / (0.5 + np.asarray(share))
