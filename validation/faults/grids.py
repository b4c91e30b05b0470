"""Faults of grids of sampling times (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Grid

from .clean.target import Clean
from .fault import COSINE, DDPM, LINEAR, SHORT, Chapter

FAULTS = Chapter("grid", "grid", on=DDPM)


@FAULTS.plant("grid_of", breaks="SMP-10")
def leading(self: Clean, n: int) -> Any:
    """0, N//n, 2 N//n, ... counted from the data, and never near N.

    Meant: times from N to 0.

    Seen: `timestep_spacing="leading"` of https://github.com/huggingface/diffusers, https://arxiv.org/abs/2305.08891.
    """
    steps = len(self.betas())
    return np.append(np.arange(n)[::-1] * (steps // n) + 1, 0)


@FAULTS.plant("grid_of", breaks="SMP-10")
def time_repeated(self: Clean, n: int) -> Any:
    """round(N (i/n)^3), which repeats times near 0.

    Meant: times that fall at every step.

    Seen: plausible, as a grid for continuous times that is rounded.
    """
    return np.round(len(self.betas()) * np.linspace(1.0, 0.0, n + 1) ** 3)


@FAULTS.plant("grid_of", breaks="SMP-10", on=(DDPM, SHORT))
def stops_short(self: Clean, n: int) -> Any:
    """The last time is k = 1.

    Meant: the last time is 0, the data, unless the claim has another last time.

    Seen: plausible; DEIS ends so, and says it.
    """
    return np.round(np.linspace(len(self.betas()), 1, n + 1))


@FAULTS.plant("grid_of", breaks="SMP-10", on=(DDPM, SHORT))
def starts_late(self: Clean, n: int) -> Any:
    """The first time is N - 1.

    Meant: the first time is N, pure noise.

    Seen: plausible, as indices from 0; smalldiffusion's grid fails so, https://github.com/yuanchenyang/smalldiffusion.
    """
    return np.maximum(Clean.grid_of(self, n) - 1, 0)


@FAULTS.plant("grid_of", breaks="SMP-10")
def one_time_too_few(self: Clean, n: int) -> Any:
    """n times, for n - 1 steps.

    Meant: n + 1 times, for n steps.

    Seen: plausible, as `linspace(N, 0, n)`.
    """
    return np.round(np.linspace(len(self.betas()), 0, n)) if n > 1 else np.array([len(self.betas())])


@FAULTS.plant("grid_of", breaks="SMP-10")
def step_too_many_by_whole_strides(self: Clean, n: int) -> Any:
    """N, N - N//n, ..., which has more than n times above 0 where n does not divide N.

    Meant: n + 1 times, for n steps.

    Seen: plausible, as `range(N, 0, -(N // n))`; guided-diffusion's spacing avoids it.
    """
    return np.append(np.arange(len(self.betas()), 0, -(len(self.betas()) // n)), 0)


@FAULTS.plant("grid_of", breaks="SMP-10")
def step_too_many_by_rounding(self: Clean, n: int) -> Any:
    """round(N, N - N/n, ...) by `arange`, which has n + 1 times above 0 for some n.

    Meant: n + 1 times, for every n.

    Seen: `timestep_spacing="trailing"` of https://github.com/huggingface/diffusers, for n = 61, ..., 998.
    """
    steps = len(self.betas())
    return np.append(np.round(np.arange(steps, 0, -steps / n)), 0)


@FAULTS.plant("grid_of", breaks="SMP-10", on=(LINEAR, SHORT))
def rises(self: Clean, n: int) -> Any:
    """The times rise from 0.

    Meant: the times fall, from noise to data.

    Seen: plausible, as a list that is to be reversed.
    """
    return Clean.grid_of(self, n)[::-1]


@FAULTS.plant("grid_of", breaks="SMP-10", on=(LINEAR, COSINE))
def ends_at_a_thousandth(self: Clean, n: int) -> Any:
    """The last time is 0.001, which the claim does not say.

    Meant: the last time is 0, or the grid's t_min as claimed.

    Seen: `eps = 1e-3` of https://github.com/yang-song/score_sde_pytorch, where it is documented.
    """
    return np.linspace(1.0, 1e-3, n + 1)


@FAULTS.plant("grid_of", breaks="SMP-10", on=LINEAR, grid=Grid(t_min=1e-3))
def goes_below_its_end(self: Clean, n: int) -> Any:
    """The last time is 0, where the claim says 0.001.

    Meant: the last time is the grid's t_min as claimed.

    Seen: plausible.
    """
    return np.linspace(1.0, 0.0, n + 1)


@FAULTS.plant("grid_of", breaks="SMP-10", on=LINEAR)
def open_at_the_noise(self: Clean, n: int) -> Any:
    """i/(n + 1) for i = n, ..., 0: the first time is below 1.

    Meant: i/n for i = n, ..., 0.

    Seen: plausible; `linspace(0, steps, steps)/steps` is a grid that overshoots,
    https://github.com/lucidrains/denoising-diffusion-pytorch/issues/19.
    """
    return np.arange(n, -1, -1) / (n + 1.0)


@FAULTS.plant("grid_of", breaks="SMP-10")
def one_step_goes_to_one(self: Clean, n: int) -> Any:
    """A grid of one step ends at k = 1.

    Meant: a grid of one step goes from N to 0.

    Seen: plausible; diffusionjax's run of one step does not move.
    """
    return np.array([len(self.betas()), 1]) if n == 1 else Clean.grid_of(self, n)


@FAULTS.plant("grid_of", breaks="SMP-10")
def all_steps_end_at_one(self: Clean, n: int) -> Any:
    """A grid of N steps is N, ..., 1, 1.

    Meant: a grid of N steps is N, N - 1, ..., 0.

    Seen: plausible, as a clamp at the first index.
    """
    found = Clean.grid_of(self, n)
    return np.maximum(found, 1) if n == len(self.betas()) else found
