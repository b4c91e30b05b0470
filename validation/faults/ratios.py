"""Faults of the log-SNR, and of quantities that no longer belong together (chapter 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times

from .clean.target import Clean
from .fault import COSINE, DDPM, OWN, Chapter

FAULTS = Chapter("ratio", "schedule")


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def ratio_of_amplitudes(self: Clean, t: Any) -> Any:
    """log_snr = log(alpha/sigma).

    Meant: log_snr = log(alpha^2/sigma^2).

    Seen: plausible; the lambda of DPM-Solver, https://github.com/LuChengTHU/dpm-solver.
    """
    return 0.5 * Clean.log_snr(self, t)


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def logarithm_to_the_base_ten(self: Clean, t: Any) -> Any:
    """log_snr = log10(alpha^2/sigma^2).

    Meant: log_snr = log(alpha^2/sigma^2), natural.

    Seen: plausible.
    """
    return Clean.log_snr(self, t) / np.log(10.0)


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def decibels(self: Clean, t: Any) -> Any:
    """log_snr = 10 log10(alpha^2/sigma^2).

    Meant: log_snr = log(alpha^2/sigma^2), natural.

    Seen: plausible; a plot's axis returned as the quantity.
    """
    return 10.0 * Clean.log_snr(self, t) / np.log(10.0)


@FAULTS.plant("log_snr", breaks="SCH-6 SCH-7")
def noise_to_signal(self: Clean, t: Any) -> Any:
    """log_snr = log(sigma^2/alpha^2).

    Meant: log_snr = log(alpha^2/sigma^2).

    Seen: plausible; gamma of https://github.com/google-research/vdm is minus the log-SNR.
    """
    return -Clean.log_snr(self, t)


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def snr_for_its_logarithm(self: Clean, t: Any) -> Any:
    """log_snr = alpha^2/sigma^2.

    Meant: log_snr = log(alpha^2/sigma^2).

    Seen: plausible.
    """
    return np.exp(Clean.log_snr(self, t))


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def sigma_not_squared(self: Clean, t: Any) -> Any:
    """log_snr = log(alpha^2/sigma).

    Meant: log_snr = log(alpha^2/sigma^2).

    Seen: plausible; sigma taken for a variance.
    """
    with np.errstate(divide="ignore"):
        return self.log_alpha_bar(t) - np.log(self.sigma(t))


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8")
def log_alpha_bar_for_log_snr(self: Clean, t: Any) -> Any:
    """log_snr = log(alpha_bar).

    Meant: log_snr = log(alpha_bar) - log(1 - alpha_bar).

    Seen: plausible.
    """
    return self.log_alpha_bar(t)


@FAULTS.plant("log_snr", breaks="SCH-7")
def clamped(self: Clean, t: Any) -> Any:
    """log_snr from -10 to 10.

    Meant: log_snr = log(alpha^2/sigma^2), at every t.

    Seen: plausible; the range of https://github.com/google-research/vdm, hidden in the schedule.
    """
    return np.clip(Clean.log_snr(self, t), -10.0, 10.0)


@FAULTS.plant("log_snr", breaks="SCH-9")
def small_number_added(self: Clean, t: Any) -> Any:
    """log_snr = log((alpha_bar + 10^-8)/(1 - alpha_bar + 10^-8)).

    Meant: log_snr = log(alpha_bar) - log(1 - alpha_bar).

    Seen: plausible; a guard against the logarithm of 0 that shows far from it.
    """
    return np.log((self.alpha_bar(t) + 1e-8) / (self.sigma(t) ** 2 + 1e-8))


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8", on=COSINE)
def offset_forgotten_in_log_snr(self: Clean, t: Any) -> Any:
    """log_snr = -2 log tan(pi/2 t).

    Meant: log_snr = log(alpha^2/sigma^2), of the schedule with its offset.

    Seen: plausible; the cosine schedule of https://arxiv.org/abs/2301.11093 has no offset.
    """
    with np.errstate(divide="ignore"):
        return -2.0 * np.log(np.tan(0.5 * np.pi * np.asarray(t, dtype=np.float64)))


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8", on=DDPM)
def stale_table(self: Clean, k: Any) -> Any:
    """log_snr of betas that are 1.1 times as large.

    Meant: log_snr of the betas that are given.

    Seen: https://github.com/kohya-ss/sd-scripts/issues/1263, a table from before the betas were rescaled.
    """
    log = np.cumsum(np.log1p(-1.1 * self.betas()))[k - 1]
    return log - np.log(-np.expm1(log))


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8", on=DDPM)
def of_one_step(self: Clean, k: Any) -> Any:
    """log_snr = log((1 - beta_k)/beta_k).

    Meant: log_snr = log(alpha_bar_k/(1 - alpha_bar_k)).

    Seen: plausible; `alphas` for `alphas_cumprod`.
    """
    beta = self.betas()[k - 1]
    return np.log1p(-beta) - np.log(beta)


@FAULTS.plant("coefficients", breaks="SCH-3 SCH-8")
def sign_of_the_logarithm(self: Clean, t: Times) -> Any:
    """log_alpha_bar = -log(alpha_bar).

    Meant: log_alpha_bar = log(alpha_bar).

    Seen: plausible; the integral of the rate returned with its sign.
    """
    found: dict[str, Array] = Clean.coefficients(self, t)
    return found | {"log_alpha_bar": -found["log_alpha_bar"]}


@FAULTS.plant("coefficients", breaks="SCH-3 SCH-8")
def log_alpha_for_log_alpha_bar(self: Clean, t: Times) -> Any:
    """log_alpha_bar = log(alpha).

    Meant: log_alpha_bar = log(alpha_bar).

    Seen: plausible; `marginal_log_mean_coeff` of https://github.com/LuChengTHU/dpm-solver is log alpha.
    """
    found: dict[str, Array] = Clean.coefficients(self, t)
    return found | {"log_alpha_bar": self.rounded(0.5 * self.log_alpha_bar(t))}


@FAULTS.plant("sigma", breaks="SCH-8 MAR-3", on=OWN)
def sigma_of_its_own_too_large(self: Clean, t: Any) -> Any:
    """sigma = 1.001 sqrt(1 - alpha_bar), of a process of the library's own.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible.
    """
    return 1.001 * Clean.sigma(self, t)


@FAULTS.plant("log_snr", breaks="SCH-7 SCH-8", on=OWN)
def stale_log_snr_of_its_own(self: Clean, t: Any) -> Any:
    """log_snr at 1.05 t, of a process of the library's own.

    Meant: log_snr = log(alpha_bar) - log(1 - alpha_bar).

    Seen: plausible; https://github.com/kohya-ss/sd-scripts/issues/1263 is a stale table of a chain.
    """
    return Clean.log_snr(self, 1.05 * np.asarray(t, dtype=np.float64))


@FAULTS.plant("rate", breaks="SCH-3", on=OWN)
def rate_of_its_own_doubled(self: Clean, t: Any) -> Any:
    """beta is twice the rate, of a process of the library's own.

    Meant: beta = -d log(alpha_bar)/dt.

    Seen: plausible; https://github.com/deepinv/deepinv/pull/1343 is a factor of 2 in a derivative.
    """
    return 2.0 * Clean.rate(self, t)


@FAULTS.plant("alpha_bar", breaks="SCH-6 SCH-8", on=OWN)
def rising(self: Clean, t: Any) -> Any:
    """alpha_bar + t/5, of a process of the library's own.

    Meant: alpha_bar = exp(-B), which does not rise.

    Seen: plausible.
    """
    return Clean.alpha_bar(self, t) + 0.2 * np.asarray(t)


@FAULTS.plant("integral", breaks="SCH-1", on=OWN)
def start_with_noise(self: Clean, t: Any) -> Any:
    """B(t) + 10^-3, undeclared, of a process of the library's own.

    Meant: B(0) = 0, or a declared sigma_min.

    Seen: the 10^-4 of the schedules of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    return Clean.integral(self, t) + 1e-3
