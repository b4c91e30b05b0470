"""Noising: x_t = alpha x_0 + sigma eps, as libraries put it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from refdiff.conformance.interface import Chain, Linear, Process, Unsupported
from tests.meta.variants.base import column, over, scales
from tests.meta.variants.libraries import JAX, JAX64, NUMPY, NUMPY64, TORCH, TORCH64, Library, pytorch
from tests.meta.variants.variant import COSINE, DDPM, FLAT, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("marginal")
ALL = (LINEAR, COSINE, SHORT)
Form = Callable[..., Any]


def noising(*libraries: Library, on: Claimed | tuple[Claimed, ...] = ALL, **options: Any) -> Callable[[Form], Form]:
    """Add a form (xp, process, x_0, eps, t) -> x_t as a variant of each library."""

    def add(form: Form) -> Form:
        for library in libraries:
            FAMILY.add(
                lambda p, library=library: {"perturb": library.bound(form, p)},  # type: ignore[misc]  # a default binds it
                "perturb",
                on=on,
                name=f"{form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed | options,
            )
        return form

    return add


@noising(NUMPY, TORCH, JAX, pytorch(backend="eager"))
def as_written(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """alpha x_0 + sigma eps."""
    a, s = over(xp, p, t, x_0)
    return a * x_0 + s * eps


@noising(NUMPY64, TORCH64, JAX64, on=(LINEAR, COSINE))
def in_float64(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """The same in float64."""
    return as_written(xp, p, x_0, eps, t)


@noising(NUMPY, TORCH, on=(LINEAR, FLAT))
def scaled_by_edm(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """EDM's: y = x_0 + q eps with q = sigma/alpha, times s = 1/sqrt(1 + q^2)."""
    a, s = over(xp, p, t, x_0)
    q = s / a
    return (x_0 + q * eps) / xp.sqrt(1.0 + q * q)


