"""Faults of the linear schedule (chapter 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Linear, Times

from .clean.target import Clean
from .fault import Chapter

FAULTS = Chapter("schedule", "schedule", "perturb")


def rates(self: Clean) -> tuple[float, float]:
    """Return beta_min and beta_max."""
    assert isinstance(self.process, Linear)
    return self.process.beta_min, self.process.beta_max


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def variance_for_deviation(self: Clean, t: Times) -> Any:
    """sigma = 1 - alpha_bar.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; survives azula's own tests.
    """
    return Clean.sigma(self, t) ** 2


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def one_minus_alpha(self: Clean, t: Times) -> Any:
    """sigma = 1 - alpha.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; the interpolation of flow matching put into a variance-preserving process.
    """
    return 1.0 - self.alpha(t)


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def noise_level_for_sigma(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - alpha_bar)/alpha, the noise level of EDM.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; what EDM and k-diffusion call sigma, https://github.com/NVlabs/edm.
    """
    return Clean.sigma(self, t) / self.alpha(t)


@FAULTS.plant("sigma", breaks="SCH-1 MAR-3")
def floor_not_declared(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - alpha_bar + 10^-6), undeclared: alpha^2 + sigma^2 = 1 + 10^-6.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: VPSchedule of https://github.com/probabilists/azula, where it is documented.
    """
    return np.sqrt(Clean.sigma(self, t) ** 2 + 1e-6)


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def sigma_of_a_thousandth_more(self: Clean, t: Times) -> Any:
    """sigma = 1.001 sqrt(1 - alpha_bar).

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; a constant of calibration that was left in.
    """
    return 1.001 * Clean.sigma(self, t)


@FAULTS.plant("alpha", breaks="MAR-1 MAR-3")
def alpha_bar_for_alpha(self: Clean, t: Times) -> Any:
    """alpha = alpha_bar.

    Meant: alpha = sqrt(alpha_bar).

    Seen: plausible.
    """
    return self.alpha_bar(t)


@FAULTS.plant("alpha", breaks="MAR-1 MAR-3")
def exponent_halved_twice(self: Clean, t: Times) -> Any:
    """alpha = exp(log alpha_bar/4).

    Meant: alpha = exp(log alpha_bar/2).

    Seen: plausible; `log_mean_coeff` of https://github.com/yang-song/score_sde_pytorch, which is halved, halved again.
    """
    return np.exp(0.25 * self.log_alpha_bar(t))


@FAULTS.plant("alpha", breaks="MAR-1 MAR-3")
def alpha_of_a_ten_thousandth_less(self: Clean, t: Times) -> Any:
    """alpha = 0.9999 sqrt(alpha_bar).

    Meant: alpha = sqrt(alpha_bar).

    Seen: plausible; a factor that keeps a divisor from 0.
    """
    return 0.9999 * Clean.alpha(self, t)


@FAULTS.plant("alpha_bar", breaks="SCH-3 SCH-8")
def alpha_for_alpha_bar(self: Clean, t: Times) -> Any:
    """alpha_bar = exp(log alpha_bar/2), which is alpha.

    Meant: alpha_bar = exp(log alpha_bar).

    Seen: plausible; alphas_cumprod taken for its root.
    """
    return self.alpha(t)


@FAULTS.plant("alpha_bar", breaks="SCH-3 SCH-8")
def power_of_two(self: Clean, t: Times) -> Any:
    """alpha_bar = 2^(log alpha_bar).

    Meant: alpha_bar = exp(log alpha_bar).

    Seen: plausible; exp2 is faster on GPUs, and needs the factor log2(e).
    """
    return np.exp2(self.log_alpha_bar(t))


@FAULTS.plant("integral", breaks="SCH-3 MAR-1 MAR-2")
def slope_not_halved(self: Clean, t: Any) -> Any:
    """B(t) = beta_min t + (beta_max - beta_min) t^2.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: plausible.
    """
    low, high = rates(self)
    return t * (low + (high - low) * t)


@FAULTS.plant("integral", breaks="SCH-3 MAR-2")
def slope_whole(self: Clean, t: Any) -> Any:
    """B(t) = beta_min t + beta_max t^2/2.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: plausible.
    """
    low, high = rates(self)
    return t * (low + 0.5 * high * t)


@FAULTS.plant("integral", breaks="SCH-1 SCH-3")
def rate_for_integral(self: Clean, t: Any) -> Any:
    """B(t) = beta(t).

    Meant: B(t) is the integral of beta from 0 to t.

    Seen: plausible.
    """
    return Clean.rate(self, t)


@FAULTS.plant("integral", breaks="SCH-3 MAR-1")
def beta_min_forgotten(self: Clean, t: Any) -> Any:
    """B(t) = (beta_max - beta_min) t^2/2.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: plausible.
    """
    low, high = rates(self)
    return 0.5 * (high - low) * t * t


@FAULTS.plant("integral", breaks="SCH-3 MAR-1 MAR-2")
def mean_rate(self: Clean, t: Any) -> Any:
    """B(t) = (beta_min + beta_max)/2 t.

    Meant: B(t) = (beta_min + beta(t))/2 t.

    Seen: plausible; right at t = 1, where it is often tested.
    """
    low, high = rates(self)
    return 0.5 * (low + high) * t


@FAULTS.plant("integral", breaks="SCH-3 MAR-1 MAR-2")
def length_of_time_forgotten(self: Clean, t: Any) -> Any:
    """B(t) is half of the integral: a process on [0, 2] of which the rate was not multiplied by 2.

    Meant: beta(t) = T beta_T(T t), for a process on [0, T].

    Seen: plausible.
    """
    return 0.5 * Clean.integral(self, t)


@FAULTS.plant("integral", breaks="SCH-1 SCH-3 MAR-2")
def quadratic_called_linear(self: Clean, t: Any) -> Any:
    """B(t) = 10^-4 + 10 t^2.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: `beta_linear_log_snr` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    return 1e-4 + 10.0 * np.asarray(t) ** 2


