"""Elementary functions without cancellation, and derivatives that autograd gets wrong.

Each function states its formula, domain and error, and has a correct derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from refdiff.tensors import is_plain

Formula: TypeAlias = Callable[..., Tensor]


def expm1(x: Tensor) -> Tensor:
    """Return exp(x) - 1 without cancellation, in compiled code too.

    The vectorised C++ of torch.compile evaluates exp(x) - 1 literally, which cancels near x = 0 (torch 2.13: relative
    error 8e-8 at x = -1e-11 in float64). Kahan's (u - 1) x / log(u), u = exp(x), has a relative error of a few ulp: the
    errors of u - 1 and of log(u) cancel.

    Args:
        x: Any shape, floating.

    Returns:
        Values, shaped as x.
    """
    if not torch.compiler.is_compiling():
        return torch.expm1(x)
    power = torch.exp(x)
    gone = power - 1.0 == -1.0
    inside = torch.where(gone | (power == 1.0), 2.0, power)
    return torch.where(gone, -1.0, torch.where(power == 1.0, x, (inside - 1.0) * x / torch.log(inside)))


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 - exp(x)) for x <= 0, with a relative error of at most 4 u (NUM-3).

    log(-expm1(x)) loses digits where exp(x) is small, log1p(-exp(x)) where it is near 1, and they meet at x = -log 2.

    Args:
        x: Any shape, floating.

    Returns:
        Values, shaped as x: -inf at 0, 0 at -inf, NaN for x > 0.
    """
    near_zero = x > -log(2.0)
    # Each branch gets only arguments of its own domain; otherwise `where` passes 0 * inf = NaN to the gradient.
    near = torch.log(-expm1(torch.where(near_zero, x, -log(2.0))))
    far = torch.log1p(-torch.exp(torch.where(near_zero, -log(2.0), x)))
    return torch.where(torch.isnan(x), x, torch.where(near_zero, near, far))


def veltkamp_split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return head and rest of at most 26 bits each, with x = head + rest: Veltkamp's splitting (Dekker 1971).

    The product of either with an integer below 2^26 is exact.

    Args:
        x: Any shape, float64, below 2^996 in size.

    Returns:
        Head and rest, shaped as x.
    """
    spread = x * (2.0**27 + 1.0)
    head = spread - (spread - x)
    return head, x - head


def with_slopes(value: Formula, slopes: tuple[Formula, ...], *times: Tensor) -> Tensor:
    """Return value(*times) with derivative slopes[i](*times) in the i-th time (NUM-4).

    The chain rule multiplies inf by 0 where a square root or a logarithm reaches the end of its domain, and gives
    NaN for d sigma/dt at t = 0 or d alpha/dt at t = 1 (cosine). With an explicit formula the slope is the one-sided
    limit, possibly infinite, never NaN. Supports reverse and forward mode, `vmap` and `torch.compile`.

    Args:
        value: Formula of the times.
        slopes: Its partial derivatives, one for each time.
        *times: Arguments, of one shape.

    Returns:
        Values, shaped as the times.
    """
    if not has_slopes(*times):
        return value(*times)
    # Dynamo cannot trace a Function that has a jvp; only eager code can ask for forward mode.
    rule = _Sloped if torch.compiler.is_compiling() else _SlopedBothModes
    # Stacked, because dynamo counts the parameters of `forward` to detect a ctx, and `*times` misleads it.
    result: Tensor = rule.apply(value, slopes, torch.stack(times))  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return result


def has_slopes(*times: Tensor) -> bool:
    """Return whether a derivative in one of these times may be asked for: one is recorded, traced or transformed."""
    return not is_plain(*times) or any(_differentiated(t) for t in times)


def _differentiated(t: Tensor) -> bool:
    recorded = t.requires_grad and torch.is_grad_enabled()
    return recorded or unpack_dual(t).tangent is not None  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _times(slope: Tensor, gradient: Tensor) -> Tensor:
    # An unused path has gradient 0; 0 * inf = NaN would spoil the sum over paths.
    return torch.where(gradient == 0, 0.0, gradient * slope)


class _Sloped(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Formula, slopes: tuple[Formula, ...], times: Tensor) -> Tensor:
        return value(*times.unbind())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.slopes, times = inputs
        ctx.save_for_backward(times)
        ctx.save_for_forward(times)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        (gradient,), (times,) = gradients, ctx.saved_tensors
        return None, None, torch.stack([_times(slope(*times.unbind()), gradient) for slope in ctx.slopes])


class _SlopedBothModes(_Sloped):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (times,), (_, _, moved) = ctx.saved_tensors, tangents
        parts = [_times(slope(*times.unbind()), by) for slope, by in zip(ctx.slopes, moved.unbind(), strict=True)]
        return torch.stack(parts).sum(0)
