"""Training on x_t from a solver compared with training on x_t from the closed form, without Monte Carlo (TRN-7).

Both regress the target (x_t - alpha x_0)/sigma, which is minus the conditional score times sigma, on x_t at the times
t = j/8. N steps of Euler-Maruyama give x_t = a x_0 + sqrt(v) xi with a and v by recursion, so every expectation in the
least-squares problem is an integral over a mixture of Gaussians, by Gauss-Hermite quadrature.

The network is a hidden layer of fixed tanh units with a linear readout, whose optimum is a least-squares solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from .mixture import Floats, Mixture
from .simulation import Law, Rate, euler_law, grid

Scales = Callable[[float], tuple[float, float]]
"""Maps a time to alpha and sigma^2 of the closed form."""
TIMES = np.arange(1, 9) / 8
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(160)


@final
@dataclass(frozen=True, slots=True)
class Made:
    """The distribution of x_t given x_0, N(scale x_0, variance), at each of TIMES.

    steps: number of solver steps, 0 for the closed form.
    """

    steps: int
    laws: tuple[Law, ...]


def by_closed_form(scales: Scales) -> Made:
    """Return the closed form, N(alpha x_0, sigma^2)."""
    return Made(0, tuple(Law(*scales(float(t))) for t in TIMES))


def by_solver(rate: Rate, steps: int) -> Made:
    """Return the distribution of x_t by Euler-Maruyama with `steps` steps over [0, 1]: a power of 2, at least 8."""
    whole = grid(0.0, 1.0, steps)
    return Made(steps, tuple(euler_law(rate, whole[: round(t * steps) + 1]) for t in TIMES))


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Quadrature over x_t at one time: points, weights, and moments of the target."""

    t: float
    x: Floats
    weight: Floats
    target: Floats
    """E[(x_t - alpha x_0)/sigma | x_t = x], the best prediction at x."""
    power: float
    """E[((x_t - alpha x_0)/sigma)^2], the second moment of the target."""


def places(data: Mixture, scales: Scales, made: Made) -> list[Place]:
    """Return the quadrature for each of TIMES.

    made: the distribution of x_t given x_0; the target takes alpha and sigma from the closed form `scales`.
    """
    second = sum(w * (v + m * m) for w, m, v in zip(data.weights, data.means, data.variances, strict=True))
    found = []
    for t, law in zip(TIMES.tolist(), made.laws, strict=True):
        alpha, variance = scales(t)
        noised, sigma = data.noised(law.scale, law.variance), np.sqrt(variance)
        parts = zip(noised.weights, noised.means, noised.variances, strict=True)
        pieces = [(m + np.sqrt(v) * NODES, w * WEIGHTS / np.sqrt(2 * np.pi)) for w, m, v in parts]
        x = np.concatenate([points for points, _ in pieces])
        weight = np.concatenate([weights for _, weights in pieces])
        # E[x_0 | x_t] by Tweedie's formula.
        x_0 = (x + law.variance * noised.score(x)) / law.scale
        power = ((law.scale - alpha) ** 2 * second + law.variance) / variance
        found.append(Place(t, x, weight, (x - alpha * x_0) / sigma, float(power)))
    return found


def irreducible_loss(at: list[Place]) -> float:
    """Return the least loss of any denoiser, averaged over TIMES: E Var(target | x_t)."""
    return float(np.mean([p.power - (p.weight * p.target**2).sum() for p in at]))


def bias(data: Mixture, scales: Scales, made: Made) -> float:
    """Return the bias that the solver causes, even with perfect training.

    It is the loss under the closed form of the denoiser that is best for x_t as `made`, minus the irreducible loss.
    """
    closed_form, total = by_closed_form(scales), 0.0
    for p, law in zip(places(data, scales, closed_form), made.laws, strict=True):
        alpha, variance = scales(p.t)
        x_0 = (p.x + law.variance * data.noised(law.scale, law.variance).score(p.x)) / law.scale
        total += float((p.weight * ((p.x - alpha * x_0) / np.sqrt(variance) - p.target) ** 2).sum())
    return total / len(TIMES)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Features of (x, t): fixed tanh units, x itself and the constant 1."""

    of_x: Floats
    of_t: Floats
    shift: Floats

    @staticmethod
    def drawn(units: int, seed: int) -> Hidden:
        """Return units with random weights and biases."""
        rng = np.random.default_rng(seed)
        return Hidden(rng.uniform(0.5, 3.0, units), rng.uniform(-3.0, 3.0, units), rng.uniform(-3.0, 3.0, units))

    def __call__(self, x: Floats, t: float) -> Floats:
        """Return the features, (n, units + 2)."""
        units = np.tanh(x[:, None] * self.of_x + t * self.of_t + self.shift)
        return np.column_stack([units, x, np.ones_like(x)])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The optimal readout and its loss."""

    readout: Floats
    loss: float


def trained(hidden: Hidden, at: list[Place]) -> Trained:
    """Return the optimal readout, by least squares on the weighted quadrature points."""
    roots = [np.sqrt(np.maximum(p.weight, 0.0) / len(at)) for p in at]
    rows = np.concatenate([r[:, None] * hidden(p.x, p.t) for r, p in zip(roots, at, strict=True)])
    targets = np.concatenate([r * p.target for r, p in zip(roots, at, strict=True)])
    readout = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return Trained(readout, irreducible_loss(at) + float(((rows @ readout - targets) ** 2).sum()))


def loss(hidden: Hidden, readout: Floats, at: list[Place]) -> float:
    """Return the loss of a readout, averaged over TIMES."""
    excesses = [(p.weight * (hidden(p.x, p.t) @ readout - p.target) ** 2).sum() for p in at]
    return irreducible_loss(at) + float(np.mean(excesses))
