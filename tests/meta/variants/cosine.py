"""The cosine schedule: alpha_bar = cos^2(a + x)/cos^2(a), a = pi/2 s/(1 + s), a + x = pi/2 (t + s)/(1 + s)."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sin
from typing import Any

import numpy as np

from refdiff.conformance.interface import Cosine
from tests.meta.variants.libraries import JAX, JAX64, NUMPY, NUMPY64, TORCH, TORCH64, jax_numpy, pytorch
from tests.meta.variants.linear import schedule
from tests.meta.variants.variant import COSINE, Family

FAMILY = Family("cosine")
NO_OFFSET = Cosine(s=0.0)


def _angle(p: Cosine, t: Any) -> Any:
    return 0.5 * pi * (t + p.s) / (1.0 + p.s)


def _start(p: Cosine) -> float:
    return 0.5 * pi * p.s / (1.0 + p.s)


def _speed(p: Cosine) -> float:
    return 0.5 * pi / (1.0 + p.s)


@schedule(NUMPY, NUMPY64, TORCH, JAX, on=(COSINE, NO_OFFSET), family=FAMILY)
def ratio_of_squared_cosines(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """f(t)/f(0) with f = cos^2, as improved DDPM has it; the rate by the tangent."""
    alpha_bar = xp.cos(_angle(p, t)) ** 2 / cos(_start(p)) ** 2
    return {
        "alpha_bar": alpha_bar,
        "alpha": xp.sqrt(alpha_bar),
        "sigma": xp.sqrt(xp.clip(1.0 - alpha_bar, 0.0, 1.0)),
        "beta": pi / (1.0 + p.s) * xp.tan(_angle(p, t)),
    }


@schedule(NUMPY, TORCH, JAX64, on=(COSINE, NO_OFFSET), family=FAMILY)
def from_the_end(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """Sines of what is left of time: alpha = sin(c (1 - t))/sin(c), exact at t = 1."""
    alpha = xp.sin(_speed(p) * (1.0 - t)) / sin(_speed(p))
    alpha_bar = alpha * alpha
    return {"alpha": alpha, "alpha_bar": alpha_bar, "sigma": xp.sqrt(xp.clip(1.0 - alpha_bar, 0.0, 1.0))}


@schedule(NUMPY, TORCH64, JAX, on=(COSINE, NO_OFFSET), family=FAMILY)
def variance_as_a_product(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """sigma^2 = sin(x) sin(2a + x)/cos^2(a): a difference of squares that does not cancel."""
    x = _speed(p) * t
    variance = xp.sin(x) * xp.sin(2.0 * _start(p) + x) / cos(_start(p)) ** 2
    alpha = xp.cos(_start(p) + x) / cos(_start(p))
    return {"alpha": xp.clip(alpha, 0.0, 1.0), "sigma": xp.sqrt(xp.clip(variance, 0.0, 1.0))}


@schedule(NUMPY, TORCH, on=(COSINE, NO_OFFSET), family=FAMILY)
def half_angle_for_the_square(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """alpha_bar by (1 + cos 2x)/2, alpha by the cosine itself."""
    alpha_bar = (1.0 + xp.cos(2.0 * _angle(p, t))) / (1.0 + cos(2.0 * _start(p)))
    alpha = xp.clip(xp.cos(_angle(p, t)) / cos(_start(p)), 0.0, 1.0)
    return {"alpha_bar": alpha_bar, "alpha": alpha, "sigma": xp.sqrt(xp.clip(1.0 - alpha_bar, 0.0, 1.0))}


@schedule(NUMPY, on=(COSINE, NO_OFFSET), family=FAMILY)
def sine_for_the_cosine(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """cos(y) as sin(pi/2 - y), squared by 1 - sin^2(y) for sigma."""
    y = _angle(p, t)
    alpha = xp.clip(xp.sin(0.5 * pi - y) / cos(_start(p)), 0.0, 1.0)
    return {"alpha": alpha, "alpha_bar": alpha**2, "sigma": xp.sqrt(1.0 - alpha**2)}


@schedule(NUMPY, TORCH, on=COSINE, family=FAMILY)
def by_the_tangent(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """cos^2 = 1/(1 + tan^2)."""
    alpha_bar = (1.0 + sin(_start(p)) ** 2 / cos(_start(p)) ** 2) / (1.0 + xp.tan(_angle(p, t)) ** 2)
    return {"alpha_bar": alpha_bar, "sigma": xp.sqrt(xp.clip(1.0 - alpha_bar, 0.0, 1.0))}


@schedule(NUMPY, NUMPY64, JAX, on=NO_OFFSET, family=FAMILY)
def without_an_offset(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """s = 0: alpha = cos(pi t/2), sigma = sin(pi t/2), log-SNR = -2 log tan(pi t/2)."""
    x = 0.5 * pi * t
    tangent = xp.abs(xp.tan(x))
    return {"alpha": xp.abs(xp.cos(x)), "sigma": xp.sin(x), "log_snr": -2.0 * xp.log(tangent)}


@schedule(NUMPY, TORCH, on=(COSINE, NO_OFFSET), family=FAMILY, t_max=0.9946)
def in_logarithms(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """DPM-Solver's: log alpha = log cos(a + x) - log cos(a), sigma = sqrt(1 - exp(2 log alpha)), up to t = 0.9946."""
    log_alpha = xp.log(xp.cos(_angle(p, t))) - xp.log(xp.cos(0.0 * t + _start(p)))
    # A cosine of its own angle over itself may round above 1.
    log_alpha = xp.clip(log_alpha, -50.0, 0.0)
    sigma = xp.sqrt(1.0 - xp.exp(2.0 * log_alpha))
    return {
        "log_alpha_bar": 2.0 * log_alpha,
        "alpha": xp.exp(log_alpha),
        "sigma": sigma,
        "log_snr": 2.0 * (log_alpha - xp.log(sigma)),
    }


