"""A multilayer perceptron for examples that are no images: points, small vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.tensors import Data, Time


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What a multilayer perceptron is made of."""

    width: int = 64
    """Features of each hidden layer."""
    depth: int = 2
    """Hidden layers."""

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        if min(self.width, self.depth) < 1:
            raise DomainError("NET-2", "a width and a depth of 1 at least", (self.width, self.depth))


@final
class MLP(nn.Module):
    """Maps (batch, *event) and times (batch,) to the shape of the first; 0 before training (NET-3)."""

    def __init__(self, event: tuple[int, ...], layers: Layers | None = None, *, time_scale: float = 1.0) -> None:
        """Take the shape of one example, and what brings time to [0, 1]: 1, or 1/N for k in 1..N."""
        super().__init__()
        plan = layers or Layers()
        self.event, self.time_scale, size = torch.Size(event), time_scale, prod(event)
        inner: list[nn.Module] = [nn.Linear(size + 1, plan.width), nn.SiLU()]
        for _ in range(plan.depth - 1):
            inner += [nn.Linear(plan.width, plan.width), nn.SiLU()]
        last = nn.Linear(plan.width, size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*inner, last)

    def forward(self, x: Data, t: Time) -> Tensor:
        """Return the prediction. Raises DomainError (NET-2) on examples of another shape."""
        if x.shape[1:] != self.event:
            raise DomainError("NET-2", f"examples of shape {tuple(self.event)}", tuple(x.shape[1:]))
        # As a smooth function of time: sines of scaled time are for networks that have to place it finely.
        time = (t.double() * self.time_scale).to(x.dtype)
        out: Tensor = self.layers(torch.cat([x.flatten(1), time[:, None]], dim=1)).reshape(x.shape)
        return out
