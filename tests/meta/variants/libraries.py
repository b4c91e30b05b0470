"""Three array libraries with one interface, in float32 and float64, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, final

import jax
import jax.numpy as jnp
import numpy as np
import torch

from refdiff.conformance.interface import DType

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # of JAX
Width: TypeAlias = Literal["float32", "float64"]
SIZES = (8, 64, 512, 4096)
"""Batch sizes of compiled functions: a smaller batch is padded to the next size."""


@final
@dataclass(frozen=True)
class Library:
    """An array library in one dtype, with NumPy's function names; Python numbers take the dtype of the array."""

    name: str
    xp: Any
    dtype: DType
    into: Callable[[Any], Any]
    """Converts a NumPy array of floats or of indices to the library."""
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function
    filled: bool = False
    """Whether a batch is padded to one of SIZES."""
    events: tuple[tuple[int, ...], ...] | None = None
    """Shapes of events to claim, or None for any: each is compiled anew."""

    @property
    def claimed(self) -> dict[str, Any]:
        """Fields of the claim that the library asks for."""
        return {"dtype": self.dtype} | ({} if self.events is None else {"events": self.events})

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy dtype of arguments and results."""
        return np.dtype(self.dtype)

    def out(self, value: Any) -> Any:
        """Convert a structure of the library's arrays to NumPy arrays of the claimed dtype."""
        if isinstance(value, dict):
            return {name: self.out(x) for name, x in value.items()}
        if isinstance(value, tuple):
            return tuple(self.out(x) for x in value)
        return np.asarray(value).astype(self.storage)

    def call(self, function: Callable[..., Any], *arrays: np.ndarray[Any, Any]) -> Any:
        """Return function(xp, *arrays), evaluated in this library, with NumPy arrays as arguments and results."""
        n = len(arrays[0])
        size = next(size for size in (*SIZES, n) if size >= n) if self.filled else n
        sent = [self.into(np.concatenate([x, np.repeat(x[-1:], size - n, axis=0)])) for x in arrays]
        made = self.out(function(*sent))
        return self._first(made, n)

    def _first(self, made: Any, n: int) -> Any:
        if isinstance(made, dict):
            return {name: x[:n] for name, x in made.items()}
        return tuple(x[:n] for x in made) if isinstance(made, tuple) else made[:n]

    def bound(self, form: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
        """Return form(xp, *fixed, ...) as a function of NumPy arrays, compiled once."""
        ready = self.compiled(partial(form, self.xp, *fixed))
        return lambda *arrays: self.call(ready, *arrays)


def _tensor(value: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(value))


def _traced(backend: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda function: torch.compile(function, backend=backend, dynamic=True)


def numpy(dtype: Width = "float32") -> Library:
    """Return NumPy."""
    return Library("numpy", np, dtype, np.asarray)


def pytorch(dtype: Width = "float32", backend: str = "") -> Library:
    """Return torch, traced by `torch.compile` if a backend is named."""
    if not backend:
        return Library("torch", torch, dtype, _tensor)
    return Library(f"torch compiled ({backend})", torch, dtype, _tensor, _traced(backend), filled=True)


def jax_numpy(dtype: Width = "float32", *, jit: bool = True) -> Library:
    """Return JAX, by default compiled by XLA."""
    if not jit:
        return Library("jax", jnp, dtype, jnp.asarray, filled=True)
    return Library("jax jit", jnp, dtype, jnp.asarray, jax.jit, filled=True, events=((), (2, 3)))


NUMPY, NUMPY64 = numpy(), numpy("float64")
TORCH, TORCH64 = pytorch(), pytorch("float64")
JAX, JAX64 = jax_numpy(), jax_numpy("float64")
