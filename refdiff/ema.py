"""An average of a model's weights over training, for evaluation: TRN-1 to TRN-3.

    a_0 = w_0,  a_k = a_(k-1) + (1 - d_k)(w_k - a_(k-1)),  d_k = decay, with warm-up min(decay, (1 + k)/(10 + k))

or min(decay, another function of k).

Weights that do not change stay as they are to the bit, since what is added is then 0. In the form d a + (1 - d) w,
float32 moves them by 1.7e-4 of their size at d = 0.9999, and bfloat16 never leaves the first weights.

    averaged = average_weights(model)
    averaged.update_parameters(model)      # after each step of the optimizer

Nothing here knows of diffusion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from refdiff.errors import DomainError

Kept: TypeAlias = Callable[[int], float]
WarmUp: TypeAlias = bool | Kept
"""Whether the k-th update keeps at most (1 + k)/(10 + k); or, as a function of k >= 1, what it keeps at most."""
_HALF = (torch.float16, torch.bfloat16)


def average_weights(model: nn.Module, *, decay: float = 0.9999, warm_up: WarmUp = True) -> AveragedModel:
    """Return an exponential moving average of a model's weights, updated by `update_parameters(model)` (TRN-1).

        a_0 = w_0,    a_k = a_(k-1) + (1 - d_k)(w_k - a_(k-1)),    d_k = decay_at(k)

    It starts as a copy, and its first update copies. Buffers are averaged too; integer buffers are copied. Half
    precision is averaged and evaluated in float32, as it cannot represent 1 - decay accurately. `state_dict` holds
    weights and number of updates, but not the decay. It has no gradients.

    Args:
        model: Network whose weights are averaged.
        decay: Fraction of the average that an update keeps, in [0, 1).
        warm_up: Whether the k-th update keeps at most (1 + k)/(10 + k); or a function of k that says how much, such as
            `lambda k: 1 - (1 + k) ** (-2 / 3)`, or `lambda k: k / (k + 1)` for the mean of all weights.

    Returns:
        The average, a module called as the model is.

    Raises:
        DomainError: decay is outside [0, 1).

    Example:
        >>> import refdiff, torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> averaged = refdiff.average_weights(model, decay=0.5, warm_up=False)
        >>> model.weight.data.fill_(2.0).item(), averaged.update_parameters(model)  # the first update copies
        (2.0, None)
        >>> model.weight.data.fill_(4.0).item(), averaged.update_parameters(model)
        (4.0, None)
        >>> averaged.module.weight.item()
        3.0
    """
    _checked(decay)
    kept = partial(decay_at, decay=decay, warm_up=warm_up)
    if any(tensor.dtype in _HALF for tensor in (*model.parameters(), *model.buffers())):
        # torch's update of lists requires one dtype on both sides; that of single tensors does not, but is slower.
        averaged = AveragedModel(model, use_buffers=True, avg_fn=partial(_one, kept=kept))
    else:
        averaged = AveragedModel(model, use_buffers=True, multi_avg_fn=partial(_many, kept=kept))
    return _widened(averaged).requires_grad_(requires_grad=False)


def updater(averaged: AveragedModel, model: nn.Module) -> Callable[[], None]:
    """Return a function that updates the average as `averaged.update_parameters(model)` does, to the bit, but faster.

    It looks up the tensors once, in place of at every update, so it serves a model whose tensors stay the same objects,
    as they do in a training loop.

    Args:
        averaged: Average, as `average_weights` returns it.
        model: Network whose weights are averaged.

    Returns:
        The update, to be called after each step of the optimizer.

    Example:
        >>> import refdiff, torch
        >>> from refdiff.ema import updater
        >>> model = torch.nn.Linear(1, 1)
        >>> averaged = refdiff.average_weights(model)
        >>> update = updater(averaged, model)
        >>> update(), int(averaged.n_averaged)
        (None, 1)
    """
    pair = (averaged.module, model)
    averages, weights = ([*of.parameters(), *of.buffers()] for of in pair)
    kinds = {(tensor.dtype, tensor.device) for tensor in (*averages, *weights)}
    many, counted = averaged.multi_avg_fn, averaged.n_averaged

    def update() -> None:
        if many is None or len(kinds) > 1 or counted == 0:
            averaged.update_parameters(model)
        else:
            many(averages, weights, counted)
            counted.add_(1)

    return update


def decay_at(k: int, decay: float, *, warm_up: WarmUp) -> float:
    """Return d_k, the fraction of the average kept by the update that follows k others; 0 at k = 0, which copies.

    Args:
        k: Number of updates before.
        decay: Largest fraction, in [0, 1).
        warm_up: Whether the fraction is at most (1 + k)/(10 + k), or what it is at most, as a function of k.

    Returns:
        The fraction.

    Raises:
        DomainError: k < 0, decay is outside [0, 1), or the warm-up returns a number outside [0, 1].

    Example:
        >>> from refdiff.ema import decay_at
        >>> decay_at(1, 0.9, warm_up=True), decay_at(3, 0.9, warm_up=lambda k: k / (k + 1))
        (0.18181818181818182, 0.75)
    """
    _checked(decay)
    if k < 0:
        raise DomainError("TRN-1", "k >= 0 updates", k)
    if k == 0:
        return 0.0
    if isinstance(warm_up, bool):
        return min(decay, (1.0 + k) / (10.0 + k)) if warm_up else decay
    most = warm_up(k)
    if not 0.0 <= most <= 1.0:
        raise DomainError("TRN-1", f"a warm-up in [0, 1] at update {k}", most)
    return min(decay, most)


def _checked(decay: float) -> None:
    if not 0.0 <= decay < 1.0:
        raise DomainError("TRN-1", "a decay in [0, 1)", decay)


def _many(averaged: Sequence[Tensor], current: Sequence[Tensor], k: Tensor | int, *, kept: Kept) -> None:
    """Update lists of averages of one device and dtype in place."""
    if _is_averaged(averaged[0]):
        lerp = get_ema_multi_avg_fn(kept(int(k)))  # type: ignore[no-untyped-call]  # torch leaves it without types
        lerp(list(averaged), list(current), k)
        return
    for target, source in zip(averaged, current, strict=True):
        target.copy_(source)


def _one(averaged: Tensor, current: Tensor, k: Tensor | int, *, kept: Kept) -> Tensor:
    """Return the updated average of one tensor."""
    if not _is_averaged(averaged):
        return current
    return torch.lerp(averaged, current.to(averaged.dtype), 1.0 - kept(int(k)))


def _is_averaged(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _widened(averaged: AveragedModel) -> AveragedModel:
    """Convert half precision to float32 in place; shared tensors stay shared."""
    for parameter in averaged.parameters():
        if parameter.dtype in _HALF:
            parameter.data = parameter.data.float()
    for module in averaged.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.dtype in _HALF:
                setattr(module, name, buffer.float())
    return averaged
