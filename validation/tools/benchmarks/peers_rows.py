"""The rows of `peers`: which library, with which settings and samplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

Library: TypeAlias = Literal["refdiff", "denoising-diffusion-pytorch", "diffusers"]


@final
@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler of a library, and its number of steps."""

    name: str
    steps: int

    def __str__(self) -> str:
        return f"{self.name} {self.steps}"


DDIM = Sampler("DDIM", 50)
"""Measured for every row at every budget."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One library with one set of settings."""

    name: str
    library: Library
    settings: dict[str, Any]
    why: str
    """Where the settings come from, and what differs."""
    documented: Sampler = DDIM
    """The sampler of the library's own example, measured at the largest budget if it is another one."""


_DDP_NETWORK = {"dim": 24, "dim_mults": (1, 2, 4), "flash_attn": True}
_UNET = {
    "layers_per_block": 1,
    "block_out_channels": (24, 48, 96),
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}

ROWS = (
    Row(
        "refdiff",
        "refdiff",
        {"network": {"multipliers": (1, 2, 4)}},
        "all defaults, but with a third level, for a network as large as the others'",
    ),
    Row(
        "denoising-diffusion-pytorch",
        "denoising-diffusion-pytorch",
        {
            "network": _DDP_NETWORK,
            "diffusion": {"timesteps": 1000},
            "trainer": {
                "train_batch_size": 32,
                "gradient_accumulate_every": 2,
                "train_lr": 8e-5,
                "ema_decay": 0.995,
                "augment_horizontal_flip": False,
            },
        },
        "its README; but a network as large as refdiff's, no mirrored digits, and no half precision, which is for GPUs",
        Sampler("DDIM", 250),
    ),
    Row(
        "diffusers",
        "diffusers",
        {
            "network": _UNET,
            "scheduler": {"num_train_timesteps": 1000},
            "optimizer": {"lr": 1e-4},
            "warmup": 500,
            "batch": 16,
            "average": {},
        },
        "its tutorial; but a network as large as refdiff's, no mirrored digits, and no half precision",
        Sampler("DDPM", 1000),
    ),
    Row(
        "denoising-diffusion-pytorch, refdiff's settings",
        "denoising-diffusion-pytorch",
        {
            "network": _DDP_NETWORK,
            "diffusion": {"timesteps": 1000, "beta_schedule": "cosine"},
            "trainer": {
                "train_batch_size": 128,
                "train_lr": 1e-3,
                "ema_decay": 0.999,
                "ema_update_every": 1,
                "augment_horizontal_flip": False,
            },
        },
        "batch, schedule and average of refdiff; its learning rate is constant, hence half of refdiff's",
        Sampler("DDIM", 250),
    ),
    Row(
        "diffusers, refdiff's settings",
        "diffusers",
        {
            "network": _UNET,
            "scheduler": {
                "num_train_timesteps": 1000,
                "beta_schedule": "squaredcos_cap_v2",
                "prediction_type": "v_prediction",
            },
            "optimizer": {"lr": 2e-3, "betas": (0.9, 0.99), "weight_decay": 0.01},
            "warmup": 100,
            "batch": 128,
            "average": {"decay": 0.999, "use_ema_warmup": True, "inv_gamma": 1.0, "power": 0.75},
        },
        "batch, schedule, prediction, learning rate and average of refdiff",
        Sampler("DDPM", 1000),
    ),
)
BY_NAME = {row.name: row for row in ROWS}
