"""Multilayer perceptron for examples that are not images, such as points and small vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn.label import LabelEmbedding, add_label
from refdiff.tensors import Data, Time


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Sizes of a multilayer perceptron."""

    width: int = 64
    """Features of each hidden layer."""
    depth: int = 2
    """Number of hidden layers."""

    def __post_init__(self) -> None:
        """Raise DomainError for sizes below 1."""
        if min(self.width, self.depth) < 1:
            raise DomainError("NET-2", "width and depth of at least 1", (self.width, self.depth))


@final
class MLP(nn.Module):
    """Multilayer perceptron: maps (batch, *event) and times (batch,) to (batch, *event); 0 before training (NET-3)."""

    def __init__(
        self, event: tuple[int, ...], layers: Layers | None = None, *, time_scale: float = 1.0, classes: int = 0
    ) -> None:
        """Build the layers.

        Args:
            event: Shape of one example.
            layers: Sizes of the layers.
            time_scale: Factor that scales time to [0, 1]: 1, or 1/N for k in 1..N.
            classes: Number of classes of a network with labels; 0 for one without.

        Raises:
            DomainError: classes < 0.
        """
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
        # Last, so that the other weights are drawn as without classes.
        self.label = LabelEmbedding(classes, plan.width) if classes else None

    def forward(self, x: Data, t: Time, label: Tensor | None = None) -> Tensor:
        """Return the prediction.

        Args:
            x: Examples, (batch, *event).
            t: Times or indices, (batch,).
            label: With classes: labels in 0..classes, (batch,), int64; `classes` is the null label.

        Returns:
            Predictions, shaped as x.

        Raises:
            DomainError: Examples have another shape (NET-2), no label with classes, or a label without (NET-4).
        """
        if x.shape[1:] != self.event:
            raise DomainError("NET-2", f"examples of shape {tuple(self.event)}", tuple(x.shape[1:]))
        # Plain time suffices for smooth dependence on it; sinusoids of scaled time would add fine resolution.
        time = (t.double() * self.time_scale).to(x.dtype)
        first, *rest = self.layers
        out: Tensor = add_label(first(torch.cat([x.flatten(1), time[:, None]], dim=1)), self.label, label)
        for layer in rest:
            out = layer(out)
        return out.reshape(x.shape)
