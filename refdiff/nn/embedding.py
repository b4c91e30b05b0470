"""Sinusoidal embedding of scaled time (spec chapter 9, NET-1).

    e(t) = [sin(c w_0 t), ..., sin(c w_h t), cos(c w_0 t), ..., cos(c w_h t)],    w_i from 1 to 1e-4, evenly in log w

The source document embeds t in [0, 1] with c = 1, which leaves most channels nearly constant (erratum E6). c = 1000
gives the range of DDPM.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.tensors import Time


@final
class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of scaled time (NET-1): maps times (batch,) to (batch, channels), float32."""

    def __init__(self, channels: int, *, scale: float = 1000.0) -> None:
        """Set the sizes.

        Args:
            channels: Number of features, even and at least 2.
            scale: Factor c on time: 1000 for t in [0, 1], 1000/N for k in 1..N.

        Raises:
            DomainError: channels is odd or below 2, or scale is outside (0, inf).
        """
        super().__init__()
        if channels < 2 or channels % 2:
            raise DomainError("NET-1", "an even number of channels, at least 2", channels)
        if not 0.0 < scale < float("inf"):
            raise DomainError("NET-1", "a scale of time in (0, inf)", scale)
        self.channels, self.scale = channels, scale

    def forward(self, t: Time) -> Tensor:
        """Return the embedding; phases are float64, as bfloat16 has only 506 of 1000 indices.

        Args:
            t: Times or indices, (batch,).

        Returns:
            Features, (batch, channels), float32.
        """
        half = self.channels // 2
        # Not a buffer, which `module.half()` would round. A single frequency is the slowest, unique for every time.
        powers = torch.linspace(0.0 if half > 1 else 4.0, 4.0, half, dtype=torch.float64, device=t.device)
        phase = t.double()[:, None] * (self.scale * 10.0**-powers)
        return torch.cat([phase.sin(), phase.cos()], dim=1).float()
