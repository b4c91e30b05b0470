"""A small library in JAX, compiled by `jit`, and its adapter: schedule, marginal, conversions and loss.

    python -m pytest --pyargs refdiff_validation --refdiff-target jax_refdiff:single
    python -m pytest --pyargs refdiff_validation --refdiff-target jax_refdiff:double

`single` claims float32, and obeys with `JAX_ENABLE_X64=1` too. `double` claims float64, and turns 64 bits on.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from refdiff.conformance import Chain, Claim, Linear, Unsupported
from refdiff.conformance.adapters import Library, asking_jax, from_jax, to_jax

# The library. jit compiles once for each shape, and each function that it is given.


@jax.jit
def linear_log_alpha_bar(t: Any, beta_min: Any, beta_max: Any) -> Any:
    """Return log alpha_bar at the times t."""
    return -t * (beta_min + 0.5 * (beta_max - beta_min) * t)


@jax.jit
def scales(log_alpha_bar: Any) -> tuple[Any, Any]:
    """Return alpha and sigma."""
    return jnp.exp(0.5 * log_alpha_bar), jnp.sqrt(-jnp.expm1(log_alpha_bar))


@jax.jit
def add_noise(log_alpha_bar: Any, x_0: Any, eps: Any) -> Any:
    """Return x_t; the scales are those of each example."""
    alpha, sigma = (q.reshape(-1, *(1,) * (x_0.ndim - 1)) for q in scales(log_alpha_bar))
    return alpha * x_0 + sigma * eps


@partial(jax.jit, static_argnames=("source", "to"))
def convert(log_alpha_bar: Any, value: Any, x_t: Any, source: str = "eps", to: str = "eps") -> Any:
    """Return a prediction of one kind as one of another."""
    alpha, sigma = (q.reshape(-1, *(1,) * (x_t.ndim - 1)) for q in scales(log_alpha_bar))
    if source == "v":
        x_0, eps = alpha * x_t - sigma * value, sigma * x_t + alpha * value
    elif source == "x_0":
        x_0, eps = value, (x_t - alpha * value) / sigma
    else:
        eps = value if source == "eps" else -sigma * value
        x_0 = (x_t - sigma * eps) / alpha
    return {"x_0": x_0, "eps": eps, "v": alpha * eps - sigma * x_0, "score": -eps / sigma}[to]


@partial(jax.jit, static_argnames=("network", "prediction"))
def losses(network: Any, log_alpha_bar: Any, x_0: Any, eps: Any, t: Any, prediction: str = "eps") -> Any:
    """Return the sum of squares of each example; network(x_t, t) predicts eps, x_0 or v."""
    alpha, sigma = (q.reshape(-1, *(1,) * (x_0.ndim - 1)) for q in scales(log_alpha_bar))
    target = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0}[prediction]
    squares = (network(add_noise(log_alpha_bar, x_0, eps), t) - target) ** 2
    return squares.sum(axis=tuple(range(1, x_0.ndim)))


# The adapter.


class Built:
    """The library for one process, with NumPy arrays at its doors."""

    def __init__(self, process: Any, dtype: Any) -> None:
        """Take the parameters in the claimed dtype, and make the one network that losses are compiled with."""
        self.dtype = dtype
        self.betas = jnp.array(process.betas, dtype) if isinstance(process, Chain) else None
        self.ends = () if isinstance(process, Chain) else jnp.array((process.beta_min, process.beta_max), dtype)
        self.denoiser: Any = None
        # One function for all denoisers: each new one would be compiled anew.
        self.network = asking_jax(lambda x_t, t: self.denoiser(x_t, t), dtype)

    def log_alpha_bar(self, t: Any) -> Any:
        """Return log alpha_bar at times, or at indices from 1."""
        if self.betas is None:
            return linear_log_alpha_bar(t, *self.ends)
        return jnp.cumsum(jnp.log1p(-self.betas))[t - 1]

    def taken(self, *arrays: Any) -> list[Any]:
        """Return arrays of NumPy as arrays of JAX."""
        return [to_jax(x, self.dtype) for x in arrays]

    def coefficients(self, t: Any) -> dict[str, Any]:
        """Return what the library has at t."""
        log = self.log_alpha_bar(*self.taken(t))
        alpha, sigma = scales(log)
        found = {"log_alpha_bar": log, "alpha_bar": jnp.exp(log), "alpha": alpha, "sigma": sigma}
        return {name: from_jax(x, self.dtype) for name, x in found.items()}

    def perturb(self, x_0: Any, eps: Any, t: Any) -> Any:
        """Return x_t."""
        x_0, eps, t = self.taken(x_0, eps, t)
        return from_jax(add_noise(self.log_alpha_bar(t), x_0, eps), self.dtype)

    def convert(self, value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
        """Return the value as a prediction of another kind."""
        value, x_t, t = self.taken(value, x_t, t)
        return from_jax(convert(self.log_alpha_bar(t), value, x_t, source=source, to=to), self.dtype)

    def loss(self, denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
        """Return the loss of each example."""
        if prediction == "score" or weight != "uniform":
            raise Unsupported("the library predicts eps, x_0 and v, with weight 1")
        self.denoiser = denoiser
        x_0, eps, t = self.taken(x_0, eps, t)
        return from_jax(losses(self.network, self.log_alpha_bar(t), x_0, eps, t, prediction=prediction), self.dtype)


def claimed(dtype: Any) -> Library:
    """Return the target in one dtype."""
    claim = Claim(
        name=f"jax {dtype}",
        version=jax.__version__,
        dtype=dtype,
        processes=(Linear(beta_min=0.1, beta_max=20.0), Chain.linear(100, beta_start=1e-3, beta_end=0.2)),
        capabilities=frozenset({"schedule", "perturb", "convert", "loss"}),
        weights=("uniform",),
    )
    return Library(claim, lambda process: Built(process, dtype))


def single() -> Library:
    """Return the target in float32."""
    return claimed("float32")


def double() -> Library:
    """Return the target in float64, and let JAX have 64 bits: before it makes an array, so that none has 32."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # JAX leaves it untyped
    return claimed("float64")
