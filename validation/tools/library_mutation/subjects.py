"""The libraries whose formulas are changed, the targets that reach them, and their own tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One module of a library."""

    library: str
    """Distribution, and name of the folder of its own tests on the command line."""
    module: str
    targets: tuple[str, ...]
    """Of `validation.targets`."""
    tests: tuple[str, ...]
    """Files of the library's own tests of this module, in the folder of its tests."""
    golden: str = ""
    """Part of the names of those own tests that compare the sum of a whole run with a number that was once computed."""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """By function, why no check reaches some or all of its statements."""


_NUMBERS = ("diffusers:ddpm", "diffusers:zero_snr", "diffusers:fixed_large")
_RUNS = ("diffusers_samplers:ddim", "diffusers_samplers:zero_snr")
_THRESHOLD = "dynamic thresholding and clipping bend x_0_hat, which no clause speaks of"
_OTHER_PROCESS = "not variance preserving, which the specification does not cover"
SUBJECTS: Mapping[str, Subject] = {
    "ddpm": Subject(
        library="diffusers",
        module="diffusers.schedulers.scheduling_ddpm",
        targets=(*_NUMBERS, "diffusers_training:ddpm", "diffusers_samplers:ddpm"),
        tests=("schedulers/test_scheduler_ddpm.py",),
        golden="full_loop",
        unreached={
            "betas_for_alpha_bar": "the schedules laplace and exp, which no adapter claims",
            "DDPMScheduler.__init__": "the schedules laplace and sigmoid, which no adapter claims",
            "DDPMScheduler.set_timesteps": "the grids linspace and leading, which do not begin at N or end elsewhere",
            "DDPMScheduler._get_variance": "logarithmic and learned variances, of which no clause speaks",
            "DDPMScheduler._threshold_sample": _THRESHOLD,
            "DDPMScheduler.step": "clipping, and logarithmic and learned variances",
        },
    ),
    "ddim": Subject(
        library="diffusers",
        module="diffusers.schedulers.scheduling_ddim",
        targets=(*_NUMBERS[:2], "diffusers_training:ddim", *_RUNS),
        tests=("schedulers/test_scheduler_ddim.py",),
        golden="full_loop",
        unreached={
            "betas_for_alpha_bar": "the schedules laplace and exp, which no adapter claims",
            "DDIMScheduler.set_timesteps": "the grid linspace, which does not agree with the stride of step",
            "DDIMScheduler._threshold_sample": _THRESHOLD,
            "DDIMScheduler.step": "clipping, and eps_hat from the clipped x_0_hat",
        },
    ),
    "noise": Subject(
        library="azula",
        module="azula.noise",
        targets=("azula:vp", "azula:denoisers", "azula_samplers:each"),
        tests=("test_noise.py", "test_denoise.py", "test_sample.py"),
        unreached={
            "VESchedule.sigma": _OTHER_PROCESS,
            "RectifiedSchedule.alpha": _OTHER_PROCESS,
            "RectifiedSchedule.sigma": _OTHER_PROCESS,
            "DecaySchedule.tau": _OTHER_PROCESS,
            "DecaySchedule.alpha": _OTHER_PROCESS,
            "DecaySchedule.sigma": _OTHER_PROCESS,
        },
    ),
    "denoise": Subject(
        library="azula",
        module="azula.denoise",
        targets=("azula:denoisers", "azula:vp"),
        tests=("test_denoise.py", "test_sample.py"),
        unreached={
            "GaussianPosterior.log_prob": "a density of x_0, of which no clause speaks",
            "GaussianDenoiser.forward": "the exact denoiser of Gaussian data, which is not trained and no claim has",
        },
    ),
    "sample": Subject(
        library="azula",
        module="azula.sample",
        targets=("azula_samplers:each", "azula:vp", "azula:denoisers", "azula_samplers:reab_as_is"),
        tests=("test_sample.py", "test_denoise.py"),
    ),
}
"""By the last word of the module's name."""
