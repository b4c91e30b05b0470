"""Faults of chains: betas, products, indices and tables (chapter 7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain

from .clean.target import Clean
from .fault import DDPM, SHORT, Chapter

FAULTS = Chapter("chain", "schedule", "perturb", on=DDPM)
TERMINAL = Chain(betas=(0.05, 0.1, 0.2, 0.4, 1.0))
"""A chain of zero terminal SNR."""
RISING_AND_FALLING = Chain(betas=(0.1, 0.02, 0.3, 0.05, 0.2, 0.01))


def told(logs: Any) -> Any:
    """Return logs of alpha_bar_1, ..., alpha_bar_N with that of alpha_bar_0 = 1 before them."""
    return np.concatenate([[0.0], logs])


@FAULTS.plant("row", breaks="DIS-1")
def index_off_by_one(self: Clean, k: Any) -> Any:
    """alpha_bar of step k - 1 at step k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: tables indexed from 0 with times counted from 1, https://github.com/yang-song/score_sde_pytorch.
    """
    return np.maximum(np.asarray(k) - 1, 0)


@FAULTS.plant("row", breaks="DIS-1")
def index_one_late(self: Clean, k: Any) -> Any:
    """alpha_bar of step k + 1 at step k, and of N at N.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible; a table that starts at 1 read as one that starts at 0.
    """
    return np.minimum(np.asarray(k) + 1, len(self.betas()))


@FAULTS.plant("row", breaks="DIS-1 CON-5")
def index_past_the_end(self: Clean, k: Any) -> Any:
    """alpha_bar of step k + 1 at step k, and no row for N.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible.
    """
    return np.asarray(k) + 1


@FAULTS.plant("row", breaks="DIS-1")
def index_in_bfloat16(self: Clean, k: Any) -> Any:
    """alpha_bar of the index that is nearest to k in bfloat16.

    Meant: alpha_bar_k, with k as an integer.

    Seen: plausible; timesteps cast with the rest of a model to bfloat16, where 507 of 1000 differ.
    """
    near = FORMATS["bfloat16"].rounded(np.asarray(k, dtype=np.float64))
    return np.minimum(near.astype(np.int64), len(self.betas()))


@FAULTS.plant("row", breaks="DIS-1 SCH-6")
def index_in_eight_bits(self: Clean, k: Any) -> Any:
    """alpha_bar of k modulo 256.

    Meant: alpha_bar_k.

    Seen: plausible; indices stored as uint8 beside images.
    """
    return np.asarray(k) % 256


@FAULTS.plant("row", breaks="DIS-1")
def label_truncated(self: Clean, k: Any) -> Any:
    """alpha_bar of 1 plus the whole part of (N - 1) t, for the float32 t of linspace(0, 1, N).

    Meant: alpha_bar_k; a label is rounded to the nearest.

    Seen: `(t * (N - 1)).long()` of https://github.com/yang-song/score_sde_pytorch, wrong at 83 of 1000 labels.
    """
    last, place = np.float32(len(self.betas()) - 1), np.asarray(k, dtype=np.float32) - np.float32(1.0)
    step = np.float32(1.0) / last
    share = np.where(place < 0.5 * last, step * place, np.float32(1.0) - step * (last - place))
    return 1 + np.floor(share * last).astype(np.int64)


@FAULTS.plant("row", breaks="DIS-1 SCH-6")
def table_of_a_hundred(self: Clean, k: Any) -> Any:
    """alpha_bar of the tenth that is nearest to k.

    Meant: alpha_bar_k, for every k.

    Seen: plausible; a table for sampling in a hundred steps, used to noise.
    """
    return 10 * np.rint(np.asarray(k) / 10.0).astype(np.int64)


@FAULTS.plant("row", breaks="DIS-1 SCH-6")
def index_from_the_end(self: Clean, k: Any) -> Any:
    """alpha_bar of step N + 1 - k at step k.

    Meant: alpha_bar_k, with the data at k = 0.

    Seen: plausible; a table flipped for sampling.
    """
    return len(self.betas()) + 1 - np.asarray(k)


@FAULTS.plant("logs", breaks="DIS-1")
def not_cumulative(self: Clean) -> Any:
    """alpha_bar_k = 1 - beta_k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: `alphas` for `alphas_cumprod`, https://github.com/kohya-ss/sd-scripts/pull/1395.
    """
    return told(np.log1p(-self.betas()))


@FAULTS.plant("logs", breaks="DIS-1")
def product_of_betas(self: Clean) -> Any:
    """alpha_bar_k is the product of beta_j for j = 1, ..., k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible.
    """
    return told(np.cumsum(np.log(self.betas())))


@FAULTS.plant("logs", breaks="DIS-1")
def sum_of_betas(self: Clean) -> Any:
    """log alpha_bar_k = -(beta_1 + ... + beta_k).

    Meant: log alpha_bar_k is the sum of log(1 - beta_j) for j = 1, ..., k.

    Seen: plausible; the limit of small steps.
    """
    return told(-np.cumsum(self.betas()))


@FAULTS.plant("logs", breaks="DIS-1")
def one_minus_the_sum(self: Clean) -> Any:
    """alpha_bar_k = 1 - (beta_1 + ... + beta_k), and 0 where that is less.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible; variances added as of a variance-exploding process.
    """
    with np.errstate(divide="ignore"):
        return told(np.log(np.maximum(1.0 - np.cumsum(self.betas()), 0.0)))


@FAULTS.plant("logs", breaks="DIS-1")
def betas_backwards(self: Clean) -> Any:
    """alpha_bar_k is the product of 1 - beta_j for j = N, ..., N + 1 - k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible.
    """
    return told(np.cumsum(np.log1p(-self.betas()[::-1])))


@FAULTS.plant("logs", breaks="DIS-1")
def first_beta_left_out(self: Clean) -> Any:
    """alpha_bar_k is the product of 1 - beta_j for j = 2, ..., k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: a leading 1 in the table, https://github.com/Project-MONAI/MONAI/pull/8427.
    """
    return told(np.cumsum(np.log1p(-self.betas())) - np.log1p(-self.betas()[0]))


@FAULTS.plant("logs", breaks="DIS-1")
def roots_cumulated(self: Clean) -> Any:
    """alpha_bar_k is the product of sqrt(1 - beta_j) for j = 1, ..., k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: plausible; alpha for alpha_bar.
    """
    return 0.5 * Clean.logs(self)


@FAULTS.plant("logs", breaks="DIS-1 MAR-2")
def table_in_bfloat16(self: Clean) -> Any:
    """alpha_bar_k is rounded to bfloat16 before 1 - alpha_bar_k.

    Meant: alpha_bar_k, rounded once after sqrt(1 - alpha_bar_k).

    Seen: https://github.com/huggingface/diffusers/pull/3005: sigma = 0 at the first steps.
    """
    with np.errstate(divide="ignore"):
        return np.log(FORMATS["bfloat16"].rounded(np.exp(Clean.logs(self))).astype(np.float64))


@FAULTS.plant("logs", breaks="DIS-1 MAR-2")
def table_in_float16(self: Clean) -> Any:
    """alpha_bar_k is rounded to float16 before 1 - alpha_bar_k.

    Meant: alpha_bar_k, rounded once after sqrt(1 - alpha_bar_k).

    Seen: https://github.com/huggingface/diffusers/pull/9004.
    """
    return np.log(FORMATS["float16"].rounded(np.exp(Clean.logs(self))).astype(np.float64))


@FAULTS.plant("logs", breaks="DIS-1", dtypes=("float64",))
def table_in_float32(self: Clean) -> Any:
    """alpha_bar_k is a product in float32, in a library of float64.

    Meant: alpha_bar_k in the format of the library.

    Seen: float32 scalars in a float64 schedule of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    factors = np.float32(1.0) - self.betas().astype(np.float32)
    return told(np.log(np.cumprod(factors, dtype=np.float32).astype(np.float64)))


