"""Faults of conversions that a library makes for one pair of predictions (chapter 4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .clean.target import Clean
from .fault import SHORT, Chapter

FAULTS = Chapter("convert", "convert")


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_sign_of_eps(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t + sigma eps)/alpha.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible.
    """
    return (x + s * eps) / a


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_variance_for_sigma(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma^2 eps)/alpha.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible.
    """
    return (x - s**2 * eps) / a


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_divided_by_alpha_bar(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma eps)/alpha_bar.

    Meant: x_0 = (x_t - sigma eps)/alpha, with alpha = sqrt(alpha_bar).

    Seen: plausible.
    """
    return (x - s * eps) / a**2


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_not_divided(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = x_t - sigma eps.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible; right in the variables of EDM.
    """
    return x - s * eps


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_eps_not_divided(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = x_t/alpha - sigma eps.

    Meant: x_0 = x_t/alpha - sigma/alpha eps.

    Seen: plausible; `sqrt_recip_alphas_cumprod` with a wrong second table.
    """
    return x / a - s * eps


@FAULTS.plant("x_0_from_eps", breaks="PAR-1", on=SHORT)
def x_0_scales_swapped(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - alpha eps)/sigma.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible.
    """
    return (x - a * eps) / s


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_divisor_with_a_floor(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma eps)/max(alpha, 0.1).

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible; a guard against a division by 0 that shows far from it.
    """
    return (x - s * eps) / np.maximum(a, 0.1)


@FAULTS.plant("x_0_from_eps", breaks="PAR-1 PAR-6", also=("perturb",))
def x_0_clipped(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma eps)/alpha, from -1 to 1.

    Meant: x_0 = (x_t - sigma eps)/alpha, without a bound.

    Seen: https://github.com/lucidrains/denoising-diffusion-pytorch/pull/84, x_0 clipped and eps kept.
    """
    return np.clip(Clean.x_0_from_eps(self, eps, x, a, s), -1.0, 1.0)


@FAULTS.plant("x_0_from_eps", breaks="PAR-1")
def x_0_clipped_far_out(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma eps)/alpha, from -10 to 10.

    Meant: x_0 = (x_t - sigma eps)/alpha, without a bound.

    Seen: plausible; a guard that normal data never reach.
    """
    return np.clip(Clean.x_0_from_eps(self, eps, x, a, s), -10.0, 10.0)


@FAULTS.plant("x_0_from_eps", breaks="PAR-1 NOT-2")
def x_0_thresholded(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 divided by the largest |x_0| of the batch, where that exceeds 1.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible; dynamic thresholding, https://arxiv.org/abs/2205.11487, over the batch and not asked for.
    """
    x_0 = Clean.x_0_from_eps(self, eps, x, a, s)
    return x_0 / np.maximum(np.max(np.abs(x_0)), 1.0)


@FAULTS.plant("x_0_from_eps", breaks="PAR-5 PAR-6", on=SHORT, also=("perturb",))
def x_0_a_tenth_too_large(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = 1.1 (x_t - sigma eps)/alpha.

    Meant: x_0 = (x_t - sigma eps)/alpha.

    Seen: plausible; data rescaled on their way back.
    """
    return 1.1 * Clean.x_0_from_eps(self, eps, x, a, s)


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_divided_by_the_variance(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - alpha x_0)/sigma^2.

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: plausible; the score without its sign.
    """
    return (x - a * x_0) / s**2


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_is_x_0(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = x_0.

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: https://github.com/huggingface/diffusers/issues/1486, x_0 used as eps in the direction to x_t.
    """
    return x_0


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_without_alpha(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - x_0)/sigma.

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: plausible; right in the variables of EDM.
    """
    return (x - x_0) / s


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_alpha_bar_on_x_0(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - alpha_bar x_0)/sigma.

    Meant: eps = (x_t - alpha x_0)/sigma, with alpha = sqrt(alpha_bar).

    Seen: plausible.
    """
    return (x - a**2 * x_0) / s


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_sign(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (alpha x_0 - x_t)/sigma.

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: plausible; the score times sigma.
    """
    return (a * x_0 - x) / s


@FAULTS.plant("eps_from_x_0", breaks="PAR-2")
def eps_small_number_added(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - alpha x_0)/(sigma + 10^-3).

    Meant: eps = (x_t - alpha x_0)/sigma.

    Seen: plausible; a guard against a division by 0 that shows far from it.
    """
    return (x - a * x_0) / (s + 1e-3)


@FAULTS.plant("x_0_from_v", breaks="PAR-3")
def x_0_from_v_sign(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = alpha x_t + sigma v.

    Meant: x_0 = alpha x_t - sigma v.

    Seen: plausible; survives diffusers' own tests.
    """
    return a * x + s * v


@FAULTS.plant("x_0_from_v", breaks="PAR-3")
def x_0_from_v_swapped(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = sigma x_t - alpha v.

    Meant: x_0 = alpha x_t - sigma v.

    Seen: plausible; survives diffusers' own tests.
    """
    return s * x - a * v


@FAULTS.plant("x_0_from_v", breaks="PAR-3")
def x_0_from_v_of_the_flow(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = x_t - sigma v.

    Meant: x_0 = alpha x_t - sigma v.

    Seen: plausible; v of rectified flow, where x_t = (1 - sigma) x_0 + sigma eps.
    """
    return x - s * v


@FAULTS.plant("eps_from_v", breaks="PAR-3")
def eps_from_v_sign(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = sigma x_t - alpha v.

    Meant: eps = sigma x_t + alpha v.

    Seen: plausible; survives diffusers' own tests.
    """
    return s * x - a * v


@FAULTS.plant("eps_from_v", breaks="PAR-3")
def eps_from_v_swapped(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = alpha x_t + sigma v.

    Meant: eps = sigma x_t + alpha v.

    Seen: plausible.
    """
    return a * x + s * v


@FAULTS.plant("eps_from_v", breaks="PAR-3 PAR-6", also=("perturb",))
def eps_from_v_as_eps(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = v.

    Meant: eps = sigma x_t + alpha v.

    Seen: plausible; the objective of a checkpoint ignored.
    """
    return v


@FAULTS.plant("v_from_eps", breaks="PAR-3")
def v_from_eps_sign(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """v = (eps + sigma x_t)/alpha.

    Meant: v = (eps - sigma x_t)/alpha.

    Seen: plausible.
    """
    return (eps + s * x) / a


@FAULTS.plant("v_from_eps", breaks="PAR-3")
def v_from_eps_with_x_t(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """v = alpha eps - sigma x_t.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible; `get_velocity` given the noisy sample, https://github.com/huggingface/diffusers.
    """
    return a * eps - s * x


@FAULTS.plant("v_from_x_0", breaks="PAR-3")
def v_from_x_0_sign(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """v = (x_0 - alpha x_t)/sigma.

    Meant: v = (alpha x_t - x_0)/sigma.

    Seen: plausible.
    """
    return (x_0 - a * x) / s


@FAULTS.plant("v_from_x_0", breaks="PAR-3")
def v_from_x_0_as_eps(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """v = (x_t - alpha x_0)/sigma.

    Meant: v = (alpha x_t - x_0)/sigma.

    Seen: plausible; eps for v.
    """
    return (x - a * x_0) / s


@FAULTS.plant("score_from_eps", breaks="PAR-4")
def score_sign(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """score = eps/sigma.

    Meant: score = -eps/sigma.

    Seen: plausible.
    """
    return eps / s


@FAULTS.plant("score_from_eps", breaks="PAR-4")
def score_without_sigma(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """score = -eps.

    Meant: score = -eps/sigma.

    Seen: the `score` of the VP scheduler of score-SDE is eps, https://github.com/huggingface/diffusers.
    """
    return -eps


@FAULTS.plant("score_from_eps", breaks="PAR-4", on=SHORT)
def score_over_the_variance(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """score = -eps/sigma^2.

    Meant: score = -eps/sigma.

    Seen: plausible.
    """
    return -eps / s**2


@FAULTS.plant("score_from_eps", breaks="PAR-4")
def score_times_sigma(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """score = -sigma eps.

    Meant: score = -eps/sigma.

    Seen: plausible.
    """
    return -s * eps


@FAULTS.plant("eps_from_score", breaks="PAR-4")
def eps_from_score_sign(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = sigma score.

    Meant: eps = -sigma score.

    Seen: plausible.
    """
    return s * score


@FAULTS.plant("eps_from_score", breaks="PAR-4")
def eps_is_the_score(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = -score.

    Meant: eps = -sigma score.

    Seen: plausible.
    """
    return -score


@FAULTS.plant("eps_from_score", breaks="PAR-4")
def eps_from_score_variance(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = -sigma^2 score.

    Meant: eps = -sigma score.

    Seen: plausible.
    """
    return -(s**2) * score
