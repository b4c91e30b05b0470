"""Faults of the posterior's variance and mean (chapters 2 and 7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times

from .clean.scales import column, wide
from .clean.target import Clean
from .fault import DDPM, LINEAR, OWN, SHORT, Chapter

FAULTS = Chapter("posterior", "posterior", on=SHORT)


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4", on=(SHORT, DDPM))
def deviation_for_variance(self: Clean, t: Any, s: Any) -> Any:
    """V = sqrt((1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2).

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible.
    """
    return np.sqrt(Clean.posterior_variance(self, t, s))


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def logarithm_for_variance(self: Clean, t: Any, s: Any) -> Any:
    """V = log of the variance, at least log 10^-20.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible; `posterior_log_variance_clipped` of https://github.com/openai/guided-diffusion.
    """
    return np.log(np.maximum(Clean.posterior_variance(self, t, s), 1e-20))


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4", on=(SHORT, DDPM))
def variance_of_the_transition(self: Clean, t: Any, s: Any) -> Any:
    """V = 1 - alpha_bar_t/alpha_bar_s, which is beta_k of a single step.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible; `fixed_large` for `fixed_small` of https://github.com/huggingface/diffusers.
    """
    return self.transition_variance(t, s)


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def beta_in_a_stride(self: Clean, t: Any, s: Any) -> Any:
    """V = beta_t sigma_s^2/sigma_t^2, for steps of any length.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: https://github.com/huggingface/diffusers/pull/3006.
    """
    return self.betas()[t - 1] * self.sigma(s) ** 2 / self.sigma(t) ** 2


@FAULTS.plant("posterior_variance", breaks="MAR-7")
def first_variance_of_the_second(self: Clean, t: Any, s: Any) -> Any:
    """V of the step to the data is that of the step before it.

    Meant: V = 0 at s = 0.

    Seen: plausible; the first value of `posterior_log_variance_clipped` of https://github.com/openai/guided-diffusion.
    """
    second = Clean.posterior_variance(self, np.full_like(t, 2), np.full_like(s, 1))
    return np.where(s == 0, second, Clean.posterior_variance(self, t, s))


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4", on=DDPM)
def beta_of_a_single_step(self: Clean, t: Any, s: Any) -> Any:
    """V = beta_k for s = k - 1, and right for longer steps.

    Meant: V = beta_k sigma_(k-1)^2/sigma_k^2.

    Seen: plausible; `fixed_large` for `fixed_small` of https://github.com/huggingface/diffusers.
    """
    return np.where(s == t - 1, self.betas()[t - 1], Clean.posterior_variance(self, t, s))


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def precision_for_variance(self: Clean, t: Any, s: Any) -> Any:
    """V = sigma_t^2/((1 - alpha_bar_t/alpha_bar_s) sigma_s^2).

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible.
    """
    with np.errstate(divide="ignore"):
        return 1.0 / Clean.posterior_variance(self, t, s)


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def variances_averaged(self: Clean, t: Any, s: Any) -> Any:
    """V = half of the variances of the posterior and of the transition together.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: https://github.com/huggingface/diffusers/pull/2090, a learned range of variances, not of their logarithms.
    """
    return 0.5 * (Clean.posterior_variance(self, t, s) + self.transition_variance(t, s))


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def sigmas_not_squared(self: Clean, t: Any, s: Any) -> Any:
    """V = (1 - alpha_bar_t/alpha_bar_s) sigma_s/sigma_t.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible.
    """
    return self.transition_variance(t, s) * self.sigma(s) / self.sigma(t)


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def not_divided_by_sigma_t(self: Clean, t: Any, s: Any) -> Any:
    """V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible.
    """
    return self.transition_variance(t, s) * self.sigma(s) ** 2


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def variance_with_a_floor(self: Clean, t: Any, s: Any) -> Any:
    """V = at least 0.01.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2, 0 at s = 0.

    Seen: plausible; a clamp before a logarithm that shows far from 0.
    """
    return np.maximum(Clean.posterior_variance(self, t, s), 1e-2)


@FAULTS.plant("posterior_variance", breaks="MAR-7 DIS-4")
def noise_of_the_end(self: Clean, t: Any, s: Any) -> Any:
    """V = sigma_s^2.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible; the variance of q(x_s | x_0) for that of q(x_s | x_t, x_0).
    """
    return self.sigma(s) ** 2


@FAULTS.plant("transition_variance", breaks="MAR-7", on=(LINEAR, SHORT))
def variance_exploding(self: Clean, t: Any, s: Any) -> Any:
    """sigma_t|s^2 = sigma_t^2 - sigma_s^2.

    Meant: sigma_t|s^2 = 1 - alpha_bar_t/alpha_bar_s.

    Seen: plausible; the transition of a variance-exploding process.
    """
    return self.sigma(t) ** 2 - self.sigma(s) ** 2


@FAULTS.plant("transition_variance", breaks="MAR-7 DIS-4")
def ratio_of_alphas(self: Clean, t: Any, s: Any) -> Any:
    """sigma_t|s^2 = 1 - alpha_t/alpha_s.

    Meant: sigma_t|s^2 = 1 - alpha_bar_t/alpha_bar_s.

    Seen: plausible; a root too many.
    """
    return -np.expm1(0.5 * (self.log_alpha_bar(t) - self.log_alpha_bar(s)))


@FAULTS.plant("transition_variance", breaks="MAR-8", on=OWN, also=("perturb",))
def variance_exploding_of_its_own(self: Clean, t: Any, s: Any) -> Any:
    """sigma_t|s^2 = sigma_t^2 - sigma_s^2, of a process of the library's own.

    Meant: sigma_t|s^2 = 1 - alpha_bar_t/alpha_bar_s.

    Seen: plausible; the transition of a variance-exploding process.
    """
    return self.sigma(t) ** 2 - self.sigma(s) ** 2


@FAULTS.plant("posterior_variance", breaks="MAR-8", on=OWN, also=("perturb",))
def transition_of_its_own(self: Clean, t: Any, s: Any) -> Any:
    """V = 1 - alpha_bar_t/alpha_bar_s, of a process of the library's own.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible; `fixed_large` for `fixed_small` of https://github.com/huggingface/diffusers.
    """
    return self.transition_variance(t, s)


@FAULTS.plant("posterior_factors", breaks="MAR-7", on=(LINEAR, SHORT))
def factors_swapped(self: Clean, t: Any, s: Any) -> Any:
    """mean = B x_0 + A x_t.

    Meant: mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t^2
    and B = alpha_t/alpha_s sigma_s^2/sigma_t^2.

    Seen: plausible; `posterior_mean_coef1` and `posterior_mean_coef2` in the other order.
    """
    on_x_0, on_x_t = Clean.posterior_factors(self, t, s)
    return on_x_t, on_x_0


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def alpha_bar_on_x_0(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with A = alpha_bar_s sigma_t|s^2/sigma_t^2.

    Meant: mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t^2, with alpha_s = sqrt(alpha_bar_s).

    Seen: plausible.
    """
    on_x_0, on_x_t = Clean.posterior_factors(self, t, s)
    return self.alpha(s) * on_x_0, on_x_t


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def alpha_of_t_on_x_0(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with A = alpha_t sigma_t|s^2/sigma_t^2.

    Meant: mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t^2.

    Seen: plausible; `alphas_cumprod` for `alphas_cumprod_prev`.
    """
    on_x_0, on_x_t = Clean.posterior_factors(self, t, s)
    return self.alpha(t) / self.alpha(s) * on_x_0, on_x_t


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def ratio_without_root_on_x_t(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with B = alpha_bar_t/alpha_bar_s sigma_s^2/sigma_t^2.

    Meant: mean = A x_0 + B x_t, with B = alpha_t/alpha_s sigma_s^2/sigma_t^2.

    Seen: plausible; `alphas` for `alphas.sqrt()`.
    """
    on_x_0, on_x_t = Clean.posterior_factors(self, t, s)
    return on_x_0, np.sqrt(self.ratio(t, s)) * on_x_t


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def sigma_not_squared_on_x_t(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with B = alpha_t/alpha_s sigma_s/sigma_t.

    Meant: mean = A x_0 + B x_t, with B = alpha_t/alpha_s sigma_s^2/sigma_t^2.

    Seen: plausible.
    """
    on_x_0, _ = Clean.posterior_factors(self, t, s)
    return on_x_0, np.sqrt(self.ratio(t, s)) * self.sigma(s) / self.sigma(t)


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def sigma_not_squared_below(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t.

    Meant: mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t^2.

    Seen: plausible.
    """
    on_x_0, on_x_t = Clean.posterior_factors(self, t, s)
    return self.sigma(t) * on_x_0, on_x_t


@FAULTS.plant("posterior_factors", breaks="MAR-7 DIS-4")
def beta_in_the_mean_of_a_stride(self: Clean, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with A of beta_t and B of sqrt(1 - beta_t), for steps of any length.

    Meant: mean = A x_0 + B x_t, with A = alpha_s sigma_t|s^2/sigma_t^2
    and B = alpha_t/alpha_s sigma_s^2/sigma_t^2.

    Seen: https://github.com/huggingface/diffusers/pull/3006.
    """
    beta, variance = self.betas()[t - 1], self.sigma(t) ** 2
    return self.alpha(s) * beta / variance, np.sqrt(1.0 - beta) * self.sigma(s) ** 2 / variance


@FAULTS.plant("posterior_mean", breaks="MAR-7 DIS-4")
def x_0_clipped(self: Clean, x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    """mean = A x_0 + B x_t, with x_0 from -1 to 1.

    Meant: mean = A x_0 + B x_t, for the x_0 that is given.

    Seen: plausible; `clip_sample` left on.
    """
    return Clean.posterior_mean(self, np.clip(x_0, -1.0, 1.0), x_t, t, s)


@FAULTS.plant("posterior_mean", breaks="MAR-7 DIS-4")
def direction_of_ddim(self: Clean, x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    """mean = alpha_s x_0 + sigma_s eps, with eps = (x_t - alpha_t x_0)/sigma_t.

    Meant: mean = alpha_s x_0 + sqrt(sigma_s^2 - V) eps.

    Seen: plausible; the variance forgotten in DDIM's direction to x_t.
    """
    eps = (x_t - column(self.alpha(t), x_t) * x_0) / column(self.sigma(t), x_t)
    return column(self.alpha(s), x_t) * x_0 + column(self.sigma(s), x_t) * eps


@FAULTS.plant("posterior_mean", breaks="MAR-7 DIS-4")
def mean_not_divided(self: Clean, x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    """mean = x_t - sigma_t|s^2/sigma_t eps.

    Meant: mean = (x_t - sigma_t|s^2/sigma_t eps) alpha_s/alpha_t.

    Seen: plausible; 1/sqrt(alpha) forgotten in DDPM's step.
    """
    return column(np.sqrt(self.ratio(t, s)), x_t) * Clean.posterior_mean(self, x_0, x_t, t, s)


@FAULTS.plant("posterior", breaks="MAR-7 DIS-4")
def one_step_whatever_is_asked(self: Clean, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """mean and variance of q(x_(t-1) | x_t, x_0), whatever s is.

    Meant: mean and variance of q(x_s | x_t, x_0).

    Seen: https://github.com/Project-MONAI/MONAI, `timestep - 1` in `DDPMScheduler.step`, whatever the grid is.
    """
    return Clean.posterior(self, x_t, x_0, t, t - 1)


@FAULTS.plant("row", breaks="MAR-7", on=(SHORT, DDPM))
def data_of_the_first_step(self: Clean, k: Any) -> Any:
    """alpha_bar_0 = alpha_bar_1.

    Meant: alpha_bar_0 = 1: the posterior at s = 0 is x_0.

    Seen: `set_alpha_to_one=False` of https://github.com/huggingface/diffusers.
    """
    return np.maximum(np.asarray(k), 1)


@FAULTS.plant("row", breaks="DIS-4")
def index_off_by_one(self: Clean, k: Any) -> Any:
    """alpha_bar of step k - 1 at step k, and no noise at step 1.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: https://github.com/Project-MONAI/MONAI/pull/8427: the posterior of the first step is NaN.
    """
    return np.maximum(np.asarray(k) - 1, 0)


@FAULTS.plant("posterior", breaks="CON-2")
def mean_and_variance_swapped(self: Clean, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """Variance and mean, in this order.

    Meant: mean and variance.

    Seen: plausible.
    """
    mean, variance = Clean.posterior(self, x_t, x_0, t, s)
    return variance, mean


@FAULTS.plant("posterior", breaks="NOT-2 MAR-7")
def times_of_the_first_example(self: Clean, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """mean of every example with the times of the first.

    Meant: mean of each example with its own times.

    Seen: plausible; `t[0]` in code from sampling, where all times are equal.
    """
    mean = self.posterior_mean(wide(x_0), wide(x_t), np.full_like(t, t[0]), np.full_like(s, s[0]))
    return self.rounded(mean), self.rounded(self.posterior_variance(t, s))


@FAULTS.plant("posterior", breaks="MAR-7", on=OWN, also=("perturb",))
def deterministic_of_its_own(self: Clean, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """mean = alpha_s x_0 + sigma_s (x_t - alpha_t x_0)/sigma_t and V = 0, of a process of the library's own.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s) sigma_s^2/sigma_t^2.

    Seen: plausible; the step of DDIM for the posterior, with the right marginal at s.
    """
    eps = (wide(x_t) - column(self.alpha(t), x_t) * wide(x_0)) / column(self.sigma(t), x_t)
    mean = column(self.alpha(s), x_t) * wide(x_0) + column(self.sigma(s), x_t) * eps
    return self.rounded(mean), self.rounded(0.0 * self.sigma(s))


@FAULTS.plant("posterior_mean", breaks="MAR-7", on=LINEAR)
def noise_kept_at_the_data(self: Clean, x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    """mean = x_t at s = 0.

    Meant: mean = x_0 at s = 0.

    Seen: plausible; a mask for the last step with its branches swapped.
    """
    return np.where(column(np.asarray(s) == 0, x_t), x_t, Clean.posterior_mean(self, x_0, x_t, t, s))
