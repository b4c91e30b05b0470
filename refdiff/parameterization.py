"""Conversions between the quantities a network may predict: eps, x_0, v and score (spec chapter 4).

    x_t = alpha x_0 + sigma eps        v = alpha eps - sigma x_0        score = -eps/sigma

`convert` is exact algebra given x_t. A conversion that divides by alpha (to x_0 or v, from eps or
score) or by sigma (to eps, v or score, from x_0; to score from anything) raises DomainError where that is 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never, get_args

from torch import Tensor

from refdiff.errors import DomainError
from refdiff.marginal import marginal
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Data, Time, over_event, same_shape, within

Parameterization: TypeAlias = Literal["eps", "x_0", "v", "score"]


def convert(
    process: NoiseProcess,
    value: Data,
    x_t: Data,
    t: Time,
    *,
    source: Parameterization,
    to: Parameterization,
) -> Data:
    """Return a prediction of one quantity converted to another, exact algebra given x_t (PAR-1 to PAR-4).

    Args:
        process: Schedule or chain.
        value: Prediction of `source`, (batch, *event).
        x_t: Noised data, shaped as value and of its dtype.
        t: Times of x_t, (batch,).
        source: Quantity given: eps, x_0, v or score.
        to: Quantity wanted.

    Returns:
        Prediction of `to`, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a name is unknown, or the conversion divides by 0.

    Example:
        >>> import refdiff, torch
        >>> eps, x_t, t = torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([1.0])
        >>> refdiff.convert(refdiff.CosineSchedule(), eps, x_t, t, source="eps", to="score")  # -eps/sigma, sigma(1) = 1
        tensor([[-1., -1.]])
    """
    for name in (source, to):
        if name not in get_args(Parameterization):
            raise DomainError("PAR-1", f"one of {', '.join(get_args(Parameterization))}", repr(name))
    same_shape("PAR-1", value=value, x_t=x_t)
    q = marginal(process, t)
    at = _At(over_event(q.alpha, x_t), over_event(q.sigma, x_t), x_t)
    if source == to:
        return value
    match to:
        case "x_0":
            return at.x_0(value, source)
        case "eps":
            return at.eps(value, source)
        case "v":
            return at.v(value, source)
        case "score":
            return -at.eps(value, source) / at.divisor_sigma
        case _:
            assert_never(to)


class _At:
    """Conversion formulas at one x_t; alpha and sigma have shape (batch, 1, ..., 1)."""

    def __init__(self, alpha: Tensor, sigma: Tensor, x_t: Tensor) -> None:
        self.alpha, self.sigma, self.x_t = alpha, sigma, x_t

    @property
    def divisor_alpha(self) -> Tensor:
        return within("PAR-1", "alpha > 0, to leave eps or score", self.alpha, self.alpha > 0.0)

    @property
    def divisor_sigma(self) -> Tensor:
        return within("PAR-2", "sigma > 0, to leave x_0 or reach score", self.sigma, self.sigma > 0.0)

    def x_0(self, value: Tensor, source: Parameterization) -> Tensor:
        match source:
            case "x_0":
                return value
            case "eps":
                return (self.x_t - self.sigma * value) / self.divisor_alpha
            case "v":
                return self.alpha * self.x_t - self.sigma * value
            case "score":
                return self.x_0(-self.sigma * value, "eps")
            case _:
                assert_never(source)

    def eps(self, value: Tensor, source: Parameterization) -> Tensor:
        match source:
            case "x_0":
                return (self.x_t - self.alpha * value) / self.divisor_sigma
            case "eps":
                return value
            case "v":
                return self.sigma * self.x_t + self.alpha * value
            case "score":
                return -self.sigma * value
            case _:
                assert_never(source)

    def v(self, value: Tensor, source: Parameterization) -> Tensor:
        match source:
            case "x_0":
                return (self.alpha * self.x_t - value) / self.divisor_sigma
            case "eps":
                return (value - self.sigma * self.x_t) / self.divisor_alpha
            case "v":
                return value
            case "score":
                return self.v(-self.sigma * value, "eps")
            case _:
                assert_never(source)