@FAULTS.plant("integral", breaks="SCH-3 MAR-1")
def geometric_rate(self: Clean, t: Any) -> Any:
    """B(t) of beta(t) = beta_min (beta_max/beta_min)^t.

    Meant: beta(t) = beta_min + t (beta_max - beta_min).

    Seen: plausible; the geometric sequence is that of the noise levels of a variance-exploding process.
    """
    low, high = rates(self)
    return low * np.expm1(np.log(high / low) * t) / np.log(high / low)


@FAULTS.plant("integral", breaks="SCH-3")
def sum_of_rectangles(self: Clean, t: Any) -> Any:
    """B(t) as the sum of a thousand rectangles with the rate at their left ends.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: plausible; a cumulative sum of betas in place of the integral.
    """
    nodes = np.arange(1000) / 1000.0
    covered = np.clip(np.asarray(t)[..., None] - nodes, 0.0, 1e-3)
    return (covered * Clean.rate(self, nodes)).sum(-1)


@FAULTS.plant("integral", breaks="SCH-1 SCH-3 SCH-6")
def from_noise_to_data(self: Clean, t: Any) -> Any:
    """B(1 - t): t = 1 is the data.

    Meant: B(t), with the data at t = 0.

    Seen: plausible; the direction of time of flow matching, https://github.com/facebookresearch/flow_matching.
    """
    return Clean.integral(self, 1.0 - t)


@FAULTS.plant("log_alpha_bar", breaks="SCH-1 MAR-2")
def time_clipped_below(self: Clean, t: Any) -> Any:
    """log alpha_bar at max(t, 10^-3), undeclared.

    Meant: log alpha_bar at t.

    Seen: plausible; `eps` of https://github.com/yang-song/score_sde_pytorch, hidden in the schedule.
    """
    return Clean.log_alpha_bar(self, np.maximum(t, 1e-3))


@FAULTS.plant("log_alpha_bar", breaks="SCH-3 MAR-1")
def end_of_time_not_reached(self: Clean, t: Any) -> Any:
    """log alpha_bar at 0.999 t.

    Meant: log alpha_bar at t.

    Seen: plausible; the index (N - 1) t of N = 1000 steps, divided by N.
    """
    return Clean.log_alpha_bar(self, 0.999 * np.asarray(t, dtype=np.float64))


@FAULTS.plant("log_alpha_bar", breaks="SCH-1 SCH-3")
def one_step_ahead(self: Clean, t: Any) -> Any:
    """log alpha_bar at t + 1/1000.

    Meant: log alpha_bar at t.

    Seen: index i of a table is time (i + 1)/N, https://github.com/yang-song/score_sde_pytorch.
    """
    return Clean.log_alpha_bar(self, np.minimum(np.asarray(t, dtype=np.float64) + 1e-3, 1.0))


@FAULTS.plant("log_alpha_bar", breaks="SCH-3 MAR-1")
def nearest_of_a_thousand(self: Clean, t: Any) -> Any:
    """log alpha_bar at the whole part of 999 t, divided by 999.

    Meant: log alpha_bar at t.

    Seen: `(t * (N - 1)).long()` of https://github.com/yang-song/score_sde_pytorch.
    """
    return Clean.log_alpha_bar(self, np.floor(999.0 * np.asarray(t, dtype=np.float64)) / 999.0)


@FAULTS.plant("rate", breaks="SCH-2 SCH-3")
def rate_of_a_step(self: Clean, t: Any) -> Any:
    """beta = [beta_min + t (beta_max - beta_min)]/1000.

    Meant: beta = beta_min + t (beta_max - beta_min), per unit of time.

    Seen: plausible; DDPM's betas are per step.
    """
    return Clean.rate(self, t) / 1000.0


@FAULTS.plant("rate", breaks="SCH-2 SCH-3")
def rate_from_noise_to_data(self: Clean, t: Any) -> Any:
    """beta(1 - t).

    Meant: beta(t).

    Seen: plausible; time reversed in the rate, and not in its integral.
    """
    return Clean.rate(self, 1.0 - np.asarray(t))


@FAULTS.plant("rate", breaks="SCH-2 SCH-3")
def scaled_linear_rate(self: Clean, t: Any) -> Any:
    """beta = [sqrt(beta_min) + t (sqrt(beta_max) - sqrt(beta_min))]^2.

    Meant: beta = beta_min + t (beta_max - beta_min).

    Seen: plausible; `scaled_linear` for `linear`, the former is latent diffusion's, https://github.com/CompVis/latent-diffusion.
    """
    low, high = np.sqrt(rates(self))
    return (low + (high - low) * np.asarray(t)) ** 2


@FAULTS.plant("rate", breaks="SCH-2 SCH-3")
def slope_from_zero(self: Clean, t: Any) -> Any:
    """beta = beta_min + t beta_max.

    Meant: beta = beta_min + t (beta_max - beta_min).

    Seen: plausible.
    """
    low, high = rates(self)
    return low + high * np.asarray(t)


@FAULTS.plant("rate", breaks="SCH-2")
def parameters_in_half(self: Clean, t: Any) -> Any:
    """beta = beta_min + t (beta_max - beta_min), of parameters that are rounded to float16.

    Meant: beta = beta_min + t (beta_max - beta_min), of the parameters that are given.

    Seen: plausible; a module's buffers after `.half()`.
    """
    low, high = (float(np.float16(rate)) for rate in rates(self))
    return low + (high - low) * np.asarray(t)
