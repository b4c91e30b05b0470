"""Paths of the forward and the reverse SDE by torchsde, and the exact distribution of their end points.

    dx = -1/2 beta x dt + sqrt(beta) dW

Euler-Maruyama is X' = (1 - beta h/2) X + sqrt(beta h) g with g ~ N(0, 1), so X is Gaussian, with moments by an affine
recursion. The evidence tests compare the simulation with these moments, and the moments with the closed form, without
Monte Carlo. The exact solution obeys x' = (alpha'/alpha) x + I, where I is the integral of
(alpha'/alpha_u) sqrt(beta_u) dW_u over the step. I is not a function of W on the grid, so `draw` draws (dW, I) from
their joint distribution. alpha = exp(-1/2 integral of beta) follows from the rate by quadrature.

torchsde is untyped; only this module imports it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
import torchsde
from scipy.integrate import quad_vec

Floats: TypeAlias = npt.NDArray[np.float64]
Rate: TypeAlias = Callable[[Floats], Floats]
Score: TypeAlias = Callable[[float, Floats], Floats]

_NODES = {n: np.polynomial.legendre.leggauss(n) for n in (8, 12)}


def grid(start: float, end: float, steps: int) -> Floats:
    """Return steps + 1 equidistant times.

    Each step must be exact in binary64 (choose dyadic numbers): otherwise torchsde adds a tiny last step.
    """
    times: Floats = start + (end - start) / steps * np.arange(steps + 1, dtype=np.float64)
    if np.any(np.diff(times) != times[1] - times[0]):
        raise ValueError(f"expected a grid whose steps are exact in binary64, got {start=}, {end=}, {steps=}")
    return times


@final
@dataclass(frozen=True, slots=True)
class Law:
    """The distribution N(scale x_0, variance) of an end point; for an error, `scale` is the mean itself."""

    scale: float
    variance: float


def euler(rate: Rate, times: Floats, x_0: float, increments: Floats) -> Floats:
    """Return the end points of torchsde's Euler paths, given their Brownian increments, (steps, paths)."""
    start = np.full(increments.shape[1], x_0)
    return _solve(_Forward(rate), times, start, _Given(times, increments))


def reverse_euler(
    rate: Rate, score: Callable[[float, Floats], Floats], times: Floats, start: Floats, seed: int
) -> Floats:
    """Return the end points of torchsde's Euler paths of the reverse SDE.

    times: increasing in u = 1 - t; score(t, x): d log p_t/dx; start: (paths,), at the first time.
    """
    generator = np.random.default_rng([seed, 1])
    increments = np.sqrt(np.diff(times))[:, None] * generator.standard_normal((len(times) - 1, len(start)))
    return _solve(_Reverse(rate, score), times, start, _Given(times, increments))


def euler_own(rate: Rate, times: Floats, x_0: float, paths: int, seed: int) -> Floats:
    """Return the end points of torchsde's Euler paths on a Brownian motion that torchsde draws."""
    size = (paths, 1)
    own: Any = torchsde.BrownianInterval(times[0], times[-1], size=size, dtype=torch.float64, entropy=seed)
    return _solve(_Forward(rate), times, np.full(paths, x_0), own)


def _solve(sde: Any, times: Floats, start: Floats, motion: Any) -> Floats:
    ends: Any = torchsde.sdeint(
        sde,
        torch.from_numpy(start[:, None].copy()),
        torch.tensor([times[0], times[-1]], dtype=torch.float64),
        bm=motion,
        method="euler",
        dt=float(times[1] - times[0]),
    )
    result: Floats = ends[-1, :, 0].numpy()
    return result


def euler_law(rate: Rate, times: Floats) -> Law:
    """Return the exact distribution of the end of an Euler path.

    The recursion is a' = (1 - beta h/2) a and v' = (1 - beta h/2)^2 v + beta h, from (a, v) = (1, 0).
    """
    scale, variance = 1.0, 0.0
    for factor, added in zip(*_euler_step(rate, times), strict=True):
        scale, variance = factor * scale, factor * factor * variance + added
    return Law(float(scale), float(variance))


@final
@dataclass(frozen=True, slots=True)
class Steps:
    """For each step of a grid: the exact transition x' = decay x + I, and its covariance with Euler's noise."""

    decay: Floats
    """alpha'/alpha."""
    variance: Floats
    """Var(I), the variance of the exact transition."""
    covariance: Floats
    """Cov(dW, I)."""
    spread: Floats
    """Var(I given dW), by its own integral, since the difference Var(I) - Cov(dW, I)^2/h would cancel."""
    gap: Floats
    """Var(sqrt(beta) dW - I), by its own integral for the same reason."""
    gap_covariance: Floats
    """Cov(sqrt(beta) dW - I, I)."""


def steps(rate: Rate, times: Floats) -> Steps:
    """Return the moments of each step, by quadrature: by Ito's isometry each is an ordinary integral over u."""
    left, h = times[:-1], np.diff(times)
    root = np.sqrt(rate(left))

    def kernel(fraction: float) -> Floats:
        u = left + fraction * h
        result: Floats = np.exp(-0.5 * _integral(rate, u, times[1:])) * np.sqrt(rate(u))
        return result

    def over_step(integrand: Callable[[float], Floats]) -> Floats:
        value, error = quad_vec(integrand, 0.0, 1.0, epsabs=0.0, epsrel=1e-12, norm="max")
        if not error <= 1e-11 * np.max(np.abs(value)):
            raise ArithmeticError(f"quad_vec reports an error of {error}")
        result: Floats = h * value
        return result

    covariance = over_step(kernel)
    mean = covariance / h
    return Steps(
        decay=np.exp(-0.5 * _integral(rate, left, times[1:])),
        variance=over_step(lambda fraction: kernel(fraction) ** 2),
        covariance=covariance,
        spread=over_step(lambda fraction: (kernel(fraction) - mean) ** 2),
        gap=over_step(lambda fraction: (root - kernel(fraction)) ** 2),
        gap_covariance=over_step(lambda fraction: (root - kernel(fraction)) * kernel(fraction)),
    )


