"""Arrays of a claim of float32 as torch's tensors, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from refdiff.conformance.adapters import from_torch, to_torch
from refdiff.conformance.interface import Array, Times


def tensor(values: np.ndarray[Any, Any]) -> Tensor:
    """Return a float32 tensor."""
    return to_torch(values, "float32")


def array(values: Tensor) -> Array:
    """Return an array of the contract. Raises DomainError unless the tensor is of float32."""
    return from_torch(values, "float32")


def index(k: Times) -> Tensor:
    """Return the timesteps of a library that counts from 0."""
    return torch.from_numpy(k - 1)
