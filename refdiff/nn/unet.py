"""U-Net of the source document (spec chapter 9): levels of time-conditioned residual blocks, with skip connections.

    x ── block ── ↓2 ── block ── ↓2 ── block ── ↓2 ── middle ── ↑2 ⊕ block ── ↑2 ⊕ block ── ↑2 ⊕ block ── out

⊕ concatenates the skip connection of that level. Height and width must be divisible by 2^levels (erratum E9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all of torch's documentation uses
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn.embedding import TimeEmbedding
from refdiff.nn.label import LabelEmbedding, add_label
from refdiff.tensors import Data, Time


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes and options of a U-Net."""

    width: int = 32
    """Channels of the first level."""
    multipliers: tuple[int, ...] = (1, 2)
    """Channels of each level, in units of width; one entry per level."""
    blocks: int = 1
    """Residual blocks per level, on the way down and on the way up."""
    attention: tuple[int, ...] = ()
    """Levels with self-attention; 0 is the finest level, len(multipliers) the middle."""
    heads: int = 4
    """Number of heads of each attention layer."""
    dropout: float = 0.0
    """Dropout probability inside each block during training."""
    groups: int = 8
    """Number of groups of each group normalisation."""

    def __post_init__(self) -> None:
        """Raise DomainError for invalid sizes."""
        if self.width < 1 or not self.multipliers or min(self.multipliers) < 1 or self.blocks < 1:
            got = f"{self.width}, {self.blocks} and {self.multipliers}"
            raise DomainError("NET-2", "width, blocks and every multiplier at least 1", got)
        if self.groups < 1 or any(width % self.groups for width in self.widths):
            raise DomainError("NET-2", f"widths divisible by the {self.groups} groups", self.widths)
        if not set(self.attention) <= set(range(len(self.multipliers) + 1)):
            raise DomainError("NET-2", f"attention at levels 0..{len(self.multipliers)}", self.attention)
        if self.attention and (self.heads < 1 or any(width % self.heads for width in self.widths)):
            raise DomainError("NET-2", f"widths divisible by the {self.heads} heads", self.widths)
        if not 0.0 <= self.dropout < 1.0:
            raise DomainError("NET-2", "dropout in [0, 1)", self.dropout)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)


