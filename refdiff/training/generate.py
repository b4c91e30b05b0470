"""Sampling from a trained network, and pictures of the samples."""

from __future__ import annotations

import io
from contextlib import nullcontext
from math import ceil, sqrt
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import nn

from refdiff.errors import ConfigError, DomainError
from refdiff.loss import Objective
from refdiff.samplers import Rule, RungeKutta4, Sampler
from refdiff.sampling import sample, sampler_named
from refdiff.tensors import Data
from refdiff.times import TimeSampler
from refdiff.training import build, checkpoint, files, sizes
from refdiff.training.build import Factory
from refdiff.training.errors import CheckpointError
from refdiff.training.randomness import generator

AT_ONCE = 256
"""Samples per batch. Noise is drawn per batch, so another value gives other samples for the same seed."""


def samples(
    model: nn.Module,
    objective: Objective,
    times: TimeSampler,
    event: tuple[int, ...],
    count: int,
    *,
    seed: int,
    sampler: Rule = "ddim",
    steps: int = 50,
) -> Data:
    """Return samples of a model, whose mode (training or evaluation) is unchanged.

    Args:
        model: network, called as model(x_t, t).
        objective: objective that it was trained on.
        times: training times; sampling starts at the last one.
        event: shape of one example.
        count: number of samples.
        seed: random seed.
        sampler: name of the sampler.
        steps: number of sampling steps.

    Returns:
        Samples on the CPU, (count, *event) in [-1, 1].
    """
    like = next(model.parameters())
    chosen, made = sampler_named(sampler), []
    falling = grid(times, steps, chosen)
    with torch.no_grad(), build.evaluating(model):
        for part, first in enumerate(range(0, count, AT_ONCE)):
            size = min(AT_ONCE, count - first)
            drawn = generator(seed, "samples", part, device=like.device)
            x = torch.randn(size, *event, generator=drawn, device=like.device, dtype=like.dtype)
            final = sample(objective, model, x, falling, sampler=chosen, generator=drawn)
            made.append(final.clamp(-1.0, 1.0).cpu())
    return torch.cat(made)


def grid(times: TimeSampler, steps: int, sampler: Sampler) -> list[float] | list[int]:
    """Return the decreasing times of the sampling steps, from the end of the training times to 0."""
    # Runge-Kutta needs the score at the end of its last step, which at time 0 divides by sigma = 0.
    return times.falling(steps, to_zero=not isinstance(sampler, RungeKutta4))


@final
class Trained:
    """An exported network with its objective, training times and config."""

    def __init__(self, path: Path, factory: Factory | None = None) -> None:
        """Load an exported network.

        Args:
            path: a .safetensors file, or the output folder of a run, of which the EMA weights are loaded.
            factory: builds the network, if it is not the default one; the file itself never names code to run.

        Raises:
            CheckpointError: the file is not a network that refdiff exported, or its weights do not fit.
        """
        read = checkpoint.weights(path)
        plan = read.config.network
        if factory is None and plan.blocks * len(plan.multipliers) > len(read.tensors):
            raise CheckpointError(f"expected weights of this network, got too few tensors in {path} (TRN-11)")
        noise = build.process(read.config.process)
        self.config, self.event = read.config, read.event
        self.objective = build.objective(read.config.objective, noise)
        self.times = build.times(read.config.times, noise, torch.float32)
        # On the meta device until the weights are known to fit, as a file may declare a network of any size.
        with nullcontext() if factory else torch.device("meta"):
            self.model = factory(read.event) if factory else build.network(read.event, noise, plan, read.config.mlp)
        try:
            self.model.load_state_dict(read.tensors, assign=factory is None)
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise CheckpointError(f"expected weights of this network, got {path}: {said[:200]} (TRN-11)") from None
        self.model.float().eval()

    def samples(self, count: int, *, seed: int, sampler: Rule, steps: int) -> Data:
        """Return count samples, (count, *event), float32 in [-1, 1]. Raises RefdiffError for invalid numbers."""
        if count < 1 or steps < 1:
            raise DomainError("SMP-6", "at least 1 sample and 1 step", (count, steps))
        if steps > 100_000:
            raise DomainError("SMP-6", "at most 100,000 sampling steps", steps)
        sizes.check_samples(count, self.event)
        known = (self.model, self.objective, self.times, self.event)
        return samples(*known, count, seed=seed, sampler=sampler, steps=steps)


def check_output(out: Path) -> None:
    """Raise ConfigError if `write` would replace a file in this folder."""
    for name in ("samples.npy", "samples.png"):
        if files.is_present(out / name):
            need = "a folder without samples, or --overwrite to replace them"
            raise ConfigError(f"expected {need}, got {out / name} (TRN-11)")


def write(out: Path, made: Data, *, overwrite: bool = False) -> None:
    """Write `samples.npy`, and `samples.png` for images.

    Args:
        out: output folder.
        made: samples, (n, *event) in [-1, 1].
        overwrite: whether to replace samples that are there.

    Raises:
        ConfigError: there are samples, and they are not to be replaced.
        CheckpointError: a file cannot be written.
    """
    if not overwrite:
        check_output(out)
    buffer = io.BytesIO()
    np.save(buffer, made.float().numpy(), allow_pickle=False)
    files.write(out / "samples.npy", buffer.getvalue())
    if is_image(made.shape[1:]):
        files.write(out / "samples.png", png(made))


def is_image(event: tuple[int, ...]) -> bool:
    """Return whether examples of this shape are grey or RGB images."""
    return len(event) == 3 and event[0] in (1, 3)


def png(images: Data) -> bytes:
    """Return a PNG with images, (n, 1 or 3, height, width) in [-1, 1], on a grid; small images are enlarged."""
    try:
        from PIL import Image  # lazy import: only needed here
    except ModuleNotFoundError:
        raise ConfigError("expected Pillow for pictures: pip install 'refdiff[train]', got none (TRN-13)") from None
    n, channels, height, width = images.shape
    columns = ceil(sqrt(n))
    times = max(1, 32 // min(height, width))
    shown = ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    shown = shown.repeat_interleave(times, 2).repeat_interleave(times, 3)
    sheet = torch.full((channels, ceil(n / columns) * (height * times + 2) + 2, columns * (width * times + 2) + 2), 96)
    for i, image in enumerate(shown):
        top, left = 2 + i // columns * (height * times + 2), 2 + i % columns * (width * times + 2)
        sheet[:, top : top + height * times, left : left + width * times] = image
    pixels = sheet.to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
