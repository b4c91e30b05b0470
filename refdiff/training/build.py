"""Builders of the objects that a config describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from math import cos, pi
from typing import TypeAlias, assert_never

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from refdiff.chain import DiscreteChain
from refdiff.errors import ConfigError
from refdiff.loss import Objective
from refdiff.nn import MLP, Architecture, Layers, UNet
from refdiff.positions import Importance, PositionSampler, SecondMoment, Stratified, UniformPositions
from refdiff.schedule import CosineSchedule, LinearSchedule, NoiseProcess
from refdiff.times import Continuous, Discrete, TimeSampler
from refdiff.training import config
from refdiff.weighting import InverseSNR, LikelihoodWeight, MinSNR, UniformWeight, Weight

Factory: TypeAlias = Callable[..., nn.Module]
"""Builds a network from the shape of one example; with labels, also from the keyword `classes`, their number."""


def process(how: config.ProcessConfig) -> NoiseProcess:
    """Return the noise process."""
    made = _process(how)
    return made.with_zero_terminal_snr() if how.zero_terminal_snr and isinstance(made, DiscreteChain) else made


def _process(how: config.ProcessConfig) -> NoiseProcess:
    rates = {"beta_min": how.beta_min, "beta_max": how.beta_max}
    match how.kind:
        case "linear":
            return LinearSchedule(**{name: rate for name, rate in rates.items() if rate is not None})
        case "cosine":
            return CosineSchedule(s=how.s)
        case "linear_chain":
            return DiscreteChain.linear(how.steps, beta_start=how.beta_start, beta_end=how.beta_end)
        case "scaled_linear_chain":
            return DiscreteChain.scaled_linear(how.steps, beta_start=how.beta_start, beta_end=how.beta_end)
        case "cosine_chain":
            return DiscreteChain.cosine(how.steps, s=how.s)
        case _:
            assert_never(how.kind)


def objective(how: config.ObjectiveConfig, noise: NoiseProcess) -> Objective:
    """Return the objective with the mean over features, so that losses are of order 1 at any image size."""
    return Objective(process=noise, prediction=how.prediction, weight=_weight(how), features="mean")


def _weight(how: config.ObjectiveConfig) -> Weight:
    match how.weight:
        case "uniform":
            return UniformWeight()
        case "inverse_snr":
            return InverseSNR(clip=how.clip)
        case "min_snr":
            return MinSNR(gamma=how.gamma)
        case "likelihood":
            return LikelihoodWeight()
        case _:
            assert_never(how.weight)


def times(how: config.TimesConfig, noise: NoiseProcess, dtype: torch.dtype) -> TimeSampler:
    """Return the distribution of training times."""
    if isinstance(noise, DiscreteChain):
        return Discrete(steps=len(noise.betas), sampler=_sampler(how, len(noise.betas)))
    return Continuous(sampler=_sampler(how, how.cells), t_min=how.t_min, t_max=how.t_max, dtype=dtype)


def _sampler(how: config.TimesConfig, cells: int) -> PositionSampler:
    match how.sampler:
        case "uniform":
            return UniformPositions()
        case "stratified":
            return Stratified()
        case "importance":
            return Importance(torch.tensor(how.masses, dtype=torch.float64), Stratified())
        case "second_moment":
            return SecondMoment(cells=cells, history=how.history)
        case _:
            assert_never(how.sampler)


def network(
    event: tuple[int, ...],
    noise: NoiseProcess,
    unet: Architecture | None = None,
    mlp: Layers | None = None,
    *,
    classes: int = 0,
) -> nn.Module:
    """Return the U-Net for images (channels, height, width), or the perceptron for examples of another rank."""
    if len(event) == 3:
        return UNet(event[0], unet, time_scale=1000.0 * time_unit(noise), classes=classes)
    return MLP(event, mlp, time_scale=time_unit(noise), classes=classes)


def own_network(factory: Factory, event: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network of a user's factory. Raises ConfigError if there are labels and it takes no `classes`."""
    if not classes:
        return factory(event)
    try:
        signature(factory).bind(event, classes=classes)
    except TypeError as error:
        need = f"a denoiser built by a function of event and classes, for {classes} classes"
        raise ConfigError(f"expected {need}, got one for which: {error} (TRN-8)") from None
    return factory(event, classes=classes)


def time_unit(noise: NoiseProcess) -> float:
    """Return the factor that scales training times to [0, 1]: 1 for a schedule, 1/N for a chain of N steps."""
    return 1.0 / len(noise.betas) if isinstance(noise, DiscreteChain) else 1.0


def place(model: nn.Module, device: torch.device, how: config.RuntimeConfig) -> nn.Module:
    """Return the model on the device, in the dtype and memory format of the computation."""
    form = torch.channels_last if how.channels_last else torch.preserve_format
    model = model.to(device, torch.float64 if how.precision == "float64" else None)
    return model.to(memory_format=form)  # type: ignore[call-overload, no-any-return]  # torch has no type for `to` with only a memory format


def optimizer(how: config.OptimizerConfig, model: nn.Module) -> Optimizer:
    """Return the optimizer of all parameters, which updates them in one kernel ("fused") unless one is complex."""
    weights = list(model.parameters())
    fused = all(weight.is_floating_point() for weight in weights)
    match how.kind:
        case "adam":
            return Adam(weights, lr=how.lr, betas=how.betas, eps=how.eps, fused=fused)
        case "adamw":
            decay = how.weight_decay
            return AdamW(weights, lr=how.lr, betas=how.betas, eps=how.eps, weight_decay=decay, fused=fused)
        case "sgd":
            return SGD(weights, lr=how.lr, fused=fused)
        case _:
            assert_never(how.kind)


def scheduler(how: config.OptimizerConfig, steps: int, stepped: Optimizer) -> LambdaLR:
    """Return the learning rate schedule: linear warm-up, then constant, or half a cosine to 0 after the last step."""

    def share(step: int) -> float:
        rise = min(1.0, (step + 1) / (how.warmup + 1))
        if how.lr_schedule == "constant" or step < how.warmup:
            return rise
        left = max(steps - how.warmup, 1)
        return 0.5 * (1.0 + cos(pi * min(step - how.warmup, left) / left))

    return LambdaLR(stepped, share)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; on exit, restore the mode of each submodule."""
    before = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def on_device(x: Tensor, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Tensor:
    """Return x on the device, in the dtype and memory format of the computation."""
    moved = x.to(device, dtype)
    return moved.contiguous(memory_format=torch.channels_last) if channels_last and x.ndim == 4 else moved
