"""Names of tensor shapes, broadcasting over an example, and checks of shapes and values.

| name    | shape             | is                                            |
|---------|-------------------|-----------------------------------------------|
| `Times` | `*shape`          | times of elementwise schedule mathematics     |
| `Time`  | `batch`           | one time per example: continuous t, or index k |
| `Data`  | `batch *event`    | data of any rank, one example per row         |
| `Batch` | `batch`           | one number per example                        |
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from refdiff.errors import DomainError

Times: TypeAlias = Shaped[Tensor, "*shape"]
Values: TypeAlias = Float[Tensor, "*shape"]
Time: TypeAlias = Shaped[Tensor, " batch"]
Data: TypeAlias = Float[Tensor, " batch *event"]
Batch: TypeAlias = Float[Tensor, " batch"]


def over_event(coefficient: Batch, data: Data) -> Tensor:
    """Return one coefficient per example, reshaped to multiply `data` and rounded once to its dtype.

    Args:
        coefficient: (batch,).
        data: (batch, *event).

    Returns:
        Coefficients, (batch, 1, ..., 1).

    Raises:
        DomainError: Any other shapes, including those that PyTorch would broadcast (NOT-2).
    """
    if data.ndim < 1:
        raise DomainError("NOT-2", "data of shape (batch, *event)", "shape ()")
    if coefficient.shape != data.shape[:1]:
        need = f"t of shape {tuple(data.shape[:1])} to match data of shape {tuple(data.shape)}"
        raise DomainError("NOT-2", need, f"shape {tuple(coefficient.shape)}")
    return coefficient.type(data.dtype).reshape(-1, *(1,) * (data.ndim - 1))


def weighted_sum(on_x: Tensor, x: Data, on_y: Tensor, y: Data) -> Data:
    """Return on_x x + on_y y in two passes over the data.

    Args:
        on_x: Coefficients of x, (batch, 1, ..., 1), as `over_event` returns them.
        x: (batch, *event).
        on_y: Coefficients of y, (batch, 1, ..., 1).
        y: (batch, *event); all four have one dtype.

    Returns:
        The sum, (batch, *event).
    """
    scaled = on_x * x
    # Allocating a second result may cost more than the arithmetic. Under vmap `scaled` may lack an axis of y.
    return scaled.addcmul_(on_y, y) if is_plain(scaled, on_y, y) else torch.addcmul(scaled, on_y, y)


def by_example(data: Data) -> Tensor:
    """Return the data as (batch, D), one row per example; any event shape, an empty batch too."""
    return data.flatten(1) if data.ndim > 1 else data[:, None]


def same_shape(clause: str, **data: Tensor) -> None:
    """Raise DomainError unless all of the named tensors have one shape and one dtype."""
    first, *others = data.values()
    if any(x.shape != first.shape or x.dtype != first.dtype for x in others):
        got = ", ".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in data.items())
        raise DomainError(clause, f"{' and '.join(data)} of one shape and one dtype", got)
    if not first.is_floating_point():
        raise DomainError(clause, f"a floating-point {next(iter(data))}", first.dtype)


def within(clause: str, need: str, value: Tensor, inside: Tensor, *, got: Tensor | None = None) -> Tensor:
    """Return `value` where `inside` is true; otherwise raise DomainError, or return NaN where raising is impossible.

    Values are checked only in eager CPU tensors. Under `torch.compile`, under function transforms and on
    accelerators (where reading a value would wait for the device) they are masked with NaN instead.

    Args:
        clause: The clause that states the domain.
        need: The domain in words, for the error.
        value: Any shape, floating, so that it can hold NaN.
        inside: Whether each value is in the domain, shaped as value.
        got: The tensor that the error quotes, by default `value`.

    Returns:
        Values, shaped as value.

    Raises:
        DomainError: A value that can be read is outside.
    """
    if _can_look(value):
        if not bool(inside.all()):
            raise DomainError(clause, need, (value if got is None else got)[~inside].flatten()[0].item())
        return value
    return torch.where(inside, value, torch.nan)


def between(clause: str, need: str, value: Tensor, low: float, high: float) -> Tensor:
    """Return `value` where it lies in [low, high], and otherwise do as `within`.

    Values that can be read are read once, for their least and greatest; a mask would take three passes.
    """
    if _can_look(value) and value.numel():
        least, greatest = (end.item() for end in torch.aminmax(value))
        if low <= least and greatest <= high:
            return value
    # NaN fails, as it equals nothing.
    return within(clause, need, value, value == value.clamp(low, high))


def _can_look(value: Tensor) -> bool:
    """Return whether reading an element is possible and needs no synchronisation."""
    return value.device.type == "cpu" and is_plain(value)


def is_plain(*tensors: Tensor) -> bool:
    """Return whether these are plain torch tensors in eager code, neither traced nor transformed."""
    if torch.compiler.is_compiling():
        return False
    # A subclass may be fake (no data behind it); a wrapped tensor belongs to vmap, grad or jvp.
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    for x in tensors:  # noqa: SIM110 - called at every step, and twice as fast as `all` of a generator
        if type(x) not in (Tensor, torch.nn.Parameter) or wrapped(x):
            return False
    return True
