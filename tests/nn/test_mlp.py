"""The perceptron: the network of examples that are no images."""

from __future__ import annotations

import pytest
import torch

from refdiff.errors import DomainError
from refdiff.nn import MLP, Layers


@pytest.mark.parametrize("event", [(2,), (3, 4), (1,)])
def test_the_shape_comes_back_and_is_zero_before_training(event: tuple[int, ...]) -> None:
    """NET-3: for any event."""
    x = torch.randn(5, *event)
    assert torch.equal(MLP(event)(x, torch.rand(5)), torch.zeros_like(x))


def test_it_sees_example_and_time() -> None:
    """NET-3: once its last layer is not 0, and knows k of a chain as k/N."""
    torch.manual_seed(0)
    net, chain = MLP((2,), Layers(width=8, depth=3)), MLP((2,), Layers(width=8, depth=3), time_scale=0.01)
    torch.nn.init.normal_(list(net.parameters())[-2])
    chain.load_state_dict(net.state_dict())
    x, t = torch.randn(4, 2), torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert not torch.equal(net(x, t), net(x, t.flip(0)))
    assert not torch.equal(net(x, t), net(x.flip(0), t))
    assert torch.equal(net(x, t), chain(x, torch.tensor([10, 20, 30, 40])))


def test_what_does_not_fit_is_refused() -> None:
    """NET-2: examples of another shape, layers of no size."""
    with pytest.raises(DomainError, match=r"^expected examples of shape \(2,\), got \(3,\).* \(NET-2\)$"):
        MLP((2,))(torch.zeros(1, 3), torch.zeros(1))
    for layers in ({"width": 0}, {"depth": 0}):
        with pytest.raises(DomainError, match=r"expected width and depth of at least 1.* \(NET-2\)$"):
            Layers(**layers)
