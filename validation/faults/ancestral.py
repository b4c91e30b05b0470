"""Faults of the step of DDPM (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain
from refdiff.conformance.step import Step

from .clean.scales import column
from .clean.target import Clean
from .fault import DDPM, LINEAR, OWN, SHORT, Chapter

SMALL: dict[str, Any] = {"steps": (Step(kind="ddpm"),)}
LARGE: dict[str, Any] = {"steps": (Step(kind="ddpm", variance="beta"),)}
FAULTS = Chapter("ddpm", "step", on=DDPM)

# The variance.


@FAULTS.plant("noise_variance", breaks="SMP-2", **SMALL)
def variance_of_the_transition(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = beta_k ("fixed large"), except in the last step.

    Meant: V = beta_k (1 - alpha_bar_s)/(1 - alpha_bar_t), the variance of the posterior.

    Seen: `FIXED_LARGE` of https://github.com/openai/guided-diffusion under a claim of the posterior's variance.
    """
    return Clean.noise_variance(self, t, s, "beta")


@FAULTS.plant("noise_variance", breaks="SMP-5 SMP-7", on=OWN, also=("perturb",), **SMALL)
def variance_of_the_transition_of_its_own(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = 1 - alpha_bar_t/alpha_bar_s, except in the last step, on a process of the library's own.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s)(1 - alpha_bar_s)/(1 - alpha_bar_t), the variance of the posterior.

    Seen: plausible.
    """
    return Clean.noise_variance(self, t, s, "beta")


@FAULTS.plant("noise_variance", breaks="SMP-2", **LARGE)
def variance_of_the_posterior(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = beta_k (1 - alpha_bar_s)/(1 - alpha_bar_t) ("fixed small").

    Meant: V = beta_k, as the claim says ("fixed large").

    Seen: plausible, as an option that is ignored.
    """
    return self.posterior_variance(t, s)


@FAULTS.plant("noise_variance", breaks="SMP-2 SMP-6", on=(SHORT, LINEAR), **LARGE)
def noise_in_the_last_step(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = 1 - alpha_bar_t/alpha_bar_s in the step to s = 0 too.

    Meant: V = 0 in the step to s = 0.

    Seen: the ancestral predictor of https://github.com/yang-song/score_sde_pytorch; `fixed_large` of diffusers.
    """
    return self.transition_variance(t, s)


@FAULTS.plant("noise_variance", breaks="SMP-6", on=OWN, also=("perturb",), **LARGE)
def noise_in_the_last_step_of_its_own(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = 1 - alpha_bar_t/alpha_bar_s in the step to s = 0 too, on a process of the library's own.

    Meant: V = 0 in the step to s = 0.

    Seen: plausible.
    """
    return self.transition_variance(t, s)


@FAULTS.plant("noise_variance", breaks="SMP-2", **LARGE)
def beta_of_one_step(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = beta_k, however long the step is.

    Meant: V = 1 - alpha_bar_t/alpha_bar_s.

    Seen: https://github.com/huggingface/diffusers/pull/3006.
    """
    assert isinstance(self.process, Chain)
    return np.where(np.asarray(s) == 0, 0.0, self.betas()[np.asarray(t) - 1])


@FAULTS.plant("noise_variance", breaks="SMP-2", **SMALL)
def half_way_of_a_learned_range(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V is the geometric mean of both variances, where a learned range begins.

    Meant: V = beta_k (1 - alpha_bar_s)/(1 - alpha_bar_t), the variance of the posterior.

    Seen: plausible, as the output 0 of https://github.com/openai/guided-diffusion's `LEARNED_RANGE`.
    """
    return np.sqrt(self.posterior_variance(t, s) * Clean.noise_variance(self, t, s, "beta"))


@FAULTS.plant("noise_variance", breaks="SMP-2", **SMALL)
def variances_interpolated(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V is the mean of both variances, where a learned range begins.

    Meant: their logarithms are interpolated; and V is the variance of the posterior as claimed.

    Seen: https://github.com/huggingface/diffusers/pull/2090; MONAI's `learned_range`.
    """
    return 0.5 * (self.posterior_variance(t, s) + Clean.noise_variance(self, t, s, "beta"))


@FAULTS.plant("noise_variance", breaks="SMP-2", on=(SHORT, LINEAR), **SMALL)
def variances_exchanged(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = (1 - alpha_bar_t/alpha_bar_s)(1 - alpha_bar_t)/(1 - alpha_bar_s), where s > 0.

    Meant: V = (1 - alpha_bar_t/alpha_bar_s)(1 - alpha_bar_s)/(1 - alpha_bar_t).

    Seen: plausible, as t and s swapped.
    """
    later, earlier = self.sigma(t) ** 2, self.sigma(s) ** 2
    return np.where(earlier > 0.0, self.transition_variance(t, s) * later / np.maximum(earlier, 1e-300), 0.0)


@FAULTS.plant("noise_variance", breaks="SMP-2", on=(SHORT, LINEAR), **SMALL)
def variance_exploding(self: Clean, t: Any, s: Any, variance: str) -> Any:
    """V = sigma_s^2 (sigma_t^2 - sigma_s^2)/sigma_t^2.

    Meant: V = sigma_s^2 (1 - alpha_bar_t/alpha_bar_s)/sigma_t^2.

    Seen: plausible; it is the variance of the variance-exploding process.
    """
    later, earlier = self.sigma(t) ** 2, self.sigma(s) ** 2
    return earlier * (later - earlier) / later


@FAULTS.plant("root", breaks="SMP-2", **SMALL)
def variance_for_deviation(self: Clean, variance: Any) -> Any:
    """The noise is V z.

    Meant: sqrt(V) z.

    Seen: plausible.
    """
    return variance


@FAULTS.plant("root", breaks="SMP-2", **SMALL)
def root_of_the_log(self: Clean, variance: Any) -> Any:
    """The noise is sqrt(log V) z, which is NaN.

    Meant: exp(log(V)/2) z = sqrt(V) z.

    Seen: `fixed_large_log`, https://github.com/huggingface/diffusers/issues/14569.
    """
    return np.sqrt(np.log(variance))


@FAULTS.plant("root", breaks="SMP-2", **SMALL)
def log_quartered(self: Clean, variance: Any) -> Any:
    """The noise is V^(1/4) z.

    Meant: exp(log(V)/2) z = sqrt(V) z.

    Seen: plausible, as a root of what is a deviation already.
    """
    return variance**0.25


@FAULTS.plant("root", breaks="SMP-2", on=(SHORT, LINEAR), **SMALL)
def noise_a_hundredth_short(self: Clean, variance: Any) -> Any:
    """The noise is 0.99 sqrt(V) z.

    Meant: sqrt(V) z.

    Seen: plausible, as a temperature.
    """
    return 0.99 * np.sqrt(variance)


@FAULTS.plant("root", breaks="SMP-2", **SMALL)
def noise_subtracted(self: Clean, variance: Any) -> Any:
    """The noise is -sqrt(V) z, of the right distribution.

    Meant: sqrt(V) z.

    Seen: plausible; only a given z tells.
    """
    return -np.sqrt(variance)


@FAULTS.plant("root", breaks="SMP-7", on=LINEAR, also=("perturb",), **SMALL)
def less_noise_at_the_design(self: Clean, variance: Any) -> Any:
    """The noise is 0.92323 sqrt(V) z, whose run ends 0.02 off in distribution, as the design sampler-law detects.

    Meant: sqrt(V) z.

    Seen: plausible, as a temperature.
    """
    return 0.92323 * np.sqrt(variance)


@FAULTS.plant("root", breaks="SMP-6", on=(SHORT, LINEAR), **SMALL)
def floor_of_the_deviation(self: Clean, variance: Any) -> Any:
    """The noise is max(sqrt(V), 1e-3) z, in the step to s = 0 too.

    Meant: V = 0 in the step to s = 0; a floor under log V is 1e-20.

    Seen: plausible, as a floor under a logarithm.
    """
    return np.maximum(np.sqrt(variance), 1e-3)


# The mean.


@FAULTS.plant("ddpm_mean", breaks="SMP-2", **SMALL)
def not_divided_by_the_root(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is x_t - beta eps/sigma.

    Meant: (x_t - beta eps/sigma)/sqrt(1 - beta).

    Seen: plausible.
    """
    return Clean.ddpm_mean(self, x_0, x, t, s) * column(np.sqrt(self.ratio(t, s)), x)


@FAULTS.plant("ddpm_mean", breaks="SMP-2 SMP-6", on=(LINEAR, SHORT), **SMALL)
def x_0_clipped(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """x_0 is clipped to [-1, 1].

    Meant: x_0 as predicted, unless a clip is asked for.

    Seen: `clip_sample=True` of https://github.com/huggingface/diffusers, the default.
    """
    return Clean.ddpm_mean(self, np.clip(x_0, -1.0, 1.0), x, t, s)


@FAULTS.plant("ddpm_mean", breaks="SMP-2", **SMALL)
def alpha_of_t_for_that_of_s(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The factor of x_0 has alpha_t.

    Meant: A = alpha_s (1 - alpha_bar_t/alpha_bar_s)/sigma_t^2.

    Seen: plausible, as `alphas_cumprod[t]` for `alphas_cumprod_prev[t]`.
    """
    return Clean.ddpm_mean(self, x_0 * column(np.sqrt(self.ratio(t, s)), x), x, t, s)


@FAULTS.plant("ddpm_mean", breaks="SMP-2", **SMALL)
def factors_swapped(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is A x_t + B x_0.

    Meant: A x_0 + B x_t.

    Seen: plausible.
    """
    return Clean.ddpm_mean(self, x, x_0, t, s)


@FAULTS.plant("ddpm_mean", breaks="SMP-2", **SMALL)
def mean_of_one_step(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is that of the step from k to k - 1, however long the step is.

    Meant: A and B of the step from t to s.

    Seen: https://github.com/Project-MONAI/MONAI, whose `DDPMScheduler.step` goes over one timestep on any grid.
    """
    return Clean.ddpm_mean(self, x_0, x, t, np.asarray(t) - 1)


@FAULTS.plant("ddpm_mean", breaks="SMP-2 SMP-5", on=LINEAR, also=("perturb",), **SMALL)
def mean_of_the_marginal(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is alpha_s x_0.

    Meant: A x_0 + B x_t, which keeps a part of x_t.

    Seen: plausible, as a new draw of the marginal with too little noise.
    """
    return column(self.alpha(s), x) * x_0


@FAULTS.plant("ddpm_mean", breaks="SMP-2", on=SHORT, **SMALL)
def beta_of_the_step_before(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean has alpha_bar of k - 1 and k - 2 in place of k and k - 1, where there are such.

    Meant: A and B of the step from t to s.

    Seen: plausible, as tables counted from 0 with k counted from 1.
    """
    inside = np.asarray(s) >= 1
    later, earlier = np.where(inside, np.asarray(t) - 1, t), np.where(inside, np.asarray(s) - 1, s)
    return Clean.ddpm_mean(self, x_0, x, later, earlier)


@FAULTS.plant("ddpm_mean", breaks="SMP-2", **SMALL)
def deviation_of_s_for_that_of_t(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is (x_t - beta eps/sigma_s)/sqrt(1 - beta), where s > 0.

    Meant: (x_t - beta eps/sigma_t)/sqrt(1 - beta).

    Seen: plausible, as `sqrt_one_minus_alphas_cumprod` of another index.
    """
    later, earlier = self.sigma(t), self.sigma(s)
    root = np.sqrt(self.ratio(t, s))
    right = Clean.ddpm_mean(self, x_0, x, t, s)
    return x / column(root, x) + (right - x / column(root, x)) * column(
        later / np.where(earlier > 0.0, earlier, later), x
    )


@FAULTS.plant("ddpm_mean", breaks="SMP-2", on=(LINEAR, SHORT), **SMALL)
def x_t_a_thousandth_short(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is A x_0 + 0.999 B x_t.

    Meant: A x_0 + B x_t.

    Seen: plausible, as a variance that is kept from 0 by a floor.
    """
    return Clean.ddpm_mean(self, x_0, 0.999 * x, t, s)


@FAULTS.plant("ddpm_mean", breaks="SMP-2", on=(LINEAR, SHORT), **SMALL)
def x_0_a_thousandth_short(self: Clean, x_0: Any, x: Any, t: Any, s: Any) -> Any:
    """The mean is 0.999 A x_0 + B x_t.

    Meant: A x_0 + B x_t.

    Seen: plausible, as a clip to 0.999 or a rescaling.
    """
    return Clean.ddpm_mean(self, 0.999 * x_0, x, t, s)
