"""Faults of what the denoiser of a loss is given (chapter 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Denoiser, Times

from .clean.scales import wide
from .clean.target import Clean
from .fault import COSINE, LINEAR, SHORT, Chapter

FAULTS = Chapter("loss", "loss")
PLAIN: dict[str, Any] = {"weights": ("uniform",)}


@FAULTS.plant("mixed", breaks="LOS-1 LOS-3", **PLAIN)
def noise_assigned_anew(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t has the noise of another example, and the target does not.

    Meant: x_t = alpha x_0 + sigma eps, with the eps that is the target.

    Seen: `immiscible` of https://github.com/lucidrains/denoising-diffusion-pytorch: a perfect predictor has loss 1.86.
    """
    return self.noised(x_0, np.roll(eps, 1, axis=0), t)


@FAULTS.plant("mixed", breaks="LOS-1 LOS-3", **PLAIN)
def noised_twice(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha (alpha x_0 + sigma eps) + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps, once.

    Seen: https://github.com/kohya-ss/sd-scripts/pull/1395.
    """
    return self.noised(self.noised(x_0, eps, t), eps, t)


@FAULTS.plant("mixed", breaks="LOS-1", on=(LINEAR, COSINE), **PLAIN)
def network_sees_the_data(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """The denoiser is given x_0.

    Meant: the denoiser is given x_t = alpha x_0 + sigma eps.

    Seen: plausible.
    """
    return x_0


@FAULTS.plant("noise_of", breaks="LOS-1", **PLAIN)
def one_noise_for_the_batch(self: Clean, eps: Any) -> Any:
    """Every example has the noise of the first.

    Meant: each example has noise of its own, randn_like(x_0).

    Seen: plausible, as randn_like(x_0[0]).
    """
    return np.repeat(eps[:1], len(eps), axis=0)


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def input_scaled(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given 1.5 x_t.

    Meant: the denoiser is given x_t = alpha x_0 + sigma eps.

    Seen: plausible, as a scaling of the input for another data range.
    """
    return 1.5 * x_t, t


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def input_of_unit_data(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given (x_t + 1)/2, data in [0, 1].

    Meant: the denoiser is given x_t, with data in [-1, 1].

    Seen: https://github.com/deepinv/deepinv/issues/736, the range of the denoiser is not that of the state.
    """
    return 0.5 * (x_t + 1.0), t


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def input_in_half(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given x_t rounded to bfloat16.

    Meant: the denoiser is given x_t in the dtype of the claim.

    Seen: https://github.com/LTH14/JiT/issues/13, a loss in half precision diverges.
    """
    return FORMATS["bfloat16"].rounded(x_t), t


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def time_left(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given 1 - t.

    Meant: the denoiser is given t, which is 0 at the data.

    Seen: plausible, as flow matching counts t from the noise.
    """
    return x_t, self.rounded(1.0 - wide(t))


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def time_in_thousands(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given 1000 t.

    Meant: the denoiser is given t in [0, 1]; an adapter undoes a library's scale.

    Seen: plausible; 999 t is what score_sde's networks are given, https://github.com/yang-song/score_sde_pytorch.
    """
    return x_t, self.rounded(1000.0 * wide(t))


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def time_in_half(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given t rounded to bfloat16.

    Meant: the denoiser is given t in the dtype of the claim.

    Seen: plausible; 507 of 1000 steps stay distinct in bfloat16.
    """
    return x_t, self.rounded(FORMATS["bfloat16"].rounded(wide(t)))


@FAULTS.plant("seen", breaks="LOS-1", **PLAIN)
def time_of_the_first(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given the time of the first example for all.

    Meant: the denoiser is given the t of each example.

    Seen: plausible, where t is a scalar in sampling and a batch in training.
    """
    return x_t, np.repeat(t[:1], len(t))


@FAULTS.plant("seen", breaks="LOS-1", on=SHORT, **PLAIN)
def index_from_zero(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given k - 1.

    Meant: the denoiser is given k in 1, ..., N; an adapter undoes a library's count from 0.

    Seen: plausible; diffusers and guided-diffusion count from 0.
    """
    return x_t, t - 1


@FAULTS.plant("seen", breaks="LOS-1", on=SHORT, **PLAIN)
def clean_time(self: Clean, x_t: Any, t: Times) -> Any:
    """The denoiser is given k = 1 for every example.

    Meant: the denoiser is given the k of each example.

    Seen: plausible, as a time embedding that is not connected.
    """
    return x_t, np.ones_like(t)


@FAULTS.plant("asked", breaks="LOS-1 CON-2", **PLAIN)
def denoiser_asked_twice(self: Clean, denoiser: Denoiser, x_t: Any, t: Times) -> Any:
    """The denoiser is called twice.

    Meant: the denoiser is called once, with x_t and t.

    Seen: plausible, as self-conditioning that is always on.
    """
    Clean.asked(self, denoiser, x_t, t)
    return Clean.asked(self, denoiser, x_t, t)


@FAULTS.plant("asked", breaks="LOS-1 CON-2", **PLAIN)
def denoiser_never_asked(self: Clean, denoiser: Denoiser, x_t: Any, t: Times) -> Any:
    """x_t is taken for the prediction.

    Meant: the denoiser is called once, with x_t and t.

    Seen: plausible.
    """
    return x_t
