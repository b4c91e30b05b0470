"""Sampling from a trained network, and pictures of the samples."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from math import ceil, sqrt
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from refdiff.errors import ConfigError, DomainError
from refdiff.guidance import guide
from refdiff.loss import Denoiser, Objective
from refdiff.samplers import Rule, RungeKutta4, Sampler
from refdiff.sampling import sample, sampler_named
from refdiff.tensors import Data
from refdiff.times import TimeSampler
from refdiff.training import build, checkpoint, files, memory, sizes
from refdiff.training.build import Factory
from refdiff.training.distributed import find_device
from refdiff.training.errors import CheckpointError
from refdiff.training.labels import conditioned, find_classes
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
    label: Tensor | None = None,
    null: int = 0,
    guidance: float = 1.0,
) -> Data:
    """Return samples of a model, whose mode (training or evaluation) is unchanged.

    Args:
        model: network, called as model(x_t, t), or with labels as model(x_t, t, label).
        objective: objective that it was trained on.
        times: training times; sampling starts at the last one.
        event: shape of one example.
        count: number of samples.
        seed: random seed.
        sampler: name of the sampler.
        steps: number of sampling steps.
        label: with labels: the label of each sample, (count,), int64.
        null: with labels: the null label.
        guidance: with labels: factor on the difference of the predictions with a label and without (SMP-9).

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
            own = None if label is None else label[first : first + size].to(like.device)
            denoiser = _guided(model, own, null, guidance)
            final = sample(objective, denoiser, x, falling, sampler=chosen, generator=drawn)
            made.append(final.clamp(-1.0, 1.0).cpu())
    return torch.cat(made)


def _guided(model: nn.Module, label: Tensor | None, null: int, guidance: float) -> Denoiser:
    """Return the denoiser for these labels, with guidance."""
    if label is None:
        return model
    return guide(conditioned(model, label), conditioned(model, torch.full_like(label, null)), guidance)


def grid(times: TimeSampler, steps: int, sampler: Sampler) -> list[float] | list[int]:
    """Return the decreasing times of the sampling steps, from the end of the training times to 0."""
    # Runge-Kutta needs the score at the end of its last step, which at time 0 divides by sigma = 0.
    return times.falling(steps, to_zero=not isinstance(sampler, RungeKutta4))


