"""Training on x_t from a solver against x_t from the closed form, without Monte Carlo (TRN-7).

Both trainers see x_0 and x_t at the times j/8 and regress (x_t - alpha x_0)/sigma, the conditional score in units of
eps, on x_t. N steps of Euler-Maruyama make x_t = a x_0 + sqrt(v) xi, with a and v by recursion, so every mean that
a least-squares problem needs is an integral against a mixture of Gaussians, by Gauss-Hermite sums.

A small network is a hidden layer of fixed tanh units with a readout, trained to its optimum by the normal equations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from .mixture import Floats, Mixture
from .simulation import Law, Rate, euler_law, grid

Scales = Callable[[float], tuple[float, float]]
"""alpha and sigma^2 of the closed form at one time."""
TIMES = np.arange(1, 9) / 8
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(160)


@final
@dataclass(frozen=True, slots=True)
class Made:
    """How x_t is made at each of TIMES: scale x_0 + N(0, variance). steps: of the solver, 0 for the closed form."""

    steps: int
    laws: tuple[Law, ...]


def by_closed_form(scales: Scales) -> Made:
    """Return the marginal."""
    return Made(0, tuple(Law(*scales(float(t))) for t in TIMES))


def by_solver(rate: Rate, steps: int) -> Made:
    """Return the law of `steps` steps of Euler-Maruyama over [0, 1], a multiple of 8 and a power of 2."""
    whole = grid(0.0, 1.0, steps)
    return Made(steps, tuple(euler_law(rate, whole[: round(t * steps) + 1]) for t in TIMES))


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Quadrature over x_t at one time: points, weights, and the mean of the target there."""

    t: float
    x: Floats
    weight: Floats
    target: Floats
    """E[(x_t - alpha x_0)/sigma | x_t = x]."""
    power: float
    """E[((x_t - alpha x_0)/sigma)^2]."""


def places(data: Mixture, scales: Scales, made: Made) -> list[Place]:
    """Return one for each of TIMES, x_t as `made`, the target as the closed form has it."""
    second = sum(w * (v + m * m) for w, m, v in zip(data.weights, data.means, data.variances, strict=True))
    found = []
    for t, law in zip(TIMES.tolist(), made.laws, strict=True):
        alpha, variance = scales(t)
        noised, sigma = data.noised(law.scale, law.variance), np.sqrt(variance)
        parts = zip(noised.weights, noised.means, noised.variances, strict=True)
        pieces = [(m + np.sqrt(v) * NODES, w * WEIGHTS / np.sqrt(2 * np.pi)) for w, m, v in parts]
        x, weight = (np.concatenate(column) for column in zip(*pieces, strict=True))
        # E[x_0 | x_t] by Tweedie's formula.
        x_0 = (x + law.variance * noised.score(x)) / law.scale
        power = ((law.scale - alpha) ** 2 * second + law.variance) / variance
        found.append(Place(t, x, weight, (x - alpha * x_0) / sigma, float(power)))
    return found


def floor(at: list[Place]) -> float:
    """Return the least loss that any denoiser has, a mean over TIMES."""
    return float(np.mean([p.power - (p.weight * p.target**2).sum() for p in at]))


def bias(data: Mixture, scales: Scales, made: Made) -> float:
    """Return the excess, on the closed form's loss, of the best denoiser for x_t as `made`: it is no worse trained."""
    right, total = by_closed_form(scales), 0.0
    for p, law in zip(places(data, scales, right), made.laws, strict=True):
        alpha, variance = scales(p.t)
        x_0 = (p.x + law.variance * data.noised(law.scale, law.variance).score(p.x)) / law.scale
        total += float((p.weight * ((p.x - alpha * x_0) / np.sqrt(variance) - p.target) ** 2).sum())
    return total / len(TIMES)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """A layer of fixed tanh units of (x, t), with a skip of x and a constant."""

    of_x: Floats
    of_t: Floats
    shift: Floats

    @staticmethod
    def drawn(units: int, seed: int) -> Hidden:
        """Return units of random directions."""
        rng = np.random.default_rng(seed)
        return Hidden(rng.uniform(0.5, 3.0, units), rng.uniform(-3.0, 3.0, units), rng.uniform(-3.0, 3.0, units))

    def __call__(self, x: Floats, t: float) -> Floats:
        """Return the features, (n, units + 2)."""
        units = np.tanh(x[:, None] * self.of_x + t * self.of_t + self.shift)
        return np.column_stack([units, x, np.ones_like(x)])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A readout, and the loss that it was trained to."""

    readout: Floats
    loss: float


def trained(hidden: Hidden, at: list[Place]) -> Trained:
    """Return the optimum, by least squares on the weighted quadrature points: the exact normal equations."""
    roots = [np.sqrt(np.maximum(p.weight, 0.0) / len(at)) for p in at]
    rows = np.concatenate([r[:, None] * hidden(p.x, p.t) for r, p in zip(roots, at, strict=True)])
    wanted = np.concatenate([r * p.target for r, p in zip(roots, at, strict=True)])
    readout = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return Trained(readout, floor(at) + float(((rows @ readout - wanted) ** 2).sum()))


def loss(hidden: Hidden, readout: Floats, at: list[Place]) -> float:
    """Return the loss of a readout."""
    misses = [(p.weight * (hidden(p.x, p.t) @ readout - p.target) ** 2).sum() for p in at]
    return floor(at) + float(np.mean(misses))
