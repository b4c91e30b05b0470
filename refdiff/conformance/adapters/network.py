"""Networks for the libraries that want one: a function in a network's clothes, and weights with a given history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn


@final
class Network(nn.Module):
    """A network that answers by a function, and records what it was given: x_t as the network sees it.

    Attributes that the library reads of its networks, such as `channels`, are given by name.

    Example:
        >>> network = Network(lambda x, t: torch.zeros_like(x), channels=3)
        >>> network(torch.ones(1, 3), torch.tensor([7]))
        tensor([[0., 0., 0.]])
        >>> network.inputs, network.channels
        ([tensor([[1., 1., 1.]])], 3)
    """

    def __init__(self, answer: Callable[..., Tensor], **attributes: Any) -> None:
        """Store the function; it receives the arguments of each call."""
        super().__init__()
        self.inputs: list[Tensor] = []
        self.times: list[Any] = []
        self._answer = answer
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        """Record x and the first argument after it, and return the answer."""
        self.inputs.append(x.detach().clone())
        self.times.append(rest[0] if rest else next(iter(named.values()), None))
        return self._answer(x, *rest, **named)

    def __getattr__(self, name: str) -> Any:
        """As of any module; declared so that the attributes of a library's networks have a type."""
        return super().__getattr__(name)


def averages(
    history: Tensor, begin: Callable[[nn.Module], tuple[Callable[[], object], Callable[[], Iterable[Tensor]]]]
) -> Tensor:
    """Return the averages of weights that take the rows of `history`, (steps, p), as the contract's `ema` returns them.

    `begin(model)` starts the library's average of a model, whose only parameter is row 0, and returns two functions:
    one that is called after each step, and one that returns the averaged parameters.

    Example:
        >>> from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
        >>> def begin(model):
        ...     average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        ...     average.update_parameters(model)  # torch's first update copies the weights
        ...     return lambda: average.update_parameters(model), average.module.parameters
        >>> averages(torch.tensor([[0.0], [1.0], [1.0]]), begin)
        tensor([[0.0000],
                [0.5000],
                [0.7500]])
    """
    model = nn.ParameterList([nn.Parameter(history[0].clone())])
    update, read = begin(model)
    rows = [_only(read())]
    for row in history[1:]:
        with torch.no_grad():
            model[0].copy_(row)
        update()
        rows.append(_only(read()))
    return torch.stack(rows)


def _only(parameters: Iterable[Tensor]) -> Tensor:
    (parameter,) = parameters
    return parameter.detach().clone()
