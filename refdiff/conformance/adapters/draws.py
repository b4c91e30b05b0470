"""Replay of a library's own draws: noise and times that it draws inside a call become arguments.

`torch.overrides.TorchFunctionMode` sees every call of torch, under whatever name a module imported it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, cast, final

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from refdiff.errors import DomainError

Law: TypeAlias = Literal["normal", "uniform", "integers"]

_LIKE: Mapping[Any, Law] = {torch.randn_like: "normal", torch.rand_like: "uniform", torch.randint_like: "integers"}
_SIZED: Mapping[Any, Law] = {torch.randn: "normal", torch.rand: "uniform", torch.randint: "integers"}
_FILLING: Mapping[Any, Law] = {Tensor.normal_: "normal", Tensor.uniform_: "uniform", Tensor.random_: "integers"}
_OTHER = {torch.randperm, torch.multinomial, torch.bernoulli, torch.poisson, Tensor.bernoulli_, Tensor.exponential_}


@contextmanager
def replay(
    *, normal: Iterable[Tensor] = (), uniform: Iterable[Tensor] = (), integers: Iterable[Tensor] = ()
) -> Iterator[None]:
    """Give a library these tensors, in this order, in place of those that it draws.

    `normal` answers randn, randn_like, normal and normal_; `uniform` rand, rand_like and uniform_; `integers` randint,
    randint_like and random_. A draw is given once, in the dtype that is asked for. A mean, a deviation, or ends are
    applied to the standard draw; an integer must be within the range.

    Raises DomainError if the library asks for more draws than were given, for another shape, or for another kind of
    draw; and at the end, if it asked for fewer.

    Example:
        >>> with replay(normal=[torch.tensor([1.0, 2.0])]):
        ...     torch.randn(2)
        tensor([1., 2.])
        >>> with replay(normal=[torch.zeros(2)]):
        ...     pass
        Traceback (most recent call last):
            ...
        refdiff.errors.DomainError: expected each draw to be asked for, got 1 normal left (CON-4)
    """
    mode = _Replay({"normal": deque(normal), "uniform": deque(uniform), "integers": deque(integers)})
    with mode:
        yield
    if left := ", ".join(f"{len(draws)} {law}" for law, draws in mode.draws.items() if draws):
        raise DomainError("CON-4", "each draw to be asked for", f"{left} left")


@final
class _Replay(TorchFunctionMode):
    """Answers torch's functions that draw from the given draws, and lets the others through."""

    def __init__(self, draws: Mapping[Law, deque[Tensor]]) -> None:
        super().__init__()
        self.draws = draws

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _LIKE:
            like = args[0]
            ends = _ends(args[1:], options) if func is torch.randint_like else None
            return self._next(_LIKE[func], like.shape, options.get("dtype") or like.dtype, ends)
        if func in _SIZED:
            return self._sized(func, args, options)
        if func in _FILLING:
            return self._filled(func, args, options)
        if func is torch.normal:
            return self._normal(args, options)
        if func in _OTHER:
            raise DomainError("CON-4", "draws of normal, uniform or integers", f"a call of {func.__name__}")
        return func(*args, **options)

    def _sized(self, func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        law, ends, default = _SIZED[func], None, torch.get_default_dtype()
        if law == "integers":
            default = torch.int64
            numbers = [end for end in args if not isinstance(end, (tuple, list))]
            ends = _ends(numbers, options)
            args = tuple(size for size in args if isinstance(size, (tuple, list)))
        size = options.get("size", args[0] if args and not isinstance(args[0], int) else args)
        return self._next(law, torch.Size(size), options.get("dtype") or default, ends)

    def _filled(self, func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        tensor, law = args[0], _FILLING[func]
        if law == "integers":
            draw = self._next(law, tensor.shape, tensor.dtype, _ends(args[1:], options))
            return cast("Tensor", tensor.copy_(draw))
        names = ("mean", "std") if law == "normal" else ("from", "to")
        given = dict(zip(names, args[1:], strict=False)) | options
        first, second = given.get(names[0], 0.0), given.get(names[1], 1.0)
        draw = self._next(law, tensor.shape, tensor.dtype, None)
        return cast("Tensor", tensor.copy_(first + (second if law == "normal" else second - first) * draw))

    def _normal(self, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        given = dict(zip(("mean", "std", "size"), args, strict=False)) | options
        mean, std = given.get("mean", 0.0), given.get("std", 1.0)
        tensors = [value for value in (mean, std) if isinstance(value, Tensor)]
        size = given.get("size") or np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors))
        kind = given.get("dtype") or (tensors[0].dtype if tensors else torch.get_default_dtype())
        return cast("Tensor", mean + std * self._next("normal", torch.Size(size), kind, None))

    def _next(self, law: Law, shape: torch.Size, dtype: torch.dtype, ends: tuple[int, int] | None) -> Tensor:
        if not self.draws[law]:
            raise DomainError("CON-4", f"no further draw of {law}", f"one of shape {tuple(shape)}")
        draw = self.draws[law].popleft()
        if draw.shape != shape:
            raise DomainError("CON-4", f"a draw of shape {tuple(draw.shape)}", f"one of shape {tuple(shape)}")
        if ends is not None and draw.numel() and not (ends[0] <= int(draw.min()) and int(draw.max()) < ends[1]):
            raise DomainError("CON-4", f"integers in [{ends[0]}, {ends[1]})", draw.tolist())
        return draw.to(dtype, copy=True)


def _ends(numbers: Any, options: Mapping[str, Any]) -> tuple[int, int]:
    """Return the ends of torch.randint(high), (low, high), or of `low` and `high` by name."""
    named = [*numbers, *(options[name] for name in ("low", "from", "high", "to") if name in options)]
    if not named:
        raise DomainError("CON-4", "a range of integers", "none")
    low, high = ([0, *named] if len(named) == 1 else named)[:2]
    return int(low), int(high)
