"""Chains that several libraries call their own, by their definitions in binary64."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from math import cos, exp, log1p, pi, sin, sqrt

from refdiff.conformance.interface import Chain

N = 1000
"""Steps of the chains of DDPM, Stable Diffusion and Nichol and Dhariwal."""


def _chain(beta: Callable[[int], float]) -> Chain:
    return Chain(betas=tuple(map(beta, range(N))))


def _cosine_beta(i: int) -> float:
    """Return 1 - cos²b/cos²a = sin(b - a) sin(b + a)/cos²a, with a at time i/N, b at (i + 1)/N and offset 0.008."""
    a = 0.5 * pi * (i / N + 0.008) / 1.008
    b = 0.5 * pi * ((i + 1) / N + 0.008) / 1.008
    return min(sin(b - a) * sin(b + a) / cos(a) ** 2, 0.999)


def with_zero_snr(chain: Chain) -> Chain:
    """Return a chain rescaled to zero terminal SNR, so that its last beta is 1 (DIS-6).

    With r the ratio of one rescaled root of alpha_bar to the one before, beta is 1 - r² = (1 - r)(1 + r).
    """
    logs = list(accumulate(0.5 * log1p(-beta) for beta in chain.betas))
    falls = [
        beta / (1.0 + sqrt(1.0 - beta)) / (1.0 - exp(logs[-1] - log))
        for beta, log in zip(chain.betas[1:-1], logs[:-2], strict=True)
    ]
    return Chain(betas=(chain.betas[0], *(fall * (2.0 - fall) for fall in falls), 1.0))


LINEAR = _chain(lambda i: float(Fraction(1, 10_000) + Fraction(i, N - 1) * Fraction(199, 10_000)))
SCALED_LINEAR = _chain(lambda i: (sqrt(8.5e-4) + i / (N - 1) * (sqrt(0.012) - sqrt(8.5e-4))) ** 2)
COSINE = _chain(_cosine_beta)
