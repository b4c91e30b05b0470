"""refdiff.nn.unet: shapes, gradients, attention, and what a U-Net may depend on."""

from __future__ import annotations

import re
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn import Architecture, UNet
from refdiff.nn.unet import _Attention, _Block

SMALL = Architecture(width=8, multipliers=(1, 2), attention=(1, 2), heads=2, groups=4)


def perturbed(net: UNet, seed: int = 0) -> UNet:
    """Return the network with noise on every parameter: some begin at 0."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=drawn, dtype=torch.float64).to(value.dtype))
    return net


def images(n: int, channels: int = 1, height: int = 8, width: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return noise."""
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, height, width, generator=drawn, dtype=torch.float64).to(dtype)


@settings(max_examples=20)
@given(
    levels=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    blocks=st.integers(1, 2),
    channels=st.integers(1, 4),
    sides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    data=st.data(),
)
def test_the_shape_comes_back_and_is_zero_before_training(
    levels: list[int], blocks: int, channels: int, sides: tuple[int, int], data: st.DataObject
) -> None:
    """NET-3: whatever the architecture, the prediction is 0 in the shape of x; perturbed, it is not."""
    attention = data.draw(st.sets(st.integers(0, len(levels))))
    plan = Architecture(width=4, multipliers=tuple(levels), blocks=blocks, attention=tuple(attention), groups=2)
    net = UNet(channels, plan)
    x = images(2, channels, *(side * 2 ** len(levels) for side in sides))
    t = torch.tensor([0.1, 0.9])
    assert torch.equal(net(x, t), torch.zeros_like(x))
    moved = perturbed(net)(x, t)
    assert moved.shape == x.shape
    assert bool((moved != 0.0).any())


def test_every_parameter_has_a_part() -> None:
    """NET-3: every parameter gets a gradient before training, and one that is not 0 once layers have left 0."""
    net = UNet(2, Architecture(width=8, multipliers=(1, 2), blocks=2, attention=(0, 1, 2), heads=2, groups=4))
    x, t = images(4, 2), torch.tensor([0.2, 0.4, 0.6, 0.8])
    net(x, t).square().sum().backward()
    assert all(value.grad is not None for value in net.parameters())
    net.zero_grad()
    perturbed(net)(x, t).square().sum().backward()
    idle = [name for name, value in net.named_parameters() if value.grad is None or not bool(value.grad.any())]
    assert idle == []