def exact_law(exact: Steps) -> Law:
    """Return the distribution of the exact solution at the end of the grid, by composing its steps."""
    scale, variance = 1.0, 0.0
    for decay, added in zip(exact.decay, exact.variance, strict=True):
        scale, variance = decay * scale, decay * decay * variance + added
    return Law(float(scale), float(variance))


def draw(exact: Steps, times: Floats, paths: int, seed: int) -> tuple[Floats, Floats]:
    """Draw (dW, I) from their exact joint distribution; each has the shape (steps, paths)."""
    generator = np.random.default_rng(seed)
    h = np.diff(times)[:, None]
    increments = np.sqrt(h) * generator.standard_normal((h.size, paths))
    independent = np.sqrt(exact.spread)[:, None] * generator.standard_normal((h.size, paths))
    return increments, exact.covariance[:, None] / h * increments + independent


def exact_path(exact: Steps, x_0: float, noise: Floats) -> Floats:
    """Return the end points of the exact solution, driven by the I that `draw` returned."""
    x = np.full(noise.shape[1], x_0)
    for decay, added in zip(exact.decay, noise, strict=True):
        x = decay * x + added
    return x


def error_law(rate: Rate, times: Floats, exact: Steps, x_0: float) -> Law:
    """Return the exact distribution of e, the end point of Euler minus the exact one on the same Brownian path.

    e' = (1 - beta h/2) e + (1 - beta h/2 - alpha'/alpha) x + (sqrt(beta) dW - I) is linear, so (e, x) is Gaussian.
    `scale` of the result is the mean of e.
    """
    x, mean = x_0, 0.0
    v_x, v_e, cov = 0.0, 0.0, 0.0
    factors, _ = _euler_step(rate, times)
    rows = zip(factors, exact.decay, exact.variance, exact.gap, exact.gap_covariance, strict=True)
    for factor, decay, added, gap, gap_cov in rows:
        bias = factor - decay
        mean, x = factor * mean + bias * x, decay * x
        v_e = factor * factor * v_e + 2 * factor * bias * cov + bias * bias * v_x + gap
        cov = decay * (factor * cov + bias * v_x) + gap_cov
        v_x = decay * decay * v_x + added
    return Law(float(mean), float(v_e))


def _euler_step(rate: Rate, times: Floats) -> tuple[Floats, Floats]:
    """Return the factor 1 - beta h/2 and the added variance beta h of each step."""
    added = rate(times[:-1]) * np.diff(times)
    return 1.0 - 0.5 * added, added


def _integral(rate: Rate, a: Floats, b: Floats) -> Floats:
    """Return the integral of the rate over each interval [a, b], by Gauss-Legendre with 12 nodes.

    Raises ArithmeticError if 8 nodes give another value.
    """
    by_nodes = []
    for nodes, weights in _NODES.values():
        u = a + (b - a) * (nodes[:, None] + 1) / 2
        by_nodes.append((b - a) / 2 * (weights @ rate(u)))
    coarse, fine = by_nodes
    if not np.all(np.abs(coarse - fine) <= 1e-13 * (1 + np.abs(fine))):
        raise ArithmeticError("8 and 12 Gauss nodes give different integrals of the rate")
    result: Floats = fine
    return result


@final
class _Forward:
    """The forward SDE in the interface of torchsde."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, rate: Rate) -> None:
        self.rate = rate

    def f(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return -0.5 * self._beta(t) * x

    def g(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self._beta(t) ** 0.5)

    def _beta(self, t: torch.Tensor) -> float:
        return float(self.rate(np.asarray(float(t))))


@final
class _Reverse:
    """The reverse SDE in the interface of torchsde, in u = 1 - t: dx = (beta x/2 + beta score) du + sqrt(beta) dW."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, rate: Rate, score: Score) -> None:
        self.rate, self.score = rate, score

    def f(self, u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        score = torch.from_numpy(self.score(1.0 - float(u), x[:, 0].numpy()))
        return self._beta(u) * (0.5 * x + score[:, None])

    def g(self, u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self._beta(u) ** 0.5)

    def _beta(self, u: torch.Tensor) -> float:
        return float(self.rate(np.asarray(1.0 - float(u))))


@final
class _Given:
    """A Brownian motion with given increments over the steps of one grid; any other interval raises KeyError."""

    levy_area_approximation = "none"
    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, times: Floats, increments: Floats) -> None:
        self.rows = {(float(a), float(b)): i for i, (a, b) in enumerate(itertools.pairwise(times))}
        self.increments = torch.from_numpy(increments)
        self.shape = (increments.shape[1], 1)

    def __call__(self, t_a: torch.Tensor, t_b: torch.Tensor) -> torch.Tensor:
        return self.increments[self.rows[float(t_a), float(t_b)]][:, None]