@final
class UNet(nn.Module):
    """U-Net: maps images (batch, channels, height, width) and times (batch,) to the shape of the first (NET-2).

    Its output is 0 before training (NET-3).
    """

    def __init__(
        self,
        channels: int,
        architecture: Architecture | None = None,
        *,
        time_scale: float = 1000.0,
        classes: int = 0,
    ) -> None:
        """Build the levels.

        Args:
            channels: Channels of an image.
            architecture: Sizes and options.
            time_scale: Factor on time: 1000 for t in [0, 1], 1000/N for k in 1..N.
            classes: Number of classes of a network with labels; 0 for one without.

        Raises:
            DomainError: channels < 1, or classes < 0.
        """
        super().__init__()
        if channels < 1:
            raise DomainError("NET-2", "images of at least 1 channel", channels)
        self.channels = channels
        self.architecture = plan = architecture or Architecture()
        widths, embedded = plan.widths, 4 * plan.width
        self.embed = TimeEmbedding(2 * plan.width, scale=time_scale)
        self.time = nn.Sequential(
            nn.Linear(2 * plan.width, embedded),
            nn.SiLU(),
            nn.Linear(embedded, embedded),
            nn.SiLU(),
        )
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        before = (widths[0], *widths[:-1])
        self.down = nn.ModuleList(
            _Level(before[i], widths[i], embedded, plan, attends=i in plan.attention) for i in range(len(widths))
        )
        self.middle = _Level(widths[-1], widths[-1], embedded, plan, attends=len(widths) in plan.attention)
        self.up = nn.ModuleList(
            _Level(
                widths[min(i + 1, len(widths) - 1)] + widths[i], widths[i], embedded, plan, attends=i in plan.attention
            )
            for i in reversed(range(len(widths)))
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(plan.groups, widths[0]), nn.SiLU(), _zero(nn.Conv2d(widths[0], channels, 3, padding=1))
        )
        # Last, so that the other weights are drawn as without classes.
        self.label = LabelEmbedding(classes, embedded) if classes else None

    def forward(self, x: Data, t: Time, label: Tensor | None = None) -> Tensor:
        """Return the prediction.

        Args:
            x: Images, (batch, channels, height, width), sides divisible by 2^levels.
            t: Times or indices, (batch,).
            label: With classes: labels in 0..classes, (batch,), int64; `classes` is the null label.

        Returns:
            Predictions, shaped as x.

        Raises:
            DomainError: Other shapes (NET-2), no label with classes, or a label without (NET-4).
        """
        self._check(x, t)
        first, second, third, last = self.time
        embedding = third(second(first(self.embed(t).to(self.enter.weight.dtype))))
        embedding = last(add_label(embedding, self.label, label))
        x = self.enter(x)
        skips = []
        for level in self.down:
            x = level(x, embedding)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.middle(x, embedding)
        for level in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = level(torch.cat([x, skips.pop()], dim=1), embedding)
        out: Tensor = self.leave(x)
        return out

    def _check(self, x: Tensor, t: Tensor) -> None:
        multiple = 2 ** len(self.architecture.multipliers)
        if x.ndim != 4 or x.shape[1] != self.channels or any(side % multiple or not side for side in x.shape[2:]):
            need = f"images (batch, {self.channels}, height, width) with sides divisible by {multiple}"
            raise DomainError("NET-2", need, tuple(x.shape))
        if t.shape != x.shape[:1]:
            need = f"t of shape {tuple(x.shape[:1])} to match images of shape {tuple(x.shape)}"
            raise DomainError("NET-2", need, f"shape {tuple(t.shape)}")


@final
class _Level(nn.Module):
    def __init__(self, before: int, width: int, embedded: int, plan: Architecture, *, attends: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(before if i == 0 else width, width, embedded, plan) for i in range(plan.blocks)
        )
        self.attentions = nn.ModuleList(_Attention(width, plan) for _ in range(plan.blocks if attends else 0))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if self.attentions:
                x = self.attentions[i](x)
        return x


@final
class _Block(nn.Module):
    """Residual block x + f(x, time), where f is two convolutions and 0 at initialisation."""

    def __init__(self, before: int, width: int, embedded: int, plan: Architecture) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(_divisor(plan.groups, before), before), nn.SiLU(), nn.Conv2d(before, width, 3, padding=1)
        )
        self.time = nn.Linear(embedded, 2 * width)
        self.norm = nn.GroupNorm(plan.groups, width)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(plan.dropout), _zero(nn.Conv2d(width, width, 3, padding=1)))
        self.skip = nn.Identity() if before == width else nn.Conv2d(before, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.time(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.first(x)) * (1.0 + scale) + shift
        out: Tensor = self.skip(x) + self.second(inner)
        return out


@final
class _Attention(nn.Module):
    """Self-attention over pixels, x + softmax(q k / sqrt(d)) v; the added term is 0 at initialisation."""

    def __init__(self, width: int, plan: Architecture) -> None:
        super().__init__()
        self.heads = plan.heads
        self.norm = nn.GroupNorm(plan.groups, width)
        # No bias: softmax is invariant to a bias on the keys, whose gradient would be rounding noise.
        self.ask = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.answer = _zero(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, breadth = x.shape
        projected = self.ask(self.norm(x)).reshape(batch, 3, self.heads, width // self.heads, height * breadth)
        query, key, value = projected.transpose(-1, -2).unbind(1)
        read = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.answer(read.transpose(-1, -2).reshape(x.shape))
        return out


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Set the weights and bias of a layer to 0 and return it."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _divisor(groups: int, width: int) -> int:
    """Return the largest divisor of `width` that is at most `groups`."""
    return next(count for count in range(groups, 0, -1) if width % count == 0)
