"""Faults of noising that mix up the examples of a batch, or keep something from call to call (chapters 0, 2 and 12)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times

from .clean.scales import wide
from .clean.target import Clean
from .fault import DDPM, OWN, Chapter

FAULTS = Chapter("batch", "perturb")


@FAULTS.plant("noised", breaks="MAR-4 MAR-5")
def noise_of_another_example(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the eps of another example.

    Meant: x_t = alpha x_0 + sigma eps, for the eps that is given.

    Seen: `immiscible=True` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * eps[::-1]


@FAULTS.plant("noised", breaks="MAR-4 NOT-2")
def one_noise_for_the_batch(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the eps of the first example for all.

    Meant: x_t = alpha x_0 + sigma eps, for each example's own eps.

    Seen: plausible; the same noise for every image of a batch.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * eps[:1]


@FAULTS.plant("noised", breaks="MAR-4 NOT-2")
def first_time_for_all(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the scales of the first example for all.

    Meant: x_t = alpha x_0 + sigma eps, with each example's own time.

    Seen: plausible; `t[0]` in code from sampling, where all times are equal.
    """
    a, s = self.over(t, x_0)
    return a[:1] * x_0 + s[:1] * eps


@FAULTS.plant("noised", breaks="MAR-4 MAR-5 NOT-2")
def times_sorted(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the scales at the sorted times.

    Meant: x_t = alpha x_0 + sigma eps, with each example's own time.

    Seen: plausible; stratified times sorted after the data was drawn.
    """
    a, s = self.over(np.sort(wide(t)), x_0)
    return a * x_0 + s * eps


@FAULTS.plant("noised", breaks="MAR-4 MAR-5 NOT-2")
def time_of_the_next_example(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the scales of the next example.

    Meant: x_t = alpha x_0 + sigma eps, with each example's own time.

    Seen: plausible.
    """
    a, s = self.over(np.roll(t, 1), x_0)
    return a * x_0 + s * eps


@FAULTS.plant("noised", breaks="MAR-4 NOT-2")
def mean_time_for_all(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the scales at the mean of the times.

    Meant: x_t = alpha x_0 + sigma eps, with each example's own time.

    Seen: plausible.
    """
    a, s = self.over(np.full(len(t), wide(t).mean()), x_0)
    return a * x_0 + s * eps


@FAULTS.plant("noised", breaks="MAR-5", on=OWN)
def noise_permuted_of_its_own(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps with the eps of another example, of a process of the library's own.

    Meant: x_t = alpha x_0 + sigma eps, for the eps that is given.

    Seen: `immiscible=True` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * eps[::-1]


@FAULTS.plant("perturb", breaks="CON-3")
def noise_scaled_in_place(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with eps scaled where it lies.

    Meant: x_t = alpha x_0 + sigma eps, and eps stays as it is.

    Seen: the noise argument edited in place, https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    a, s = self.over(t, x_0)
    eps.flags.writeable = True
    eps *= s.astype(eps.dtype)
    return self.rounded(a * wide(x_0) + wide(eps))


@FAULTS.plant("perturb", breaks="CON-3")
def data_scaled_in_place(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with x_0 turned into x_t where it lies.

    Meant: x_t = alpha x_0 + sigma eps, and x_0 stays as it is.

    Seen: plausible; `x.mul_(alpha).add_(sigma * eps)`.
    """
    found = Clean.perturb(self, x_0, eps, t)
    x_0.flags.writeable = True
    x_0[...] = found
    return found


@FAULTS.plant("noised", breaks="CON-4 MAR-4")
def own_noise(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma z, with noise z that it draws itself.

    Meant: x_t = alpha x_0 + sigma eps, for the eps that is given.

    Seen: plausible; `randn_like` where the argument belongs.
    """
    a, s = self.over(t, x_0)
    return a * x_0 + s * np.random.default_rng().standard_normal(np.shape(eps))


@FAULTS.plant("perturb", breaks="CON-4 MAR-4", on=DDPM)
def table_worn_by_use(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with an alpha that each call makes a thousandth smaller.

    Meant: x_t = alpha x_0 + sigma eps, from a table that a call leaves as it is.

    Seen: `add_noise` of https://github.com/Project-MONAI/MONAI overwrites its table.
    """
    calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
    a, s = self.over(t, x_0)
    share = 1.0 - 1e-3 * (calls - 1)
    return self.rounded(a * share * wide(x_0) + s * wide(eps))


@FAULTS.plant("noised", breaks="SCH-1", on=OWN)
def time_of_its_own_reversed(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with alpha and sigma at 1 - t, of a process of the library's own.

    Meant: x_t = alpha x_0 + sigma eps, with the data at t = 0.

    Seen: plausible; the direction of time of flow matching, https://github.com/facebookresearch/flow_matching.
    """
    a, s = self.over(1.0 - wide(t), x_0)
    return a * x_0 + s * eps


@FAULTS.plant("noised", breaks="MAR-1", on=OWN, also=("schedule",))
def another_time_than_the_schedule(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with alpha and sigma at 0.99 t, of a process of the library's own.

    Meant: x_t = alpha x_0 + sigma eps, with the alpha and sigma that the schedule has at t.

    Seen: `add_noise` of `DPMSolverMultistepScheduler` noises for another time, https://github.com/huggingface/diffusers.
    """
    a, s = self.over(0.99 * wide(t), x_0)
    return a * x_0 + s * eps
