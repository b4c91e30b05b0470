"""The training loop, from a batch to the average (spec chapter 8). No SDE is solved.

x_0                       of the data, in the order of (seed, epoch)
t, w                      of the time sampler, by (seed, step, shard)
eps                       N(0, I), by (seed, step, shard)
loss                      w(t) |y_hat(x_t, t) - y|^2,  x_t = alpha x_0 + sigma eps
gradient                  summed over shards, passes and ranks; clipped; one step; one average
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from refdiff.loss import Denoiser, Objective
from refdiff.times import SecondMoment
from refdiff.training.build import on_device
from refdiff.training.config import Config
from refdiff.training.data import Examples, Order
from refdiff.training.distributed import World
from refdiff.training.errors import TrainingError
from refdiff.training.randomness import generator, seed_default
from refdiff.training.state import State

DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""Of data, loss and weights."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one step saw, on this rank: one number per example."""

    position: Tensor
    """Where in the range of times, [0, 1), float64."""
    loss: Tensor
    """Before the time sampler's weight."""
    weight: Tensor
    """The time sampler's."""
    norm: float
    """Of the whole gradient, before it was clipped; the same on all ranks."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """One step after another."""

    config: Config
    world: World
    data: Examples
    objective: Objective
    state: State
    network: nn.Module
    """The model, wrapped for its processes and compiled as asked."""
    order: Order

    def step(self) -> Seen:
        """Take one optimizer step. Raises TrainingError, before anything is changed, if the gradient is not finite."""
        state, seen = self.state, []
        state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        passes = self._passes()
        for shards in passes:
            x_0, eps, t, weight = self.draw(shards)
            with self.world.quiet(self.network, last=shards is passes[-1]):
                loss = self.objective(self.denoiser(shards[0]), x_0, eps, t)
                # Of ranks torch takes the mean: times their number it is the sum, over the whole batch.
                torch.autograd.backward((weight * loss).sum() * (self.world.size / self.config.batch.size))
            seen.append((self.state.times.position(t), loss.detach(), weight))
        norm = self._clip()
        state.optimizer.step()
        state.scheduler.step()
        state.ema.update_parameters(state.model)
        position, loss, weight = (torch.cat(part) for part in zip(*seen, strict=True))
        if isinstance(sampler := state.times.sampler, SecondMoment):
            sampler.update(self.world.gathered(position), self.world.gathered(loss))
        state.step += 1
        return Seen(position, loss, weight, norm)

    def _clip(self) -> float:
        """Scale the gradient down to its largest norm, and return the norm that it had."""
        weights, largest = self.state.optimizer.param_groups[0]["params"], self.config.optimizer.clip
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if not isfinite(norm):
            raise TrainingError(
                f"expected finite gradients, got a norm of {norm} at step {self.state.step + 1} (TRN-12)"
            )
        if norm > largest:
            nn.utils.clip_grads_with_norm_(weights, largest, norm)
        return float(norm)

    def draw(self, shards: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x_0, eps, t and weight of some shards, each drawn by itself: how they are grouped changes nothing."""
        batch, seed, dtype = self.config.batch, self.config.seed, DTYPES[self.config.machine.precision]
        rows = np.concatenate([self.order.rows(self.state.step, shard) for shard in shards])
        x_0 = on_device(self.data.take(rows), self.world.device, dtype, channels_last=self.config.machine.channels_last)
        eps, size, drawn = torch.empty_like(x_0), batch.size // batch.shards, []
        for i, shard in enumerate(shards):
            count = self.state.step * batch.shards + shard
            eps[i * size : (i + 1) * size].normal_(generator=generator(seed, "noise", count, device=x_0.device))
            drawn.append(self.state.times(size, generator=generator(seed, "times", count, device=x_0.device)))
        t, weight = (torch.cat(part) for part in zip(*drawn, strict=True))
        return x_0, eps, t, weight.to(dtype)

    def denoiser(self, shard: int) -> Denoiser:
        """Return the network as a function, in the precision asked for, dropping features by (seed, step, shard)."""
        machine, batch = self.config.machine, self.config.batch

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            if self.config.network.dropout > 0.0:
                seed_default(self.config.seed, "dropout", self.state.step * batch.shards + shard)
            with torch.autocast(x_t.device.type, torch.bfloat16, enabled=machine.precision == "bfloat16"):
                predicted: Tensor = self.network(x_t, t)
            return predicted.to(x_t.dtype)

        return predict

    def _passes(self) -> list[range]:
        """Return this rank's shards, in passes; with dropout one by one, since a mask belongs to its pass."""
        mine = self.world.shards(self.config.batch.shards)
        count = len(mine) if self.config.network.dropout > 0.0 else min(self.config.batch.passes, len(mine))
        ends = [len(mine) * i // count for i in range(count + 1)]
        return [mine[a:b] for a, b in pairwise(ends)]