@schedule(NUMPY, on=(COSINE, NO_OFFSET), family=FAMILY)
def float64_inside(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """Everything in float64, rounded once."""
    wide = ratio_of_squared_cosines(xp, p, t.astype(xp.float64))
    return {"alpha_bar": wide["alpha_bar"], "sigma": wide["sigma"], "log_alpha_bar": xp.log(wide["alpha_bar"])}


@schedule(NUMPY, on=(COSINE, NO_OFFSET), family=FAMILY)
def imaginary_exponential(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """alpha as the real part of exp(i (a + x)) over that of exp(i a)."""
    turned = xp.exp(1j * _angle(p, t).astype(np.float64))
    alpha = xp.clip(turned.real / cos(_start(p)), 0.0, 1.0)
    return {"alpha": alpha, "alpha_bar": alpha * alpha, "sigma": xp.sqrt(1.0 - alpha * alpha)}


@schedule(NUMPY, on=Cosine, family=FAMILY)
def of_any_member(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """Every offset, from the end."""
    return from_the_end(xp, p, t)


@schedule(pytorch(), jax_numpy(), on=COSINE, family=FAMILY, t_max=0.99)
def rate_by_differentiation(xp: Any, p: Cosine, t: Any) -> Mapping[str, Any]:
    """beta = -d log alpha_bar/dt by the library's own differentiation of 2 log cos, up to t = 0.99."""
    if xp.__name__ == "torch":
        moved = t.clone().requires_grad_()
        log_alpha_bar = 2.0 * xp.log(xp.cos(_angle(p, moved)))
        (slope,) = xp.autograd.grad(log_alpha_bar.sum(), moved)
    else:
        import jax

        slope = jax.vmap(jax.grad(lambda one: 2.0 * xp.log(xp.cos(_angle(p, one)))))(t)
    return {"beta": -slope, "alpha": xp.cos(_angle(p, t)) / cos(_start(p))}
