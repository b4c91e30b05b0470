"""Loss weights as functions of time, each stated for one prediction and converted to the others (spec chapter 5).

The squared errors of the four predictions are one error seen through four scales, SNR = alpha^2/sigma^2:

    |x_0_hat - x_0|^2 = |eps_hat - eps|^2 / SNR,    |v_hat - v|^2 = (SNR + 1) / SNR |eps_hat - eps|^2,
    |s_hat - s|^2 = |eps_hat - eps|^2 / sigma^2

so a weight is stated once, and `weight.of(process, t, prediction)` returns the factor on the squared error of that
prediction (LOS-5). Each formula is finite wherever its limit is finite (LOS-9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol, assert_never, final, runtime_checkable

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.tensors import Times, Values


@runtime_checkable
class Weight(Protocol):
    """A loss weight w(t) for any prediction (LOS-5).

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.MinSNR(), refdiff.Weight)
        True
    """

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization, /) -> Values:
        """Return the factor on the squared error of a prediction.

        Args:
            process: Schedule or chain.
            t: Times, any shape.
            prediction: Quantity whose squared error is weighted: eps, x_0, v or score.

        Returns:
            Weights, float64, shaped as t.
        """


@final
@dataclass(frozen=True, slots=True)
class UniformWeight:
    """Weight 1 on the squared error of any prediction (LOS-6); for eps, DDPM's simple loss.

    Example:
        >>> import refdiff, torch
        >>> refdiff.UniformWeight().of(refdiff.LinearSchedule(), torch.tensor([0.1, 0.9]), "eps")
        tensor([1., 1.], dtype=torch.float64)
    """

    def of(self, process: NoiseProcess, t: Times, _: Parameterization) -> Values:
        """Return 1, shaped as t, whatever the prediction."""
        return torch.ones_like(marginal(process, t).alpha)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InverseSNR:
    """1/SNR on the squared error of eps, equal to 1 on that of x_0 (LOS-7).

    On eps it is unbounded: 2.3e4 at t = 1 of the default linear schedule, infinite at t = 1 of the cosine.

    Example:
        >>> import refdiff, torch
        >>> process, k = refdiff.DiscreteChain(betas=(0.5, 0.6)), torch.tensor([1, 2])  # SNR = 1 and 0.25
        >>> refdiff.InverseSNR().of(process, k, "eps"), refdiff.InverseSNR(clip=2.0).of(process, k, "eps")
        (tensor([1.0000, 4.0000], dtype=torch.float64), tensor([1., 2.], dtype=torch.float64))
    """

    clip: float = inf
    """The largest weight on the squared error of eps."""

    def __post_init__(self) -> None:
        """Raise DomainError unless clip > 0."""
        if not self.clip > 0.0:
            raise DomainError("LOS-7", "clip > 0", self.clip)

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return min(1/SNR, clip) for eps, or its equivalent for another prediction, shaped as t."""

        def on_x_0(snr: Tensor) -> Tensor:
            # clip * SNR would be inf * 0 at SNR = 0 of an unclipped weight.
            return torch.ones_like(snr) if self.clip == inf else torch.clamp(self.clip * snr, max=1.0)

        return _seen_from(process, t, prediction, on_x_0, lambda snr: torch.clamp(1.0 / snr, max=self.clip))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MinSNR:
    """min(SNR, gamma) on the squared error of x_0 (LOS-8); Hang et al. 2023.

    On eps it is min(SNR, gamma)/SNR, on v min(SNR, gamma)/(SNR + 1).

    Example:
        >>> import refdiff, torch
        >>> process, k = refdiff.DiscreteChain(betas=(0.5, 0.6)), torch.tensor([1, 2])  # SNR = 1 and 0.25
        >>> refdiff.MinSNR(gamma=0.5).of(process, k, "x_0"), refdiff.MinSNR(gamma=0.5).of(process, k, "eps")
        (tensor([0.5000, 0.2500], dtype=torch.float64), tensor([0.5000, 1.0000], dtype=torch.float64))
    """

    gamma: float = 5.0
    """Largest weight on the squared error of x_0."""

    def __post_init__(self) -> None:
        """Raise DomainError unless gamma is in (0, inf)."""
        if not 0.0 < self.gamma < inf:
            raise DomainError("LOS-8", "gamma in (0, inf)", self.gamma)

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return min(SNR, gamma)/SNR on eps, min(SNR, gamma) on x_0, min(SNR, gamma)/(SNR + 1) on v; shaped as t."""
        return _seen_from(
            process,
            t,
            prediction,
            lambda snr: torch.clamp(snr, max=self.gamma),
            lambda snr: torch.clamp(self.gamma / snr, max=1.0),
        )


@final
@dataclass(frozen=True, slots=True)
class SNRWeight:
    """SNR on the squared error of x_0 (LOS-16), which is 1 on that of eps; Ho, Jain, Abbeel 2020.

    On v it is SNR/(SNR + 1) = alpha^2. On x_0 it is infinite where sigma = 0.

    Example:
        >>> import refdiff, torch
        >>> process, k = refdiff.DiscreteChain(betas=(0.5, 0.6)), torch.tensor([1, 2])  # SNR = 1 and 0.25
        >>> refdiff.SNRWeight().of(process, k, "x_0"), refdiff.SNRWeight().of(process, k, "v")
        (tensor([1.0000, 0.2500], dtype=torch.float64), tensor([0.5000, 0.2000], dtype=torch.float64))
    """

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return SNR on x_0, 1 on eps, alpha^2 on v, sigma^2 on the score; shaped as t."""
        q = marginal(process, t)
        match prediction:
            case "eps":
                return torch.ones_like(q.alpha)
            case "x_0":
                return (q.alpha / q.sigma) ** 2
            case "v":
                return q.alpha**2
            case "score":
                return q.sigma**2
            case _:
                assert_never(prediction)


