"""Faults of drawn times and their weights (chapter 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

<<<<<<< HEAD
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, Chain, Draws, NoProcess, Times

from .clean.scales import wide
from .clean.target import Clean
from .fault import DDPM, LINEAR, SHORT, Chapter
=======
from refdiff.conformance.interface import Array, Chain, Draws, NoProcess, Times

from .clean.target import Clean
from .fault import SHORT, Chapter
>>>>>>> 928575ca663a595c6813fbf9c255c2150e309921

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
<<<<<<< HEAD
    """t = u^1.02756, whose distribution function is 0.01 off at worst: exactly what the design times-law detects.
=======
    """t = u^1.02756, whose distribution function is 0.01 off at worst, as the design times-law detects.
>>>>>>> 928575ca663a595c6813fbf9c255c2150e309921

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

<<<<<<< HEAD
    Seen: plausible, as 0/0 of counts before the first update; `not isnan(w).all()` never guards, latent-diffusion PR 404.
=======
    Seen: plausible; a guard that never fires is in https://github.com/CompVis/latent-diffusion/pull/404.
>>>>>>> 928575ca663a595c6813fbf9c255c2150e309921
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
<<<<<<< HEAD


# Batches, places and seeds.


@FAULTS.plant("times", breaks="TIM-2")
def half_for_a_batch_of_one(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """t = 1/2 in a batch of one.

    Meant: the density of the times, for any n.

    Seen: plausible, as strata of which the middle is taken.
    """
    return Clean.times(self, n, seed) if n > 1 else (self.rounded([0.5]), self.rounded([1.0]))


@FAULTS.plant("times", breaks="TIM-2")
def bent_in_small_batches(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """t = u^1.7361 in batches of one and two: P(t <= c) is 0.2 off at worst, exactly what the design times-small detects.

    Meant: t = u, for any n.

    Seen: plausible, as weights divided by their mean over the batch, which are 1 in a batch of one.
    """
    t, weight = Clean.times(self, n, seed)
    return (self.rounded(wide(t) ** 1.7361064491754328), weight) if n <= 2 else (t, weight)


@FAULTS.plant("shares", breaks="CON-2")
def one_stratum_too_many(self: Clean, n: int, rng: np.random.Generator) -> Any:
    """arange(0, 1, 1/n) has n + 1 strata for n = 49, 98 and 103.

    Meant: i/n for i = 0, ..., n - 1.

    Seen: https://github.com/google-research/vdm, antithetic times.
    """
    return (np.arange(0.0, 1.0, 1.0 / n) + rng.random()) % 1.0


@FAULTS.plant("shares", breaks="TIM-4")
def strata_in_order(self: Clean, n: int, rng: np.random.Generator) -> Any:
    """The strata rise along the batch.

    Meant: the strata in random order, so that a place in the batch says nothing of its time.

    Seen: `stratified_uniform` of https://github.com/crowsonkb/k-diffusion.
    """
    return (np.arange(n) + rng.random(n)) / n


@FAULTS.plant("shares", breaks="TIM-4", on=SHORT)
def strata_falling(self: Clean, n: int, rng: np.random.Generator) -> Any:
    """The strata fall along the batch.

    Meant: the strata in random order, so that a place in the batch says nothing of its time.

    Seen: plausible.
    """
    return (np.arange(n)[::-1] + rng.random(n)) / n


@FAULTS.plant("shares", breaks="TIM-4")
def order_kept_in_a_third(self: Clean, n: int, rng: np.random.Generator) -> Any:
    """In 0.342857 of the batches the strata rise: the first of 8 times is 0.3 off, what the design times-order detects.

    Meant: the strata in random order, in every batch.

    Seen: plausible, as one worker in three that does not shuffle.
    """
    order = np.arange(n) if rng.random() < 0.3 / 0.875 else rng.permutation(n)
    return (order + rng.random(n)) / n


@FAULTS.plant("shares", breaks="TIM-8")
def one_time_for_the_batch(self: Clean, n: int, rng: np.random.Generator) -> Any:
    """All examples have one time.

    Meant: each example has a time of its own.

    Seen: plausible, as `torch.randint(0, N, (1,))`.
    """
    return np.full(n, rng.random())


@FAULTS.plant("generator", breaks="TIM-5", on=(LINEAR, SHORT))
def one_seed_for_all(self: Clean, seed: int) -> np.random.Generator:
    """Every call has the seed 0.

    Meant: another seed gives other times.

    Seen: 93 training scripts of https://github.com/huggingface/diffusers set one seed on every rank.
    """
    return np.random.default_rng(0)


@FAULTS.plant("generator", breaks="TIM-5")
def half_of_the_seed(self: Clean, seed: int) -> np.random.Generator:
    """Seeds 2 i and 2 i + 1 are one.

    Meant: another seed gives other times.

    Seen: plausible, as a seed for each of two ranks on a machine.
    """
    return np.random.default_rng(seed // 2)


@FAULTS.plant("generator", breaks="TIM-5")
def seeds_repeat(self: Clean, seed: int) -> np.random.Generator:
    """Seeds that differ by 64 are one.

    Meant: another seed gives other times.

    Seen: plausible, as `seed % world_size`.
    """
    return np.random.default_rng(seed % 64)


# Coarse times.


@FAULTS.plant("spread", breaks="TIM-7")
def thousand_times(self: Clean, share: Any) -> Any:
    """t is a multiple of 1/1000.

    Meant: any t of the range.

    Seen: plausible; `(t * (N - 1)).long()` of https://github.com/yang-song/score_sde_pytorch makes 1000 labels of them.
    """
    return np.floor(1000.0 * np.asarray(share)) / 1000.0


@FAULTS.plant("spread", breaks="TIM-7")
def repeats_at_the_design(self: Clean, share: Any) -> Any:
    """t is a multiple of 1/2960: 0.08 of 500 times repeat an earlier one, exactly what the design times-repeats detects.

    Meant: any t of the range.

    Seen: plausible, as a table of times.
    """
    return np.floor(2960.0 * np.asarray(share)) / 2960.0


@FAULTS.plant("spread", breaks="TIM-7")
def times_in_half(self: Clean, share: Any) -> Any:
    """t is drawn in bfloat16.

    Meant: t in the dtype of the claim.

    Seen: plausible; 507 of 1000 steps stay distinct in bfloat16.
    """
    return FORMATS["bfloat16"].rounded(share)


# Indices.


@FAULTS.plant("index", breaks="TIM-1", on=(DDPM, SHORT))
def index_from_zero(self: Clean, share: Any) -> Any:
    """k = floor(u N), in 0, ..., N - 1.

    Meant: k = floor(u N) + 1, in 1, ..., N.

    Seen: plausible; libraries count from 0, and an adapter adds 1.
    """
    return Clean.index(self, share) - 1


@FAULTS.plant("index", breaks="TIM-1", on=SHORT)
def index_beyond_the_last(self: Clean, share: Any) -> Any:
    """k in 1, ..., N + 1.

    Meant: k in 1, ..., N.

    Seen: plausible, as `randint(1, N + 2)`.
    """
    return np.floor((len(self.betas()) + 1) * np.asarray(share)).astype(np.int64) + 1


@FAULTS.plant("index", breaks="TIM-2", on=SHORT)
def last_index_missing(self: Clean, share: Any) -> Any:
    """k in 1, ..., N - 1.

    Meant: k in 1, ..., N.

    Seen: plausible, as `randint(1, N)`.
    """
    return np.floor((len(self.betas()) - 1) * np.asarray(share)).astype(np.int64) + 1


@FAULTS.plant("index", breaks="TIM-2", on=SHORT)
def ends_half_as_likely(self: Clean, share: Any) -> Any:
    """k = 1 + round(u (N - 1)).

    Meant: k = floor(u N) + 1: every index has the chance 1/N.

    Seen: plausible, as the rounding of continuous times.
    """
    return np.rint((len(self.betas()) - 1) * np.asarray(share)).astype(np.int64) + 1


@FAULTS.plant("index", breaks="TIM-2", on=SHORT)
def late_indices_preferred(self: Clean, share: Any) -> Any:
    """k = floor(sqrt(u) N) + 1, with the weight 1.

    Meant: every index has the chance 1/N, or weights that undo its chance.

    Seen: plausible.
    """
    return Clean.index(self, np.sqrt(share))


@FAULTS.plant("index", breaks="TIM-2", on=SHORT)
def last_index_preferred(self: Clean, share: Any) -> Any:
    """k = floor(u (N + 0.06)) + 1, N at most: N is 0.054 too likely, which is 0.05 in the units of the design times-counts.

    Meant: k = floor(u N) + 1: every index has the chance 1/N.

    Seen: plausible, as a rounding that is clamped at the end.
    """
    return Clean.index(self, np.asarray(share) * (1.0 + 0.06 / len(self.betas())))
=======
>>>>>>> 928575ca663a595c6813fbf9c255c2150e309921