@pytest.mark.parametrize("attention", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("descent", [torch.optim.SGD, torch.optim.Adam])
def test_a_fresh_network_wakes_in_three_steps(attention: tuple[int, ...], descent: type[torch.optim.Optimizer]) -> None:
    """NET-3: the gradient is not 0 for the last layer at step 1; the rest but the inside of branches at 2; all at 3.

    The inside of a branch is what stands before its last layer: a block's first half and its time, an attention's
    norm and questions; and the layers that embed the time, which feed branches alone.
    """
    plan = Architecture(width=16, multipliers=(1, 2), attention=attention)
    torch.manual_seed(0)
    net = UNet(1, plan)
    stepped = descent(net.parameters(), lr=1e-2)  # type: ignore[call-arg]  # of any optimizer
    x, t = images(8), torch.linspace(0.1, 0.9, 8)
    wanted = images(16)[8:]
    for step in range(1, 5):
        stepped.zero_grad()
        (net(x, t) - wanted).square().sum().backward()
        idle = {name for name, value in net.named_parameters() if value.grad is None or not bool(value.grad.any())}
        every = {name for name, _ in net.named_parameters()}
        inside = {
            name for name in every if name.startswith("time.") or re.search(r"\.(first|time|ask)\.|\.\d\.norm\.", name)
        }
        last = {"leave.2.weight", "leave.2.bias"}
        assert idle == {1: every - last, 2: inside}.get(step, set())
        stepped.step()
    if attention == (1,):
        assert (len(every), len(every - last), len(inside)) == (76, 74, 50)


def test_blocks_and_attentions_begin_as_their_skip() -> None:
    """NET-3: each adds 0 before training, whatever it sees."""
    block, attention = _Block(8, 8, 16, SMALL), _Attention(8, SMALL)
    x = images(2, 8)
    assert torch.equal(block(x, torch.ones(2, 16)), x)
    assert torch.equal(attention(x), x)


def test_time_matters_to_each_image_alone() -> None:
    """NET-1: another t changes the prediction of its image and of no other."""
    net, x = perturbed(UNet(1, SMALL)).double(), images(3, dtype=torch.float64)
    one, other = net(x, torch.tensor([0.2, 0.4, 0.6])), net(x, torch.tensor([0.2, 0.41, 0.6]))
    moved = (one - other).flatten(1).norm(dim=1)
    assert moved[1] > 1e-3
    assert moved[0] <= 1e-12
    assert moved[2] <= 1e-12


def test_each_block_sees_the_time() -> None:
    """NET-1: with the time of all other blocks taken off, any block alone still passes it on."""
    for place in range(5):
        net = perturbed(UNet(1, SMALL)).double()
        blocks = [part for name, part in net.named_modules() if name.endswith(".time") and name != "time"]
        assert len(blocks) == 5
        for i, part in enumerate(blocks):
            if i != place:
                for value in part.parameters():
                    nn.init.zeros_(value)
        x = images(1, dtype=torch.float64)
        assert not torch.allclose(net(x, torch.tensor([0.2])), net(x, torch.tensor([0.7])), atol=1e-6)


@given(st.permutations(range(4)))
def test_images_do_not_see_each_other(order: list[int]) -> None:
    """NET-3: to permute the batch is to permute the predictions."""
    net, x, t = perturbed(UNet(1, SMALL)).double(), images(4, dtype=torch.float64), torch.linspace(0.1, 0.9, 4)
    assert torch.allclose(net(x, t)[order], net(x[order], t[order]), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(("width", "heads", "sides"), [(8, 2, (3, 5)), (4, 1, (2, 2)), (12, 4, (4, 1))])
def test_attention_is_softmax_of_scaled_products(width: int, heads: int, sides: tuple[int, int]) -> None:
    """NET-3: x + W softmax(q k / sqrt(d)) v, over the places read from, head by head; in NumPy, place by place."""
    layer = _Attention(width, Architecture(width=width, groups=2, heads=heads)).double()
    drawn = torch.Generator().manual_seed(2)
    for value in layer.parameters():
        value.data = torch.randn(value.shape, generator=drawn, dtype=torch.float64)
    x = images(2, width, *sides, dtype=torch.float64)
    got = layer(x).detach().numpy()
    normed = layer.norm(x).detach().numpy().reshape(2, width, -1)
    asked = np.einsum("oc,bcp->bop", layer.ask.weight.detach().numpy()[:, :, 0, 0], normed)
    query, key, value_ = np.split(asked, 3, axis=1)
    d = width // heads
    read = np.zeros_like(normed)
    for b in range(2):
        for head in range(heads):
            rows = slice(head * d, (head + 1) * d)
            for p in range(normed.shape[2]):
                score = np.array([query[b, rows, p] @ key[b, rows, r] for r in range(normed.shape[2])]) / sqrt(d)
                share = np.exp(score - score.max())
                read[b, rows, p] = value_[b, rows] @ (share / share.sum())
    assert layer.answer.bias is not None
    out = np.einsum("oc,bcp->bop", layer.answer.weight.detach().numpy()[:, :, 0, 0], read)
    wanted = x.numpy() + (out + layer.answer.bias.detach().numpy()[None, :, None]).reshape(x.shape)
    assert np.allclose(got, wanted, rtol=0.0, atol=1e-11)


def test_dropout_is_of_training_alone() -> None:
    """NET-3: in evaluation two passes agree to the bit, in training they differ."""
    net, x, t = perturbed(UNet(1, Architecture(width=8, multipliers=(1,), dropout=0.5))), images(2), torch.rand(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_precisions() -> None:
    """NET-3: float64 stays float64; float32 is within rounding of it; bfloat16 autocast within a hundredth or so."""
    net, x, t = perturbed(UNet(1, SMALL)), images(4), torch.tensor([0.125, 0.25, 0.5, 0.75])
    single = net(x, t).detach()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x, t).detach()
    double = net.double()(x.double(), t.double()).detach()
    assert double.dtype == torch.float64
    # A dozen layers of sums of 100 terms: 1000 u of the largest, in either precision.
    largest = float(double.abs().max())
    assert float((single.double() - double).abs().max()) <= 1000 * 2.0**-24 * largest
    assert float((half.double() - double).abs().max()) <= 16 * 2.0**-8 * largest


@pytest.mark.parametrize("shape", [(2, 1, 6, 8), (2, 1, 8, 6), (2, 3, 8, 8), (2, 8, 8), (2, 1, 0, 8), (2, 1, 8, 8, 1)])
def test_images_it_cannot_halve_are_refused(shape: tuple[int, ...]) -> None:
    """NET-2: one sentence that says by what sides must be divisible."""
    need = r"^expected images \(batch, 1, height, width\) with sides divisible by 4, got \([0-9, ]+\) \(NET-2\)$"
    with pytest.raises(DomainError, match=need):
        UNet(1, SMALL)(torch.zeros(shape), torch.zeros(2))


@pytest.mark.parametrize("shape", [(1,), (3,), (), (2, 1)])
def test_one_time_per_image(shape: tuple[int, ...], unhooked: None) -> None:
    """NET-2: a single time is not broadcast over a batch."""
    with pytest.raises(DomainError, match=r"^expected t of shape \(2,\) to match images.* \(NET-2\)$"):
        UNet(1, SMALL)(images(2), torch.zeros(shape))


def test_no_image_is_refused() -> None:
    """NET-2: 0 channels."""
    with pytest.raises(DomainError, match=r"^expected images of at least 1 channel, got 0 \(NET-2\)$"):
        UNet(0)


@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 0}, {"multipliers": ()}, {"multipliers": (1, 0)}, {"blocks": 0}, {"groups": 0}, {"groups": -8},
        {"width": 12}, {"attention": (4,)}, {"attention": (-1,)}, {"attention": (0,), "heads": 3},
        {"attention": (0,), "heads": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": float("nan")},
    ],
)  # fmt: skip
def test_sizes_that_no_network_has_are_refused(sizes: dict[str, object]) -> None:
    """NET-2: in one sentence, and never by a division by 0."""
    with pytest.raises(DomainError, match=r"^expected .*, got .* \(NET-2\)$"):
        Architecture(**sizes)  # type: ignore[arg-type]  # sizes of any type are what is tested


def test_compiled_it_is_the_same(unhooked: None) -> None:
    """NET-3: torch.compile takes the whole network, and its prediction is the same within rounding."""
    torch.compiler.reset()
    net, x, t = perturbed(UNet(1, SMALL)), images(2), torch.tensor([0.25, 0.75])
    wanted = net(x, t).detach()
    got = torch.compile(net, fullgraph=True, backend="aot_eager")(x, t).detach()
    assert float((got - wanted).abs().max()) <= 1000 * 2.0**-24 * float(wanted.abs().max())