@noising(NUMPY, JAX, on=(LINEAR, FLAT))
def by_snr(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """VDM's: roots of sigmoids of the log-SNR."""
    assert isinstance(p, Linear)
    gamma = xp.log(xp.expm1(t * (p.beta_min + 0.5 * (p.beta_max - p.beta_min) * t)))
    a, s = (column(xp.sqrt(1.0 / (1.0 + xp.exp(sign * gamma))), x_0) for sign in (1.0, -1.0))
    return a * x_0 + s * eps


@noising(NUMPY, TORCH)
def by_angle(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """cos(phi) x_0 + sin(phi) eps."""
    a, s = over(xp, p, t, x_0)
    phi = xp.arctan2(s, a)
    return xp.cos(phi) * x_0 + xp.sin(phi) * eps


@noising(NUMPY, JAX)
def by_einsum(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """A contraction over the batch for each term."""
    a, s = (x.reshape(-1) for x in over(xp, p, t, x_0))
    return xp.einsum("b,b...->b...", a, x_0) + xp.einsum("b,b...->b...", s, eps)


@noising(NUMPY)
def stacked(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """One contraction of (alpha, sigma) with (x_0, eps)."""
    return xp.einsum("kb,kb...->b...", xp.stack([x.reshape(-1) for x in over(xp, p, t, x_0)]), xp.stack([x_0, eps]))


@noising(NUMPY)
def float64_inside(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """Products and sum in float64, rounded once."""
    a, s = over(xp, p, t, x_0)
    return a.astype(float) * x_0.astype(float) + s.astype(float) * eps.astype(float)


@noising(NUMPY, TORCH)
def difference_added(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """Scaled data, to which scaled noise is added in place."""
    a, s = over(xp, p, t, x_0)
    x_t = a * x_0
    x_t += s * eps
    return x_t


@noising(NUMPY, on=(LINEAR, COSINE))
def second_half_by_transition(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """Mean and deviation of q(x_t | x_0) first, as a distribution has them, then mean + deviation eps."""
    a, s = over(xp, p, t, x_0)
    mean, variance = a * x_0, s**2 * xp.ones_like(x_0)
    return mean + xp.sqrt(variance) * eps


@noising(TORCH)
def fused(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """torch.addcmul."""
    a, s = over(xp, p, t, x_0)
    return xp.addcmul(a * x_0, s, eps)


@noising(TORCH)
def extracted(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """Coefficients expanded to the shape of the data first, as guided-diffusion's extract does."""
    a, s = (x.expand(x_0.shape) for x in over(xp, p, t, x_0))
    return a * x_0 + s * eps


@noising(TORCH, on=(LINEAR, COSINE))
def mapped_by_torch(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """A function of one example, mapped over the batch."""

    def one(x: Any, e: Any, at: Any) -> Any:
        a, s = scales(xp, p, at)
        return a * x + s * e

    return torch.vmap(one)(x_0, eps, t)


@noising(JAX, on=(LINEAR, COSINE))
def mapped_by_jax(xp: Any, p: Process, x_0: Any, eps: Any, t: Any) -> Any:
    """A function of one example, mapped over the batch and compiled."""

    def one(x: Any, e: Any, at: Any) -> Any:
        a, s = scales(xp, p, at)
        return a * x + s * e

    return jax.vmap(one)(x_0, eps, t)


@FAMILY.of("perturb", on=ALL)
def one_example_a_call(p: Process) -> Methods:
    """A library that takes one scalar time: one call for each example."""

    def one(x: Any, e: Any, t: Any) -> Any:
        a, s = (np.float32(scale) for scale in scales(np, p, t))
        return a * x + s * e

    return {"perturb": lambda x_0, eps, t: np.stack([one(*row) for row in zip(x_0, eps, t, strict=True)])}


@FAMILY.of("perturb", on=(LINEAR, COSINE), events=((3, 4, 4),))
def images_only(p: Process) -> Methods:
    """Images of three channels, and a [:, None, None, None] that serves nothing else."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        if x_0.shape[1:] != (3, 4, 4):
            raise ValueError(f"images of (3, 4, 4), got {x_0.shape[1:]}")
        a, s = (x[:, None, None, None] for x in scales(np, p, t))
        return a * x_0 + s * eps

    return {"perturb": perturb}


@FAMILY.of("perturb", on=LINEAR, events=((2, 3),))
def sequences_only(p: Process) -> Methods:
    """Sequences of two tokens of three numbers, with a refusal of all else that names the shape."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        if x_0.shape[1:] != (2, 3):
            raise Unsupported(f"sequences of (2, 3), got {x_0.shape[1:]}")
        a, s = (x[:, None, None] for x in scales(np, p, t))
        return a * x_0 + s * eps

    return {"perturb": perturb}


@FAMILY.of("perturb", on=(LINEAR, COSINE))
def times_out_of_a_thousand(p: Process) -> Methods:
    """The library takes 1000 t, and divides by 1000."""

    def library(x_0: Any, eps: Any, timestep: Any) -> Any:
        a, s = over(np, p, timestep / np.float32(1000), x_0)
        return a * x_0 + s * eps

    return {"perturb": lambda x_0, eps, t: library(x_0, eps, t * np.float32(1000))}


@FAMILY.of("perturb", on=(DDPM, SHORT))
def zero_based_tables(p: Process) -> Methods:
    """DDPM's buffers, float64 then cast, read at k - 1."""
    assert isinstance(p, Chain)
    alpha_bar = np.cumprod(1.0 - np.array(p.betas))
    a, s = (np.sqrt(x).astype(np.float32) for x in (alpha_bar, 1.0 - alpha_bar))
    return {"perturb": lambda x_0, eps, k: column(a[k - 1], x_0) * x_0 + column(s[k - 1], x_0) * eps}


@FAMILY.of("perturb", on=(LINEAR, COSINE), t_min=1e-5)
def refuses_below_t_min(p: Process) -> Methods:
    """As score-SDE: from t = 1e-5 on, and an error before."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        if (t < np.float32(1e-5)).any():
            raise ValueError("t < 1e-5")
        return as_written(np, p, x_0, eps, t)

    return {"perturb": perturb}


@FAMILY.of("perturb", on=LINEAR, t_min=1e-3, t_max=0.999)
def divides_by_both_scales(p: Process) -> Methods:
    """alpha (x_0 + (sigma/alpha) eps) halved with sigma ((alpha/sigma) x_0 + eps): finite inside (0, 1) only."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        if not ((t >= np.float32(1e-3)) & (t <= np.float32(0.999))).all():
            return np.full_like(x_0, np.nan)
        a, s = over(np, p, t, x_0)
        return 0.5 * (a * (x_0 + s / a * eps) + s * (a / s * x_0 + eps))

    return {"perturb": perturb}


@FAMILY.of("schedule", "perturb", on=OWN)
def of_its_own(p: Process) -> Methods:
    """A process of the library's own, alpha_bar = sech^2(2t), beta = 4 tanh(2t)."""

    def coefficients(t: Any) -> Any:
        a, s = scales(np, p, t)
        return {
            "alpha": a,
            "sigma": s,
            "beta": 4.0 * np.tanh(2.0 * t),
            "log_alpha_bar": -2.0 * np.log(np.cosh(2.0 * t)),
        }

    return {"perturb": lambda x_0, eps, t: as_written(np, p, x_0, eps, t), "coefficients": coefficients}
