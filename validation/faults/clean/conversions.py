"""Conversions between predictions (chapter 4): one method for each pair, at one x_t."""

from __future__ import annotations

from typing import Any

from refdiff.conformance.interface import Array, Parameterization, Times

from .scales import Scales, nonzero, wide


class Conversions(Scales):
    """Conversions of one process; x is x_t, a and s are alpha and sigma."""

    def x_0_from_eps(self, eps: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (x_t - sigma eps)/alpha."""
        nonzero(a)
        return (x - s * eps) / a

    def x_0_from_v(self, v: Any, x: Any, a: Any, s: Any) -> Any:
        """Return alpha x_t - sigma v."""
        return a * x - s * v

    def x_0_from_score(self, score: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (x_t + sigma^2 score)/alpha, Tweedie's formula."""
        nonzero(a)
        return (x + s**2 * score) / a

    def eps_from_x_0(self, x_0: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (x_t - alpha x_0)/sigma."""
        nonzero(s)
        return (x - a * x_0) / s

    def eps_from_v(self, v: Any, x: Any, a: Any, s: Any) -> Any:
        """Return sigma x_t + alpha v."""
        return s * x + a * v

    def eps_from_score(self, score: Any, x: Any, a: Any, s: Any) -> Any:
        """Return -sigma score."""
        return -s * score

    def v_from_x_0(self, x_0: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (alpha x_t - x_0)/sigma."""
        nonzero(s)
        return (a * x - x_0) / s

    def v_from_eps(self, eps: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (eps - sigma x_t)/alpha."""
        nonzero(a)
        return (eps - s * x) / a

    def v_from_score(self, score: Any, x: Any, a: Any, s: Any) -> Any:
        """Return -sigma (score + x_t)/alpha."""
        nonzero(a)
        return -s * (score + x) / a

    def score_from_x_0(self, x_0: Any, x: Any, a: Any, s: Any) -> Any:
        """Return (alpha x_0 - x_t)/sigma^2."""
        nonzero(s)
        return (a * x_0 - x) / s**2

    def score_from_eps(self, eps: Any, x: Any, a: Any, s: Any) -> Any:
        """Return -eps/sigma."""
        nonzero(s)
        return -eps / s

    def score_from_v(self, v: Any, x: Any, a: Any, s: Any) -> Any:
        """Return -(x_t + alpha v/sigma)."""
        nonzero(s)
        return -(x + a * v / s)

    def converted(self, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
        """Return a prediction as another one, in float64."""
        return value if source == to else getattr(self, f"{to}_from_{source}")(value, x, *self.over(t, x))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return a prediction as another one."""
        return self.rounded(self.converted(wide(value), wide(x_t), t, source, to))
