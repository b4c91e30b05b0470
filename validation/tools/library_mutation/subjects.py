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
SUBJECTS: Mapping[str, Subject] = {
    "ddpm": Subject(
        library="diffusers",
        module="diffusers.schedulers.scheduling_ddpm",
        targets=(*_NUMBERS, "diffusers_training:ddpm", "diffusers_samplers:ddpm"),
        tests=("schedulers/test_scheduler_ddpm.py",),
        golden="full_loop",
    ),
    "ddim": Subject(
        library="diffusers",
        module="diffusers.schedulers.scheduling_ddim",
        targets=(*_NUMBERS[:2], "diffusers_training:ddim", *_RUNS),
        tests=("schedulers/test_scheduler_ddim.py",),
        golden="full_loop",
    ),
    "noise": Subject(
        library="azula",
        module="azula.noise",
        targets=("azula:vp", "azula:denoisers", "azula_samplers:each"),
        tests=("test_noise.py", "test_denoise.py", "test_sample.py"),
    ),
    "denoise": Subject(
        library="azula",
        module="azula.denoise",
        targets=("azula:denoisers", "azula:vp"),
        tests=("test_denoise.py", "test_sample.py"),
    ),
    "sample": Subject(
        library="azula",
        module="azula.sample",
        targets=("azula_samplers:each", "azula:vp", "azula:denoisers", "azula_samplers:reab"),
        tests=("test_sample.py", "test_denoise.py"),
    ),
}
"""By the last word of the module's name."""
