"""Faults of arithmetic: cancellation, formats that are too narrow, NaN and overflow (chapter 11)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Linear, Times

from .clean.scales import wide
from .clean.target import Clean
from .cosines import offset
from .fault import COSINE, Chapter
from .schedules import rates

FAULTS = Chapter("number", "schedule", "perturb")
STEEP = Linear(beta_min=0.1, beta_max=2000.0)


def half(values: Any) -> Any:
    """Return values rounded to float16."""
    return FORMATS["float16"].rounded(values).astype(np.float64)


def short(values: Any) -> Any:
    """Return values rounded to bfloat16."""
    return FORMATS["bfloat16"].rounded(values).astype(np.float64)


@FAULTS.plant("sigma", breaks="MAR-10 MAR-11")
def sigma_by_subtraction(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - exp(log alpha_bar)), which cancels at small t.

    Meant: sigma = sqrt(-expm1(log alpha_bar)).

    Seen: 10^5 ulp in float32, https://github.com/yang-song/score_sde_pytorch and https://github.com/huggingface/diffusers.
    """
    one = self.format.storage.type(1.0)
    return np.sqrt(one - self.rounded(self.alpha_bar(t)))


@FAULTS.plant("sigma", breaks="MAR-10 MAR-11")
def sigma_by_alpha(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - alpha^2), which cancels at small t.

    Meant: sigma = sqrt(-expm1(log alpha_bar)).

    Seen: 10^5 ulp in float32, https://github.com/probabilists/azula.
    """
    one = self.format.storage.type(1.0)
    return np.sqrt(one - self.rounded(self.alpha(t)) ** 2)


@FAULTS.plant("sigma", breaks="MAR-10 MAR-11")
def sigma_by_the_noise_level(self: Clean, t: Times) -> Any:
    """sigma = alpha sqrt(1/alpha_bar - 1), which cancels at small t.

    Meant: sigma = sqrt(-expm1(log alpha_bar)).

    Seen: 10^5 ulp in float32, https://github.com/NVlabs/edm.
    """
    one = self.format.storage.type(1.0)
    return self.alpha(t) * np.sqrt(self.rounded(np.exp(-self.log_alpha_bar(t))) - one)


@FAULTS.plant("alpha", breaks="MAR-1 MAR-10")
def alpha_by_sigma(self: Clean, t: Times) -> Any:
    """alpha = sqrt(1 - sigma^2) of a rounded sigma, which cancels at large t.

    Meant: alpha = exp(log alpha_bar/2).

    Seen: plausible; a process that is defined by its noise.
    """
    one = self.format.storage.type(1.0)
    return np.sqrt(one - self.rounded(self.sigma(t)) ** 2)


@FAULTS.plant("log_alpha_bar", breaks="SCH-9 MAR-10 MAR-11")
def logarithm_of_alpha_bar(self: Clean, t: Any) -> Any:
    """log_alpha_bar = log(alpha_bar) of a rounded alpha_bar, 0 at small t.

    Meant: log_alpha_bar = -B(t).

    Seen: plausible; a table of alpha_bar as the source of all.
    """
    return np.log(self.rounded(np.exp(Clean.log_alpha_bar(self, t))).astype(np.float64))


@FAULTS.plant("log_snr", breaks="SCH-9 NUM-5")
def log_snr_of_a_quotient(self: Clean, t: Any) -> Any:
    """log_snr = log(alpha_bar/(1 - alpha_bar)) of a rounded alpha_bar, infinite at small t.

    Meant: log_snr = log alpha_bar - log(-expm1(log alpha_bar)).

    Seen: plausible; `compute_snr` of https://github.com/huggingface/diffusers.
    """
    bar = self.rounded(self.alpha_bar(t))
    with np.errstate(divide="ignore"):
        return np.log(bar / (self.format.storage.type(1.0) - bar))


@FAULTS.plant("log_snr", breaks="SCH-9 NUM-5", on=STEEP)
def log_snr_that_overflows(self: Clean, t: Any) -> Any:
    """log_snr = -log(expm1(B)), -infinite where exp(B) overflows.

    Meant: log_snr = -B - log(-expm1(-B)).

    Seen: plausible; `-log(expm1(...))` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    with np.errstate(divide="ignore", over="ignore"):
        return -np.log(self.rounded(np.expm1(-self.log_alpha_bar(t))).astype(np.float64))