@FAULTS.plant("logs", breaks="DIS-1 MAR-1")
def rescaled_to_no_signal(self: Clean) -> Any:
    """alpha_k is moved and stretched to 0 at N, of a chain that was not to have it.

    Meant: alpha_bar_k of the betas that are given.

    Seen: plausible; `rescale_betas_zero_snr` of https://github.com/huggingface/diffusers, on by mistake.
    """
    root = np.exp(0.5 * Clean.logs(self)[1:])
    with np.errstate(divide="ignore"):
        return told(2.0 * np.log((root - root[-1]) * root[0] / (root[0] - root[-1])))


@FAULTS.plant("logs", breaks="DIS-1")
def divided_by_the_first(self: Clean) -> Any:
    """alpha_bar_k/alpha_bar_1.

    Meant: alpha_bar_k, which is 1 at k = 0.

    Seen: plausible; `alphas_cumprod / alphas_cumprod[0]` of a cosine chain, on a table without its row 0.
    """
    logs = Clean.logs(self)
    return np.concatenate([[0.0], logs[1:] - logs[1]])


@FAULTS.plant("logs", breaks="MAR-1 DIS-1", on=TERMINAL)
def last_beta_capped(self: Clean) -> Any:
    """alpha_bar_N with beta_N = 0.999, where beta_N = 1 is given.

    Meant: alpha_bar_N = 0 for beta_N = 1.

    Seen: https://github.com/openai/guided-diffusion/issues/42, the cap of the cosine chain.
    """
    return told(np.cumsum(np.log1p(-np.minimum(self.betas(), 0.999))))


