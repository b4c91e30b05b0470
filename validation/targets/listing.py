"""The targets that `python -m validation.targets` judges."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

_SAMPLERS = tuple(
    f"diffusers_samplers:{name}"
    for name in (
        *("ddim", "zero_snr", "ddpm", "euler", "euler_ancestral"),
        *("heun", "lms", "dpm_solver", "unipc", "deis"),
    )
)
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "diffusers": (
        "diffusers:ddpm",
        "diffusers:ddpm_bfloat16",
        "diffusers:zero_snr",
        "diffusers:fixed_large",
        "diffusers:score_sde_vp",
        "diffusers_training:ddpm",
        "diffusers_training:ddim",
        *_SAMPLERS,
        "averages:diffusers_ema",
        "averages:diffusers_ema_warm",
        "averages:diffusers_ema_power",
    ),
    "azula": ("azula:vp", "azula:denoisers", "azula_samplers:each", "azula_samplers:reab", "azula_samplers:reab_as_is"),
    "denoising-diffusion-pytorch": (
        "denoising_diffusion:discrete",
        "denoising_diffusion:continuous",
        "denoising_diffusion:v",
    ),
    "monai": ("monai:ddpm", "monai:runs", "monai:plms"),
    "k-diffusion": ("k_diffusion:v", "k_diffusion:eps", "k_diffusion:samplers", "k_diffusion:sde"),
    "smalldiffusion": ("smalldiffusion:ddpm",),
    "score-models": ("score_models:vp",),
    "flow-matching": ("flow_matching:meta", "flow_matching:meta_solvers"),
    "torchcfm": ("flow_matching:torchcfm_vp",),
    "diffusionjax": ("diffusionjax:vp", "diffusionjax:chain"),
    "ema-pytorch": ("averages:ema_pytorch", "averages:ema_pytorch_warm"),
    "torch-ema": ("averages:torch_ema", "averages:torch_ema_warm"),
    "torch": ("averages:torch_swa", "averages:torch_mean"),
    "optax": ("averages:optax_ema",),
}
"""By distribution, the targets in `validation.targets`."""


def installed() -> dict[str, str]:
    """Return the version of each library that is installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
