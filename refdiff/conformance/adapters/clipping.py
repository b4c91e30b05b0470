"""Clipping switched off, in a library that offers no option for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CLAMPS = {torch.clamp, torch.clip, torch.clamp_, torch.clip_, Tensor.clamp, Tensor.clip, Tensor.clamp_, Tensor.clip_}


@contextmanager
def unclipped(bound: float = 1.0) -> Iterator[None]:
    """Let torch's clamp from -bound to bound do nothing, which clips predictions of x_0 to the range of the data.

    Other clamps, such as those of variances from below, stay: they are part of what is judged. Use the library's own
    option where it has one, such as `clip_sample=False`.

    Example:
        >>> with unclipped():
        ...     torch.tensor([2.0]).clamp(-1.0, 1.0), torch.tensor([2.0]).clamp(max=0.999)
        (tensor([2.]), tensor([0.9990]))
    """
    with _Unclipped(bound):
        yield


@final
class _Unclipped(TorchFunctionMode):
    """Leaves out the clamps to one range."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self._bound = bound

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _CLAMPS:
            tensor, *ends = args
            low, high = (ends[i] if i < len(ends) else options.get(name) for i, name in enumerate(("min", "max")))
            numbers = isinstance(low, (int, float)) and isinstance(high, (int, float))
            if numbers and (low, high) == (-self._bound, self._bound):
                return tensor
        return func(*args, **options)
