"""Arrays of the contract as tensors of a framework, in the claimed dtype, and back.

The contract passes bfloat16 as float32 arrays. Copies are made, as the arrays of the contract are read-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, DType
from refdiff.errors import ConfigError, DomainError

if TYPE_CHECKING:
    import torch


def to_torch(array: np.ndarray[Any, Any], dtype: DType) -> torch.Tensor:
    """Return a copy as a tensor: of the claimed dtype if the array is of floats, of its own if it is of integers.

    Example:
        >>> to_torch(np.array([1.0, 0.5], dtype=np.float32), "bfloat16")
        tensor([1.0000, 0.5000], dtype=torch.bfloat16)
    """
    import torch  # an adapter of another framework has none

    tensor = torch.from_numpy(np.array(array))
    return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor


def from_torch(tensor: torch.Tensor, dtype: DType) -> Array:
    """Return a tensor of the claimed dtype as an array of the contract. Raises DomainError if it is of another dtype.

    A library that computes in another dtype than the adapter claims is judged in that dtype, or the adapter rounds.

    Example:
        >>> import torch
        >>> from_torch(torch.ones(1, dtype=torch.bfloat16), "bfloat16").dtype
        dtype('float32')
        >>> from_torch(torch.ones(1, dtype=torch.float64), "float32")
        Traceback (most recent call last):
            ...
        refdiff.errors.DomainError: expected a tensor of float32, got float64 (CON-2)
    """
    _same(str(tensor.dtype).removeprefix("torch."), dtype)
    tensor = tensor.detach().cpu()
    return np.array((tensor.float() if dtype == "bfloat16" else tensor).numpy())


def to_jax(array: np.ndarray[Any, Any], dtype: DType) -> Any:
    """Return a copy as a JAX array, as `to_torch` does. Raises ConfigError for float64 without `jax_enable_x64`.

    Example:
        >>> to_jax(np.array([1.0, 0.5], dtype=np.float32), "float32")
        Array([1. , 0.5], dtype=float32)
    """
    import jax.numpy as jnp  # an adapter of another framework has none

    kind = np.dtype(getattr(jnp, dtype)) if np.issubdtype(array.dtype, np.floating) else array.dtype
    if kind == np.float64 and jnp.result_type(float) != kind:
        raise ConfigError("expected jax_enable_x64 for a claim of float64, got JAX with 32 bits (CON-2)")
    return jnp.array(array, dtype=kind if kind != np.int64 else None)


def from_jax(array: Any, dtype: DType) -> Array:
    """Return a JAX array of the claimed dtype as an array of the contract, as `from_torch` does.

    Example:
        >>> import jax.numpy as jnp
        >>> from_jax(jnp.ones(1, dtype=jnp.bfloat16), "bfloat16")
        array([1.], dtype=float32)
    """
    _same(str(array.dtype), dtype)
    return np.array(array).astype(FORMATS[dtype].storage)


def _same(got: str, dtype: DType) -> None:
    if got != dtype:
        raise DomainError("CON-2", f"a tensor of {dtype}", got)