@final
class Trained:
    """An exported network with its objective, training times and config."""

    def __init__(self, path: Path, factory: Factory | None = None, device: str = "cpu") -> None:
        """Load an exported network.

        Args:
            path: a .safetensors file, or the output folder of a run, of which the EMA weights are loaded.
            factory: builds the network, if it is not the default one; the file itself never names code to run.
            device: device that samples, or auto: CUDA if it is available. Noise differs between devices.

        Raises:
            CheckpointError: the file is not a network that refdiff exported, or its weights do not fit.
            ConfigError: the device is not available, or has too little memory.
        """
        self.device = find_device(device)
        read = checkpoint.weights(path)
        plan = read.config.network
        if factory is None and plan.blocks * len(plan.multipliers) > len(read.tensors):
            raise CheckpointError(f"expected weights of this network, got too few tensors in {path} (TRN-11)")
        noise = build.process(read.config.process)
        self.config, self.event, self.names = read.config, read.event, read.names
        classes = len(read.names)
        self.objective = build.objective(read.config.objective, noise)
        self.times = build.times(read.config.times, noise, torch.float32)
        # On the meta device until the weights are known to fit, as a file may declare a network of any size.
        with nullcontext() if factory else torch.device("meta"):
            self.model = (
                build.own_network(factory, read.event, classes)
                if factory
                else build.network(read.event, noise, plan, read.config.mlp, classes=classes)
            )
        try:
            self.model.load_state_dict(read.tensors, assign=factory is None)
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise CheckpointError(f"expected weights of this network, got {path}: {said[:200]} (TRN-11)") from None
        with memory.explained(self.device, "the weights of this network"):
            self.model.float().to(self.device).eval()

    def samples(
        self,
        count: int,
        *,
        seed: int,
        sampler: Rule,
        steps: int,
        labels: Sequence[int | str] = (),
        guidance: float = 1.0,
    ) -> Data:
        """Return samples, float32 in [-1, 1].

        Args:
            count: number of samples; with labels, of each.
            seed: random seed.
            sampler: name of the sampler.
            steps: number of sampling steps.
            labels: classes by name or index, or ["all"]; by default samples of no class in particular.
            guidance: with labels: 1 samples the conditional distribution, and more moves samples towards the class.

        Returns:
            Samples, (count, *event), or (len(labels) count, *event) in the order of the labels.

        Raises:
            DomainError: count < 1, unknown labels, or a null label that was not trained is needed.
        """
        if count < 1 or steps < 1:
            raise DomainError("SMP-6", "at least 1 sample and 1 step", (count, steps))
        if steps > 100_000:
            raise DomainError("SMP-6", "at most 100,000 sampling steps", steps)
        sizes.check_samples(count * max(1, len(labels)), self.event)
        label = self.label(count, labels, guidance)
        known = (self.model, self.objective, self.times, self.event)
        total, null = count if label is None else len(label), len(self.names)
        with memory.explained(self.device, f"samples of shape {self.event}, {AT_ONCE} at a time"):
            return samples(
                *known, total, seed=seed, sampler=sampler, steps=steps, label=label, null=null, guidance=guidance
            )

    def label(self, count: int, labels: Sequence[int | str], guidance: float = 1.0) -> Tensor | None:
        """Return the label of each sample, or None in a network without labels."""
        found = find_classes(self.names, labels) if labels else []
        if not found and guidance != 1.0:
            raise DomainError("SMP-9", "labels for a guidance other than 1", "none")
        if self.names and self.config.condition.dropout == 0.0 and (not found or guidance != 1.0):
            need = "labels and guidance 1 for a network trained with condition.dropout 0, which has no null label"
            raise DomainError("SMP-9", need, f"labels {list(labels)} and guidance {guidance:g}")
        if not self.names:
            return None
        return torch.tensor(found or [len(self.names)]).repeat_interleave(count)


def check_output(out: Path) -> None:
    """Raise ConfigError if `write` would replace a file in this folder."""
    for name in ("samples.npy", "labels.npy", "samples.png"):
        if files.is_present(out / name):
            need = "a folder without samples, or --overwrite to replace them"
            raise ConfigError(f"expected {need}, got {out / name} (TRN-11)")


def write(out: Path, made: Data, label: Tensor | None = None, *, overwrite: bool = False) -> None:
    """Write `samples.npy`, `samples.png` for images, and `labels.npy` for labels, a row of the picture for each.

    Args:
        out: output folder.
        made: samples, (n, *event) in [-1, 1].
        label: label of each sample, (n,), int64, if there are any.
        overwrite: whether to replace samples that are there.

    Raises:
        ConfigError: there are samples, and they are not to be replaced.
        CheckpointError: a file cannot be written.
    """
    if not overwrite:
        check_output(out)
    files.write(out / "samples.npy", _npy(made.float()))
    columns = None
    if label is not None:
        files.write(out / "labels.npy", _npy(label))
        columns = int((label == label[0]).sum())
    if is_image(made.shape[1:]):
        files.write(out / "samples.png", png(made, columns))


def _npy(values: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values.numpy(), allow_pickle=False)
    return buffer.getvalue()


def is_image(event: tuple[int, ...]) -> bool:
    """Return whether examples of this shape are grey or RGB images."""
    return len(event) == 3 and event[0] in (1, 3)


def png(images: Data, columns: int | None = None) -> bytes:
    """Return a PNG with images, (n, 1 or 3, height, width) in [-1, 1], on a grid; small images are enlarged.

    columns: images in a row, by default as many as makes the grid square.
    """
    try:
        from PIL import Image  # lazy import: only needed here
    except ModuleNotFoundError:
        raise ConfigError("expected Pillow for pictures: pip install 'refdiff[train]', got none (TRN-13)") from None
    n, channels, height, width = images.shape
    columns = columns or ceil(sqrt(n))
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