@FAULTS.plant("logs", breaks="MAR-1", on=TERMINAL)
def last_signal_with_a_floor(self: Clean) -> Any:
    """alpha_bar_N = 2^-24, where beta_N = 1 is given.

    Meant: alpha_bar_N = 0 for beta_N = 1.

    Seen: `alphas_cumprod[-1] = 2**-24` of https://github.com/huggingface/diffusers, for zero terminal SNR.
    """
    return np.maximum(Clean.logs(self), -24.0 * np.log(2.0))


@FAULTS.plant("betas", breaks="DIS-1", on=SHORT)
def betas_not_of_the_claim(self: Clean) -> Any:
    """beta_k from 10^-4 to 0.02 at equal distances, whatever is given.

    Meant: alpha_bar_k of the betas that are given.

    Seen: https://github.com/huggingface/diffusers/pull/12341, betas of a thousand steps in a chain of ten.
    """
    return np.linspace(1e-4, 0.02, len(Clean.betas(self)))


@FAULTS.plant("betas", breaks="DIS-1 NUM-3", on=SHORT)
def betas_rescaled_without_guard(self: Clean) -> Any:
    """1000/N times beta_k, which may exceed 1.

    Meant: alpha_bar_k of the betas that are given.

    Seen: the linear schedule of https://github.com/lucidrains/denoising-diffusion-pytorch, NaN at N = 10.
    """
    betas = Clean.betas(self)
    return 1000.0 / len(betas) * betas


@FAULTS.plant("betas", breaks="DIS-1")
def scaled_linear_betas(self: Clean) -> Any:
    """sqrt(beta_k) at equal distances, from sqrt(beta_1) to sqrt(beta_N).

    Meant: beta_k at equal distances.

    Seen: plausible; `scaled_linear` for `linear` of https://github.com/huggingface/diffusers.
    """
    betas = Clean.betas(self)
    return np.linspace(np.sqrt(betas[0]), np.sqrt(betas[-1]), len(betas)) ** 2


@FAULTS.plant("betas", breaks="DIS-2")
def betas_in_float16(self: Clean) -> Any:
    """beta_k rounded to float16 before the product.

    Meant: beta_k as given, in binary64.

    Seen: plausible; a module's buffers after `.half()`.
    """
    return FORMATS["float16"].rounded(Clean.betas(self)).astype(np.float64)


@FAULTS.plant("betas", breaks="DIS-1")
def betas_in_bfloat16(self: Clean) -> Any:
    """beta_k rounded to bfloat16 before the product.

    Meant: beta_k as given, in binary64.

    Seen: plausible.
    """
    return FORMATS["bfloat16"].rounded(Clean.betas(self)).astype(np.float64)


@FAULTS.plant("betas", breaks="DIS-1")
def betas_of_four_digits(self: Clean) -> Any:
    """beta_k rounded to four digits after the point.

    Meant: beta_k as given, in binary64.

    Seen: plausible; betas from a printed table.
    """
    return np.maximum(np.round(Clean.betas(self), 4), 1e-4)


@FAULTS.plant("betas", breaks="DIS-1", on=RISING_AND_FALLING)
def betas_sorted(self: Clean) -> Any:
    """beta_k in ascending order.

    Meant: beta_k in the order that is given.

    Seen: plausible.
    """
    return np.sort(Clean.betas(self))


@FAULTS.plant("betas", breaks="DIS-1")
def one_beta_too_many(self: Clean) -> Any:
    """N + 1 betas from beta_1 to beta_N at equal distances.

    Meant: N betas, the last of them beta_N.

    Seen: `linspace(0, steps, steps)/steps`, https://github.com/lucidrains/denoising-diffusion-pytorch/issues/19.
    """
    betas = Clean.betas(self)
    return np.linspace(betas[0], betas[-1], len(betas) + 1)


@FAULTS.plant("sigma", breaks="DIS-1 MAR-2", on=SHORT)
def variance_of_one_step(self: Clean, k: Any) -> Any:
    """sigma_k = sqrt(beta_k).

    Meant: sigma_k = sqrt(1 - alpha_bar_k).

    Seen: plausible; the noise of a step for that of the marginal.
    """
    return np.sqrt(np.concatenate([[0.0], self.betas()])[k])


@FAULTS.plant("sigma", breaks="DIS-2")
def root_that_cancels(self: Clean, k: Any) -> Any:
    """sigma_k = sqrt(1 - alpha_bar_k) of a rounded alpha_bar_k.

    Meant: sigma_k = sqrt(-expm1(log alpha_bar_k)).

    Seen: 1203 ulp in float32, https://github.com/huggingface/diffusers and https://github.com/yang-song/score_sde_pytorch.
    """
    number = self.format.storage.type
    return np.sqrt(number(1.0) - self.rounded(self.alpha_bar(k)))