@FAULTS.plant("sigma", breaks="MAR-10")
def small_noise_flushed(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - alpha_bar), and 0 where sigma < 10^-9.

    Meant: sigma = sqrt(1 - alpha_bar), at every t.

    Seen: plausible; a mask against a division by 0.
    """
    sigma = Clean.sigma(self, t)
    return np.where(sigma < 1e-9, 0.0, sigma)


@FAULTS.plant("halves", breaks="MAR-10", on=COSINE)
def cosine_that_cancels(self: Clean, t: Any) -> Any:
    """alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)) of a rounded angle, not 0 at t = 1.

    Meant: alpha = sin(pi/2 (1 - t)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: alpha(1) = -4e-8 of `CosineSchedule`, https://github.com/probabilists/azula.
    """
    s = offset(self)
    angle = self.rounded(0.5 * np.pi * (np.asarray(t) + s) / (1.0 + s)).astype(np.float64)
    alpha = np.cos(angle) / np.cos(0.5 * np.pi * s / (1.0 + s))
    return np.abs(alpha), Clean.halves(self, t)[1]


@FAULTS.plant("rate", breaks="SCH-9", on=COSINE)
def tangent_at_the_end(self: Clean, t: Any) -> Any:
    """beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)) of a rounded angle, a large number of any sign at t = 1.

    Meant: beta(1) is infinite.

    Seen: tan(pi/2) = -2.3e7 in float32, https://github.com/crowsonkb/k-diffusion.
    """
    s = offset(self)
    angle = self.rounded(0.5 * np.pi * (np.asarray(t) + s) / (1.0 + s)).astype(np.float64)
    return np.pi / (1.0 + s) * np.tan(angle)


@FAULTS.plant("halves", breaks="MAR-1", on=COSINE)
def double_angle(self: Clean, t: Any) -> Any:
    """alpha_bar = (1 + cos(pi (t + s)/(1 + s)))/2, divided by its start, of a rounded cosine.

    Meant: alpha = sin(pi/2 (1 - t)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: plausible; the formula of the half angle, which cancels where alpha is small.
    """
    s = offset(self)
    turned = self.rounded(np.cos(np.pi * (np.asarray(t) + s) / (1.0 + s))).astype(np.float64)
    bar = (1.0 + turned) / (1.0 + np.cos(np.pi * s / (1.0 + s)))
    return np.sqrt(bar), 1.0 - bar


@FAULTS.plant("sigma", breaks="NUM-3", on=COSINE)
def zero_times_infinity(self: Clean, t: Times) -> Any:
    """sigma = alpha sqrt(1/SNR), NaN where alpha = 0.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; 0 times infinity at t = 1.
    """
    with np.errstate(all="ignore"):
        return self.alpha(t) * np.exp(-0.5 * Clean.log_snr(self, t))


@FAULTS.plant("alpha", breaks="NUM-3")
def infinity_over_infinity(self: Clean, t: Times) -> Any:
    """alpha = sqrt(SNR/(1 + SNR)), NaN where sigma = 0.

    Meant: alpha = sqrt(alpha_bar).

    Seen: plausible; infinity over infinity at t = 0.
    """
    with np.errstate(all="ignore"):
        ratio = np.exp(Clean.log_snr(self, t))
        return np.sqrt(ratio / (1.0 + ratio))


@FAULTS.plant("log_snr", breaks="NUM-3")
def difference_of_infinities(self: Clean, t: Any) -> Any:
    """log_snr = log_snr + (SNR - SNR), NaN at t = 0.

    Meant: log_snr = log alpha_bar - log(1 - alpha_bar), infinite at t = 0.

    Seen: plausible; min(SNR, 5)/SNR is NaN at the end, https://github.com/huggingface/diffusers.
    """
    with np.errstate(all="ignore"):
        right = Clean.log_snr(self, t)
        return right + (np.exp(right) - np.exp(right))


@FAULTS.plant("rate", breaks="NUM-3 SCH-2")
def mean_rate_for_rate(self: Clean, t: Any) -> Any:
    """beta = B(t)/t, NaN at t = 0.

    Meant: beta = dB/dt.

    Seen: plausible.
    """
    with np.errstate(all="ignore"):
        return self.integral(np.asarray(t, dtype=np.float64)) / np.asarray(t)


@FAULTS.plant("rate", breaks="SCH-5", on=COSINE)
def rate_by_differences(self: Clean, t: Any) -> Any:
    """beta = [B(t + h) - B(t - h)]/(2 h), with h = 10^-3 and times in [0, 1].

    Meant: beta = dB/dt.

    Seen: plausible; one-sided at the ends, and divided by 2 h all the same.
    """
    h, t = 1e-3, np.asarray(t, dtype=np.float64)
    with np.errstate(all="ignore"):
        after, before = (self.integral(np.clip(t + step, 0.0, 1.0)) for step in (h, -h))
        return (after - before) / (2.0 * h)


@FAULTS.plant("log_alpha_bar", breaks="MAR-1 MAR-2")
def integral_in_float16(self: Clean, t: Any) -> Any:
    """log alpha_bar = -B(t), rounded to float16.

    Meant: log alpha_bar = -B(t), in the format of the library.

    Seen: plausible; autocast around the schedule.
    """
    return half(Clean.log_alpha_bar(self, t))


@FAULTS.plant("log_alpha_bar", breaks="SCH-3 MAR-1")
def time_in_float16(self: Clean, t: Any) -> Any:
    """log alpha_bar at t rounded to float16.

    Meant: log alpha_bar at t.

    Seen: plausible; times cast with the rest of a model to half precision.
    """
    return Clean.log_alpha_bar(self, half(t))


@FAULTS.plant("log_alpha_bar", breaks="SCH-3 MAR-1")
def time_in_bfloat16(self: Clean, t: Any) -> Any:
    """log alpha_bar at t rounded to bfloat16.

    Meant: log alpha_bar at t.

    Seen: plausible; 507 of 1000 equal times differ in bfloat16.
    """
    return Clean.log_alpha_bar(self, short(t))


@FAULTS.plant("alpha", breaks="MAR-1 MAR-3")
def alpha_in_float16(self: Clean, t: Times) -> Any:
    """alpha = sqrt(alpha_bar), rounded to float16.

    Meant: alpha = sqrt(alpha_bar), in the format of the library.

    Seen: https://github.com/huggingface/diffusers/pull/9004, a table cast with the samples.
    """
    return half(Clean.alpha(self, t))


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def sigma_in_bfloat16(self: Clean, t: Times) -> Any:
    """sigma = sqrt(1 - alpha_bar), rounded to bfloat16.

    Meant: sigma = sqrt(1 - alpha_bar), in the format of the library.

    Seen: https://github.com/huggingface/diffusers/pull/3005, a table cast with the samples.
    """
    return short(Clean.sigma(self, t))


@FAULTS.plant("integral", breaks="SCH-3 MAR-1", dtypes=("float64",))
def integral_in_float32(self: Clean, t: Any) -> Any:
    """B(t) in float32, in a library of float64.

    Meant: B(t) in the format of the library.

    Seen: float32 scalars in a float64 schedule of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    low, high, time = (np.float32(x) for x in (*rates(self), t))
    return np.asarray(time * (low + np.float32(0.5) * (high - low) * time), dtype=np.float64)


@FAULTS.plant("noised", breaks="MAR-11", claims=("perturb",), dtypes=("float64",))
def noising_in_float32(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps in float32, in a library of float64.

    Meant: x_t = alpha x_0 + sigma eps, in the format of the library.

    Seen: plausible; a default dtype of float32.
    """
    a, s, x_0, eps = (np.asarray(x, dtype=np.float32) for x in (*self.over(t, x_0), x_0, eps))
    return (a * x_0 + s * eps).astype(np.float64)


@FAULTS.plant("halves", breaks="SCH-9", on=COSINE)
def variance_of_the_cosine_that_cancels(self: Clean, t: Any) -> Any:
    """sigma^2 = 1 - alpha^2 of a rounded alpha, which cancels at small t.

    Meant: sigma^2 = sin(x) sin(2 a + x)/cos^2(a), with x = pi/2 t/(1 + s) and a = pi/2 s/(1 + s).

    Seen: 3500 ulp in float32, https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    alpha = Clean.halves(self, t)[0]
    return alpha, self.format.storage.type(1.0) - self.rounded(alpha) ** 2


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3", claims=("sde",))
def diffusion_in_float16(self: Clean, beta: Any) -> Any:
    """g = sqrt(beta), rounded to float16.

    Meant: g = sqrt(beta), in the format of the library.

    Seen: plausible.
    """
    return half(np.sqrt(wide(beta)))


@FAULTS.plant("x_0_from_eps", breaks="PAR-1", claims=("convert",))
def x_0_in_bfloat16(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma eps)/alpha, rounded to bfloat16.

    Meant: x_0 = (x_t - sigma eps)/alpha, in the format of the library.

    Seen: plausible; a step under autocast.
    """
    return short(Clean.x_0_from_eps(self, eps, x, a, s))
