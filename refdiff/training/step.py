"""Training step: batch, loss, gradient, optimizer step, moving average (spec chapter 8). No SDE is solved.

x_0                       of the data, in the order of (seed, epoch)
t, w                      of the time sampler, by (seed, step, shard)
eps                       N(0, I), by (seed, step, shard)
label                     of the data, or the null label with probability `condition.dropout`, by (seed, step, shard)
loss                      w(t) |y_hat(x_t, t) - y|^2,  x_t = alpha x_0 + sigma eps
gradient                  summed over micro-batches and processes; clipped; one optimizer step; one EMA update
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from refdiff.ema import updater
from refdiff.loss import Denoiser, Objective
from refdiff.positions import SecondMoment
from refdiff.schedule import NoiseProcess
from refdiff.training import build
from refdiff.training.build import Factory, on_device
from refdiff.training.config import Config
from refdiff.training.data import Examples, Order
from refdiff.training.distributed import World
from refdiff.training.errors import TrainingError
from refdiff.training.labels import conditioned, drop
from refdiff.training.randomness import generator, seed_default, seeded
from refdiff.training.state import State

DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""Dtype of data, loss and weights for each precision."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class StepStats:
    """Statistics of one step in this process, one number per example."""

    t: Tensor
    """Time, or index of a chain."""
    loss: Tensor
    """Loss without the weight of the time sampler."""
    weight: Tensor
    """Weight of the time sampler."""
    norm: float
    """Norm of the gradient before clipping; the same in all processes."""


@final
@dataclass(frozen=True, eq=False)
class Loop:
    """Training loop, one optimizer step per call of `step`."""

    config: Config
    world: World
    data: Examples
    """Training examples."""
    objective: Objective
    state: State
    order: Order
    """Order of the examples."""

    @staticmethod
    def build(
        config: Config,
        data: Examples,
        *,
        world: World,
        factory: Factory | None = None,
        process: NoiseProcess | None = None,
    ) -> Loop:
        """Return the loop before its first step.

        Args:
            config: settings.
            data: training examples.
            world: the processes that train together, and the device of this one.
            factory: builds the network from the shape of one example, and with labels from their number of classes;
                by default `build.network`.
            process: noise process; by default that of the config.

        Raises:
            RefdiffError: the settings do not fit each other or the data.
        """
        process = build.process(config.process) if process is None else process
        times = build.times(config.times, process, DTYPES[config.runtime.precision])
        with seeded(config.seed, "weights"):
            made = (
                build.own_network(factory, data.event, data.classes)
                if factory
                else build.network(data.event, process, config.network, config.mlp, classes=data.classes)
            )
        model = build.place(made, world.device, config.runtime)
        state = State.new(model, times, optimizer=config.optimizer, ema=config.ema, steps=config.steps)
        order = Order(config.seed, len(data), config.batch.size, config.batch.shards)
        return Loop(config, world, data, build.objective(config.objective, process), state, order)

    @cached_property
    def network(self) -> nn.Module:
        """Model, compiled if configured and wrapped for data-parallel training, at the first use.

        Checks before the first step take gradients of the bare model, and would confuse the wrapper.
        """
        compiled = torch.compile(self.state.model) if self.config.runtime.compile else self.state.model
        assert isinstance(compiled, nn.Module)
        return self.world.wrap(compiled)

    @cached_property
    def _average(self) -> Callable[[], None]:
        """Update of the moving average."""
        return updater(self.state.ema, self.state.model)

    def step(self) -> StepStats:
        """Take one optimizer step. Raises TrainingError if the gradient is not finite, before anything is changed."""
        state, seen = self.state, []
        if not state.model.training:  # setting it in every module takes 1 % of a step of a small network
            state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        micro_batches = self._micro_batches()
        for shards in micro_batches:
            (x_0, eps, t, weight), label = self.draw_with_label(shards)
            with self.world.no_sync(self.network, last=shards is micro_batches[-1]):
                loss = self.objective(self.denoiser(shards[0], label), x_0, eps, t)
                # torch averages over ranks; times their number it is the sum over the whole batch.
                torch.autograd.backward((weight * loss).sum() * (self.world.size / self.config.batch.size))
            seen.append((t, loss.detach(), weight))
        norm = self._clip()
        state.optimizer.step()
        state.scheduler.step()
        self._average()
        t, loss, weight = (torch.cat(part) for part in zip(*seen, strict=True))
        if isinstance(sampler := state.times.sampler, SecondMoment):
            sampler.update(self.world.gathered(state.times.position(t)), self.world.gathered(loss))
        state.step += 1
        return StepStats(t, loss, weight, norm)

    def _clip(self) -> float:
        """Clip the gradient to its largest norm, and return its norm before clipping."""
        weights, largest = self.state.optimizer.param_groups[0]["params"], self.config.optimizer.max_grad_norm
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if not isfinite(norm):
            raise TrainingError(
                f"expected finite gradients, got a norm of {norm} at step {self.state.step + 1} (TRN-12)"
            )
        if norm > largest:
            nn.utils.clip_grads_with_norm_(weights, largest, norm)
        return float(norm)

    def draw(self, shards: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x_0, eps, t and weight of these shards; each shard is drawn independently of the grouping."""
        return self.draw_with_label(shards)[0]

    def draw_with_label(self, shards: Sequence[int]) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor | None]:
        """Return what `draw` returns, and the labels after dropout, or None if they are not used."""
        batch, seed, dtype = self.config.batch, self.config.seed, DTYPES[self.config.runtime.precision]
        rows = np.concatenate([self.order.rows(self.state.step, shard) for shard in shards])
        x_0 = on_device(self.data.take(rows), self.world.device, dtype, channels_last=self.config.runtime.channels_last)
        eps, size, drawn, labels = torch.empty_like(x_0), batch.size // batch.shards, [], []
        label = self.data.label(rows)
        for i, shard in enumerate(shards):
            count = self.state.step * batch.shards + shard
            eps[i * size : (i + 1) * size].normal_(generator=generator(seed, "noise", count, device=x_0.device))
            random = generator(seed, "times", count, device=x_0.device)
            drawn.append(self.state.times.sampler(size, generator=random))
            if label is not None:
                # The draws that follow the times of this shard: a run without labels takes none of them.
                own = label[i * size : (i + 1) * size].to(x_0.device)
                labels.append(drop(own, self.data.classes, self.config.condition.dropout, random))
        position, weight = (torch.cat(part) for part in zip(*drawn, strict=True))
        return (x_0, eps, self.state.times.at(position), weight.to(dtype)), torch.cat(labels) if labels else None

    def denoiser(self, shard: int, label: Tensor | None = None) -> Denoiser:
        """Return the network as a denoiser in the configured precision, with dropout seeded by (seed, step, shard)."""
        network = conditioned(self.network, label)
        runtime, batch = self.config.runtime, self.config.batch

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            if self.config.network.dropout > 0.0:
                seed_default(self.config.seed, "dropout", self.state.step * batch.shards + shard)
            with torch.autocast(x_t.device.type, torch.bfloat16, enabled=runtime.precision == "bfloat16"):
                predicted: Tensor = network(x_t, t)
            return predicted.to(x_t.dtype)

        return predict

    def _micro_batches(self) -> list[range]:
        """Return the shards of each micro-batch; with dropout one for each shard, which has its own mask."""
        mine = self.world.shards(self.config.batch.shards)
        count = len(mine) if self.config.network.dropout > 0.0 else min(self.config.batch.accumulation, len(mine))
        ends = [len(mine) * i // count for i in range(count + 1)]
        return [mine[a:b] for a, b in pairwise(ends)]
