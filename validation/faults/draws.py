"""Faults of draws of times and indices: places, seeds, coarse times (chapter 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, Times

from .clean.scales import wide
from .clean.target import Clean
from .fault import DDPM, LINEAR, SHORT, Chapter

FAULTS = Chapter("draw", "times")


@FAULTS.plant("times", breaks="TIM-2")
def half_for_a_batch_of_one(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """t = 1/2 in a batch of one.

    Meant: the density of the times, for any n.

    Seen: plausible, as strata of which the middle is taken.
    """
    return Clean.times(self, n, seed) if n > 1 else (self.rounded([0.5]), self.rounded([1.0]))


@FAULTS.plant("times", breaks="TIM-2")
def bent_in_small_batches(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """t = u^1.7361 in batches of one and two: P(t <= c) is 0.2 off at worst, as the design times-small detects.

    Meant: t = u, for any n.

    Seen: plausible, as weights divided by their mean over the batch, which are 1 in a batch of one.
    """
    t, weight = Clean.times(self, n, seed)
    return (self.rounded(wide(t) ** 1.7361064491754328), weight) if n <= 2 else (t, weight)


@FAULTS.plant("shares", breaks="TIM-1 CON-2")
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
    """t is a multiple of 1/2950: 0.08 of 500 times repeat an earlier one, as the design times-repeats detects.

    Meant: any t of the range.

    Seen: plausible, as a table of times.
    """
    return np.floor(2950.0 * np.asarray(share)) / 2950.0


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
    """k = floor(u (N + 0.06)) + 1, at most N: N is 0.054 too likely, which is the 0.05 of the design times-counts.

    Meant: k = floor(u N) + 1: every index has the chance 1/N.

    Seen: plausible, as a rounding that is clamped at the end.
    """
    return Clean.index(self, np.asarray(share) * (1.0 + 0.06 / len(self.betas())))


@FAULTS.plant("index", breaks="TIM-2", on=SHORT)
def rounded_and_clipped(self: Clean, share: Any) -> Any:
    """k = max(1, round(u N)): the last index is half as likely, and the first half as likely again.

    Meant: k = floor(u N) + 1: every index has the chance 1/N.

    Seen: plausible, as the rounding of continuous times.
    """
    return np.maximum(np.rint(len(self.betas()) * np.asarray(share)).astype(np.int64), 1)
