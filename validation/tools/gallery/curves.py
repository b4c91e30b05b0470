"""Errors of a fault, against time, steps or updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.interface import Chain, Parameterization, Weight

from ...faults.clean.target import Clean

Floats: TypeAlias = npt.NDArray[np.float64]
BATCH = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """An error, and what it is plotted against."""

    x: Floats
    y: Floats
    of: str
    """What is wrong, as the label of the axis."""
    against: str = "t"
    is_log: bool = True
    """Whether both axes are logarithmic; if not, the error has a sign."""


Measure: TypeAlias = Callable[[Clean, Clean], Curve]
"""Maps the right and the wrong target of a process to a curve."""


def places(built: Clean) -> Any:
    """Return times of a schedule from 1e-5 to 1, or every index of a chain."""
    if isinstance(built.process, Chain):
        return np.arange(1, len(built.process.betas) + 1)
    return np.geomspace(1e-5, 1.0, 400)


def _relative(got: Any, want: Any) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(np.asarray(got) / np.asarray(want) - 1.0))


def _against(built: Clean) -> str:
    return "k" if built.is_chain else "t"


def quantity(name: str) -> Measure:
    """Return the relative error of one quantity of `coefficients`."""

    def measure(right: Clean, wrong: Clean) -> Curve:
        t = places(right)
        got, want = (
            built.coefficients(t.astype(right.format.storage) if t.dtype.kind == "f" else t)[name]
            for built in (wrong, right)
        )
        return Curve(x=t.astype(float), y=_relative(got, want), of=f"relative error of {name}", against=_against(right))

    return measure


def conversion(source: Parameterization, to: Parameterization) -> Measure:
    """Return the error of a conversion of random predictions, relative to their size."""

    def measure(right: Clean, wrong: Clean) -> Curve:
        t, rng = places(right), np.random.default_rng(0)
        value, x = rng.standard_normal((2, len(t), BATCH))
        got, want = (built.convert(value, x, t, source, to) for built in (wrong, right))
        error = np.sqrt(np.mean((got - want) ** 2, axis=1) / np.mean(want**2, axis=1))
        return Curve(x=t.astype(float), y=error, of=f"error of {to} from {source}", against=_against(right))

    return measure


def loss(prediction: Parameterization, weight: Weight = "uniform") -> Measure:
    """Return the relative error of the loss of a denoiser that predicts x_t."""

    def measure(right: Clean, wrong: Clean) -> Curve:
        t, rng = places(right), np.random.default_rng(0)
        x_0, eps = rng.standard_normal((2, len(t), BATCH))
        got, want = (built.loss(lambda x, t: x, prediction, x_0, eps, t, weight) for built in (wrong, right))
        return Curve(
            x=t.astype(float),
            y=_relative(got, want),
            of=f"relative error of the {prediction} loss",
            against=_against(right),
        )

    return measure


def posterior_variance(stride: int) -> Measure:
    """Return the relative error of the posterior's variance over some steps of a chain."""

    def measure(right: Clean, wrong: Clean) -> Curve:
        k = places(right)[stride:]
        got, want = (built.posterior_variance(k, k - stride) for built in (wrong, right))
        return Curve(
            x=k.astype(float),
            y=_relative(got, want),
            of=f"relative error of the variance, stride {stride}",
            against="k",
        )

    return measure


def average(decay: float) -> Measure:
    """Return the error of the average of weights that rise by 1 at each update."""

    def measure(right: Clean, wrong: Clean) -> Curve:
        history = np.arange(400.0)[:, None]
        got, want = (built.averages(decay, history)[1:, 0] for built in (wrong, right))
        return Curve(x=np.arange(1.0, 400.0), y=np.abs(got - want), of="error of the average", against="updates")

    return measure


def law_of_times() -> Measure:
    """Return the distance of the weighted distribution of times from the uniform one."""

    def measure(_right: Clean, wrong: Clean) -> Curve:
        share = (np.arange(100_000) + 0.5) / 100_000
        t, weight = np.asarray(wrong.spread(share)), np.asarray(wrong.weights_of(share))
        order = np.argsort(t)
        below = np.cumsum(weight[order]) / weight.sum()
        at = np.linspace(0.0, 1.0, 200)
        return Curve(x=at, y=np.interp(at, t[order], below) - at, of="weighted distribution of t, less t", is_log=False)

    return measure


def order(sampler: str) -> Measure:
    """Return the error of whole runs on Gaussian data, against the number of steps."""

    def measure(_right: Clean, wrong: Clean) -> Curve:
        counts = np.array([4, 8, 16, 32, 64, 128, 256])
        return Curve(
            x=counts.astype(float),
            y=np.array([_end(wrong, sampler, int(n)) for n in counts]),
            of="error at the end of a run",
            against="steps",
        )

    return measure


def _end(built: Clean, sampler: str, n: int, variance: float = 0.25) -> float:
    """Return the error of a run, on data of N(0, variance), which the exact flow scales by the deviations of x_t."""
    prediction = next(one.prediction for one in built.claim.samplers if one.name == sampler)

    def denoiser(x: Any, t: Any) -> Any:
        a, s = built.over(t, x)
        x_0 = a * variance / (a**2 * variance + s**2) * x
        return x_0 if prediction == "x_0" else (x - a * x_0) / s

    times = np.linspace(0.9, 0.1, n + 1)
    x = np.ones((1, 1))
    first, last = (np.sqrt(built.alpha(t) ** 2 * variance + built.sigma(t) ** 2) for t in (times[0], times[-1]))
    return float(np.abs(built.sample(denoiser, x, times, 0, sampler) - last / first)[0, 0])
