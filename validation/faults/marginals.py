"""Faults of noising (chapter 2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain, Linear, Times

from .clean.scales import column, wide
from .clean.target import Clean
from .fault import DDPM, OWN, SHORT, Chapter

FAULTS = Chapter("marginal", "perturb")


@FAULTS.plant("noised", breaks="MAR-1 MAR-4")
def alpha_bar_on_the_data(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha_bar x_0 + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps, with alpha = sqrt(alpha_bar).

    Seen: plausible.
    """
    a, s = self.over(t, x_0)
    return a**2 * x_0 + s * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def variance_on_the_noise(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma^2 eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; survives azula's own tests.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s**2 * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4", on=SHORT)
def noise_of_one_step(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_k = alpha_k x_0 + sqrt(beta_k) eps.

    Meant: x_k = alpha_k x_0 + sigma_k eps.

    Seen: plausible; the noise of q(x_k | x_(k-1)) for that of q(x_k | x_0).
    """
    a, _ = self.over(t, x_0)
    return a * x_0 + column(np.sqrt(self.betas()[t - 1]), x_0) * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def noise_subtracted(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 - sigma eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; the law of x_t is right, and the target of training is not.
    """
    a, s = self.over(t, x_0)
    return a * x_0 - s * eps


@FAULTS.plant("noised", breaks="MAR-1 MAR-2 MAR-4")
def scales_swapped(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = sigma x_0 + alpha eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible.
    """
    a, s = self.over(t, x_0)
    return s * x_0 + a * eps


@FAULTS.plant("noised", breaks="MAR-1 MAR-2 MAR-4")
def straight_line(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = (1 - t) x_0 + t eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; the interpolation of flow matching, https://github.com/facebookresearch/flow_matching.
    """
    share = column(wide(t), x_0)
    return (1.0 - share) * x_0 + share * eps


@FAULTS.plant("noised", breaks="MAR-1 MAR-4")
def noise_level_of_edm(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = x_0 + sigma/alpha eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; the variables of https://github.com/NVlabs/edm, not scaled back.
    """
    a, s = self.over(t, x_0)
    return x_0 + s / a * eps


@FAULTS.plant("noised", breaks="MAR-1 MAR-4")
def noised_twice(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha (alpha x_0 + sigma eps) + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: https://github.com/kohya-ss/sd-scripts/pull/1395.
    """
    a, s = self.over(t, x_0)
    return a * (a * x_0 + s * eps) + s * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def noise_added_twice(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + 2 sigma eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; noise added by the data's pipeline and by training.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + 2.0 * s * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4", events=((3, 4, 4),))
def tenth_too_much_in_images(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + 1.1 sigma eps, of a library of images.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; input perturbation, https://github.com/forever208/DDPM-IP, outside the network's input.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + 1.1 * s * eps


@FAULTS.plant("noised", breaks="MAR-4")
def offset_noise(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma (eps + a tenth of the mean of eps).

    Meant: x_t = alpha x_0 + sigma eps, for the eps that is given.

    Seen: `offset_noise_strength` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * (eps + 0.1 * column(eps.reshape(len(eps), -1).mean(1), eps))


@FAULTS.plant("noised", breaks="MAR-4")
def result_clipped(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, from -3 to 3.

    Meant: x_t = alpha x_0 + sigma eps, without a bound.

    Seen: plausible.
    """
    a, s = self.over(t, x_0)
    return np.clip(a * x_0 + s * eps, -3.0, 3.0)


@FAULTS.plant("noised", breaks="MAR-4")
def noise_truncated(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with eps from -2 to 2.

    Meant: x_t = alpha x_0 + sigma eps, for the eps that is given.

    Seen: plausible; a truncated normal as of GANs.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * np.clip(eps, -2.0, 2.0)


@FAULTS.plant("noised", breaks="MAR-4")
def data_clipped(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with x_0 from -1 to 1.

    Meant: x_t = alpha x_0 + sigma eps, for the x_0 that is given.

    Seen: plausible; a clamp of images that stays when data are latents.
    """
    a, s = self.over(t, x_0)
    return a * np.clip(x_0, -1.0, 1.0) + s * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def range_of_images(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha (2 x_0 - 1) + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps; the caller gives data in their final range.

    Seen: https://github.com/deepinv/deepinv/issues/736, a denoiser of [0, 1] beside a process of [-1, 1].
    """
    a, s = self.over(t, x_0)
    return a * (2.0 * x_0 - 1.0) + s * eps


@FAULTS.plant("noised", breaks="MAR-4")
def data_centred(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha (x_0 - its mean over the event) + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps, for the x_0 that is given.

    Seen: plausible; normalization of each example inside the noising.
    """
    a, s = self.over(t, x_0)
    return a * (x_0 - column(x_0.reshape(len(x_0), -1).mean(1), x_0)) + s * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def noise_times_data(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma x_0 eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; speckle in place of additive noise.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * x_0 * eps


@FAULTS.plant("noised", breaks="MAR-2 MAR-4")
def little_noise_left_out(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, without noise where sigma < 0.01.

    Meant: x_t = alpha x_0 + sigma eps, at every t.

    Seen: plausible; sigma = 0 at the first ten steps of a table in bfloat16, https://github.com/huggingface/diffusers.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + np.where(s < 0.01, 0.0, s) * eps


@FAULTS.plant("noised", breaks="MAR-4")
def data_in_bfloat16(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with x_0 rounded to bfloat16.

    Meant: x_t = alpha x_0 + sigma eps, in the format of the data.

    Seen: plausible; autocast around the noising.
    """
    a, s = self.over(t, x_0)
    return a * FORMATS["bfloat16"].rounded(x_0).astype(np.float64) + s * eps


@FAULTS.plant("noised", breaks="MAR-4")
def noise_in_float16(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with eps rounded to float16.

    Meant: x_t = alpha x_0 + sigma eps, in the format of the data.

    Seen: plausible; noise drawn in half precision.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * FORMATS["float16"].rounded(eps).astype(np.float64)


@FAULTS.plant("over", breaks="MAR-1 MAR-4")
def scales_in_float16(self: Clean, t: Times, like: Any) -> Any:
    """x_t = alpha x_0 + sigma eps, with alpha and sigma rounded to float16.

    Meant: x_t = alpha x_0 + sigma eps, in the format of the data.

    Seen: https://github.com/huggingface/diffusers/pull/9004, a table cast with the samples.
    """
    a, s = (FORMATS["float16"].rounded(x).astype(np.float64) for x in Clean.over(self, t, like))
    return a, s


@FAULTS.plant("noised", breaks="MAR-3", on=OWN)
def floor_of_its_own(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sqrt(sigma^2 + 10^-4) eps, undeclared, of a process of the library's own.

    Meant: x_t = alpha x_0 + sigma eps, with sigma = sqrt(1 - alpha_bar) or a declared sigma_min.

    Seen: the 10^-4 of the schedules of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + np.sqrt(s**2 + 1e-4) * eps


@FAULTS.plant("integral", breaks="MAR-6", on=(Linear,))
def rates_of_the_defaults(self: Clean, t: Any) -> Any:
    """B(t) with beta_min = 0.1 and beta_max = 20, whatever is given.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2, with the rates that are given.

    Seen: plausible; constants of a paper in the code, right in its own tests.
    """
    return Clean.integral(Clean(Linear(beta_min=0.1, beta_max=20.0), self.claim), t)


@FAULTS.plant("logs", breaks="MAR-6", on=(Chain,))
def table_of_the_defaults(self: Clean) -> Any:
    """log alpha_bar of the betas of DDPM, whatever is given.

    Meant: log alpha_bar of the betas that are given.

    Seen: plausible; a table loaded from a file, right in its own tests.
    """
    return Clean.logs(Clean(DDPM, self.claim))
