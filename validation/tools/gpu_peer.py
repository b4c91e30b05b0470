"""Training steps of diffusers' U-Net on a GPU, for the throughput that `gpu` records beside refdiff's.

The network is UNet2DModel without attention, as refdiff's has none by default, with three quarters of its channels:
then it has a tenth fewer parameters, and a fifth more operations. The loop is that of diffusers' tutorial, with its
images on the device from the start: it draws timesteps and noise, calls `add_noise`, clips the gradient, and takes a
step of AdamW. It keeps no average of the weights, and it need not repeat to the bit; both favour it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from refdiff.training.config import RuntimeConfig

GROUPS = 8
STEPS = 1000


def widths(width: int) -> tuple[int, int]:
    """Return the channels of both levels, for the size of refdiff's network of this width."""
    return (3 * width // 4, 3 * width // 2)


def network(widths: tuple[int, ...]) -> nn.Module:
    """Return UNet2DModel for 32 x 32 x 3, one residual block a level on the way down and two on the way up."""
    library: Any = import_module("diffusers")
    made: nn.Module = library.UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=widths,
        norm_num_groups=GROUPS,
        down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths),
        add_attention=False,
    )
    return made


def stepper(machine: RuntimeConfig, images: Tensor, batch: int, widths: tuple[int, ...]) -> Callable[[], None]:
    """Return a function that takes one training step on images, (n, 3, 32, 32) in [-1, 1]."""
    library: Any = import_module("diffusers")
    device, half = machine.device, machine.precision == "bfloat16"
    layout = torch.channels_last if machine.channels_last else torch.contiguous_format
    model: Any = network(widths).to(device, memory_format=layout)  # type: ignore[call-overload] # torch's stubs
    images, noising = images.to(device), library.DDPMScheduler(STEPS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    called = torch.compile(model) if machine.compile else model

    def step() -> None:
        x_0 = images[torch.randint(len(images), (batch,), device=device)]
        eps, timestep = torch.randn_like(x_0), torch.randint(STEPS, (batch,), device=device)
        x_t = noising.add_noise(x_0, eps, timestep).contiguous(memory_format=layout)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            predicted = called(x_t, timestep, return_dict=False)[0]
        torch.autograd.backward(nn.functional.mse_loss(predicted.float(), eps))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step
