"""Shapes: events as images and back, one number per example beside an event, one example at a time.

Every function takes NumPy arrays and torch tensors, and returns what it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from refdiff.errors import DomainError

A = TypeVar("A", bound=Any)


def to_images(array: A) -> A:
    """Return (batch, *event) as (batch, C, H, W): an event of rank 3 as it is, another as (1, 1, size) or (1, H, W).

    Example:
        >>> [to_images(np.zeros(shape)).shape for shape in [(5,), (5, 2), (5, 4, 6), (5, 3, 8, 8), (5, 2, 3, 4, 5)]]
        [(5, 1, 1, 1), (5, 1, 1, 2), (5, 1, 4, 6), (5, 3, 8, 8), (5, 2, 3, 20)]
    """
    batch, *event = array.shape
    match event:
        case [] | [_]:
            image = [1, 1, math.prod(event)]
        case [_, _]:
            image = [1, *event]
        case _:
            image = [*event[:2], math.prod(event[2:])]
    return cast("A", array.reshape(batch, *image))


def from_images(images: A, event: Sequence[int]) -> A:
    """Return (batch, C, H, W) as (batch, *event), the inverse of `to_images`. Raises DomainError for another size.

    Example:
        >>> x = np.arange(10.0).reshape(5, 2)
        >>> bool((from_images(to_images(x), x.shape[1:]) == x).all())
        True
    """
    if math.prod(images.shape[1:]) != math.prod(event):
        raise DomainError("CON-2", f"images of {math.prod(event)} numbers an example", tuple(images.shape))
    return cast("A", images.reshape(images.shape[0], *event))


def per_example(coefficient: A, like: Any) -> A:
    """Return a coefficient of shape (batch,) as (batch, 1, ..., 1), of the rank of `like`, so that it multiplies it.

    Example:
        >>> per_example(np.array([2.0, 3.0]), np.ones((2, 4, 4))).shape
        (2, 1, 1)
        >>> per_example(np.ones(2), np.ones((5, 2)))
        Traceback (most recent call last):
            ...
        refdiff.errors.DomainError: expected a coefficient of shape (5,), got (2,) (NOT-2)
    """
    if tuple(coefficient.shape) != tuple(like.shape[:1]):
        raise DomainError("NOT-2", f"a coefficient of shape {tuple(like.shape[:1])}", tuple(coefficient.shape))
    return cast("A", coefficient.reshape(-1, *(1 for _ in like.shape[1:])))


def one_by_one(call: Callable[..., Any], *batches: Any) -> Any:
    """Return the results of `call` for each example in turn, joined along the batch axis.

    Batches of shape (batch,) are times: the call gets an int for an integer, and one number without axes for a float.
    The other batches are given as batches of one, which is the shape of the result, or a tuple of such.

    Example:
        >>> def add_noise(x_0, eps, timestep):  # as in a library that takes one int for the whole batch
        ...     return x_0 + timestep * eps
        >>> one_by_one(add_noise, np.ones((2, 3)), np.ones((2, 3)), np.array([0, 9]))
        array([[ 1.,  1.,  1.],
               [10., 10., 10.]])
    """
    if len({len(batch) for batch in batches}) != 1 or len(batches[0]) == 0:
        sizes = ", ".join(str(len(batch)) for batch in batches)
        raise DomainError("CON-2", "batches of one size, from 1", f"sizes {sizes}")
    results = [call(*(_example(batch, i) for batch in batches)) for i in range(len(batches[0]))]
    if isinstance(results[0], tuple):
        return tuple(_joined(parts) for parts in zip(*results, strict=True))
    return _joined(results)


def _example(batch: Any, i: int) -> Any:
    if batch.ndim > 1:
        return batch[i : i + 1]
    integer = "int" in str(batch.dtype)
    return int(batch[i]) if integer else batch[i]


def _joined(results: Sequence[Any]) -> Any:
    if isinstance(results[0], np.ndarray):
        return np.concatenate(results)
    import torch  # only where the results are torch's

    return torch.cat(list(results))