@final
@dataclass(frozen=True, slots=True)
class SNRPlusOne:
    """SNR + 1 on the squared error of x_0 (LOS-17), which is 1 on that of v; Salimans & Ho 2022.

    On eps it is (SNR + 1)/SNR = 1/alpha^2, infinite where alpha = 0. On x_0 it is 1/sigma^2, infinite where sigma = 0.

    Example:
        >>> import refdiff, torch
        >>> process, k = refdiff.DiscreteChain(betas=(0.5, 0.6)), torch.tensor([1, 2])  # SNR = 1 and 0.25
        >>> refdiff.SNRPlusOne().of(process, k, "x_0"), refdiff.SNRPlusOne().of(process, k, "v")
        (tensor([2.0000, 1.2500], dtype=torch.float64), tensor([1., 1.], dtype=torch.float64))
    """

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return 1/sigma^2 on x_0, 1/alpha^2 on eps, 1 on v, sigma^2/alpha^2 on the score; shaped as t."""
        q = marginal(process, t)
        match prediction:
            case "eps":
                return q.alpha**-2
            case "x_0":
                return q.sigma**-2
            case "v":
                return torch.ones_like(q.alpha)
            case "score":
                return (q.sigma / q.alpha) ** 2
            case _:
                assert_never(prediction)


@final
@dataclass(frozen=True, slots=True)
class LikelihoodWeight:
    """beta(t) on the squared error of the score (LOS-10); Song, Durkan, Murray, Ermon 2021. Schedules only.

    Half of its mean bounds the negative log-likelihood up to a constant. On eps it is beta/sigma^2, which is
    infinite at t = 0, so choose t_min > 0.

    Example:
        >>> import refdiff, torch
        >>> refdiff.LikelihoodWeight().of(refdiff.LinearSchedule(), torch.tensor([0.0, 1.0]), "score")
        tensor([ 0.1000, 20.0000], dtype=torch.float64)
    """

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return beta(t) for the score, or its equivalent for another prediction, shaped as t."""
        if not isinstance(process, Schedule):
            raise DomainError("LOS-10", "a schedule: a chain has no rate", type(process).__name__)
        beta, q = process.beta(t.double()), marginal(process, t)
        if prediction == "score":
            return beta
        # beta alpha_bar = -d alpha_bar/dt is 0 at the end of the cosine, where the product would be inf * 0.
        signal = torch.where(q.alpha == 0.0, 0.0, beta * q.alpha**2)
        # beta(0) may be 0, as sigma(0) is; the limit is infinite in that case too.
        noise = q.sigma**2
        match prediction:
            case "eps":
                return torch.where(noise == 0.0, inf, beta / noise)
            case "x_0":
                return torch.where(noise == 0.0, inf, signal / noise**2)
            case "v":
                return torch.where(noise == 0.0, inf, signal / noise)
            case _:
                assert_never(prediction)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CustomWeight:
    """A user-defined weight on the squared error of one prediction, converted to the others (LOS-5).

    Example:
        >>> import refdiff, torch
        >>> weight = refdiff.CustomWeight(function=lambda t: 1.0 + t, on="eps")
        >>> weight.of(refdiff.LinearSchedule(), torch.tensor([0.0, 1.0]), "eps")
        tensor([1., 2.], dtype=torch.float64)
    """

    function: Callable[[Times], Values]
    """Maps t, or k, of any shape to non-negative weights of that shape."""
    on: Parameterization = "eps"
    """The prediction whose squared error it multiplies."""

    def of(self, process: NoiseProcess, t: Times, prediction: Parameterization) -> Values:
        """Return function(t), converted to `prediction`, shaped as t."""
        value = self.function(t).double()
        if value.shape != t.shape:
            raise DomainError("LOS-5", f"weights of the shape of t, {tuple(t.shape)}", tuple(value.shape))
        if prediction == self.on:
            return value
        q, (a_to, b_to), (a_from, b_from) = marginal(process, t), _SCALES[prediction], _SCALES[self.on]
        return value * q.alpha ** (a_to - a_from) * q.sigma ** (b_to - b_from)


_SCALES: Mapping[Parameterization, tuple[int, int]] = {"eps": (0, 0), "x_0": (2, -2), "v": (2, 0), "score": (0, 2)}
"""(a, b): alpha^a sigma^b times the squared error of a prediction is that of eps. Powers avoid ratios of 0/0."""


def _seen_from(
    process: NoiseProcess,
    t: Times,
    prediction: Parameterization,
    on_x_0: Callable[[Tensor], Tensor],
    over_snr: Callable[[Tensor], Tensor],
) -> Tensor:
    """Convert a weight f(SNR) on the squared error of x_0 to `prediction`; over_snr is f(SNR)/SNR without 0/0."""
    q = marginal(process, t)
    snr = (q.alpha / q.sigma) ** 2
    match prediction:
        case "x_0":
            return on_x_0(snr)
        case "eps":
            return over_snr(snr)
        case "v":
            return on_x_0(snr) * q.sigma**2
        case "score":
            return over_snr(snr) * q.sigma**2
        case _:
            assert_never(prediction)
