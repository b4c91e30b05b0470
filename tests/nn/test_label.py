"""refdiff.nn.label: what a label changes, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn import MLP, Architecture, UNet

SMALL = Architecture(width=8, multipliers=(1, 2), groups=4)
EVENTS = {"unet": (1, 8, 8), "mlp": (2,)}
BUILD: dict[str, Callable[..., nn.Module]] = {
    "unet": lambda **more: UNet(1, SMALL, **more),
    "mlp": lambda **more: MLP((2,), **more),
}
each = pytest.mark.parametrize("kind", sorted(BUILD))


def made(kind: str, **more: Any) -> nn.Module:
    """Return a network whose first weights are those of seed 0, moved from 0 in the order of their names."""
    torch.manual_seed(0)
    net, drawn = BUILD[kind](**more), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if not name.startswith("label."):
                value.add_(0.1 * torch.randn(value.shape, generator=drawn))
    return net


def inputs(kind: str) -> tuple[Tensor, Tensor]:
    """Return four examples and their times."""
    drawn = torch.Generator().manual_seed(2)
    return torch.randn(4, *EVENTS[kind], generator=drawn), torch.tensor([0.2, 0.4, 0.6, 0.8])


@each
def test_classes_change_no_other_weight(kind: str) -> None:
    """NET-4: the same seed gives the same weights with classes and without, and before training the same output."""
    plain, labelled = made(kind), made(kind, classes=3)
    weights = labelled.state_dict()
    rows = weights.pop("label.rows.weight")
    assert plain.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    assert (len(rows), bool(rows.any())) == (4, False)
    x, t = inputs(kind)
    assert torch.equal(labelled(x, t, torch.tensor([0, 1, 2, 3])), plain(x, t))


@each
def test_label_matters_to_its_example_alone(kind: str) -> None:
    """NET-4: each row, that of the null label too, changes the prediction of its own example and of no other."""
    net = made(kind, classes=3)
    nn.init.normal_(net.state_dict()["label.rows.weight"], generator=torch.Generator().manual_seed(3))
    x, t = inputs(kind)
    seen = [net(x, t, torch.tensor([0, own, 2, 3])) for own in range(4)]
    for other in seen[1:]:
        assert bool((other[1] != seen[0][1]).any())
        torch.testing.assert_close(other[[0, 2, 3]], seen[0][[0, 2, 3]])


@each
def test_rows_get_gradients(kind: str) -> None:
    """NET-4: the rows of the labels in a batch get a gradient, and those of no other label."""
    net = made(kind, classes=4)
    x, t = inputs(kind)
    net(x, t, torch.tensor([0, 2, 4, 4])).square().sum().backward()
    gradient = dict(net.named_parameters())["label.rows.weight"].grad
    assert gradient is not None
    assert gradient.any(1).tolist() == [True, False, True, False, True]


@each
@pytest.mark.parametrize(
    ("classes", "label", "sentence"),
    [
        (0, torch.zeros(4, dtype=torch.int64), r"expected no label for a network without classes, got .*"),
        (3, None, r"expected labels of shape \(4,\), int64, for a network with 3 classes, got none"),
        (3, torch.zeros(2, dtype=torch.int64), r"expected labels of shape \(4,\), int64.*, got torch.int64 \(2,\)"),
        (3, torch.zeros(4), r"expected labels of shape \(4,\), int64.*, got torch.float32 \(4,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(kind: str, classes: int, label: Tensor | None, sentence: str) -> None:
    """NET-4: in one sentence, before any layer sees them."""
    with pytest.raises(DomainError, match=rf"^{sentence} \(NET-4\)$"):
        made(kind, classes=classes)(*inputs(kind), label)


@each
def test_negative_number_of_classes_is_refused(kind: str) -> None:
    """NET-4: 0 is a network without labels."""
    with pytest.raises(DomainError, match=r"^expected at least 1 class, got -1 \(NET-4\)$"):
        BUILD[kind](classes=-1)
