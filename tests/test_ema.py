"""refdiff.ema: what an average of weights keeps, moves, copies and saves."""

from __future__ import annotations

import io
import pickle
from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from refdiff.ema import average_weights, decay_at, updater
from refdiff.errors import DomainError

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
decays = st.floats(0.0, 1.0, exclude_max=True)


class Weights(nn.Module):
    """Weights, a float buffer, a count and a flag."""

    running: Tensor
    count: Tensor
    flag: Tensor

    def __init__(self, values: list[float], dtype: torch.dtype = torch.float32) -> None:
        """Start at these values."""
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(values, dtype=dtype))
        self.register_buffer("running", torch.tensor(values, dtype=dtype))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("flag", torch.tensor(data=False))

    def put(self, values: Tensor, count: int = 0) -> Weights:
        """Take other values, in place."""
        with torch.no_grad():
            self.weight.copy_(values)
            self.running.copy_(values)
            self.count.fill_(count)
            self.flag.fill_(count > 0)
        return self


def inside(averaged: AveragedModel) -> Any:
    """Return the averaged copy of the model."""
    return averaged.module


def saved(module: nn.Module) -> dict[str, Tensor]:
    """Return the state, after a trip through a file."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    state: dict[str, Tensor] = torch.load(file, weights_only=True)
    return state


@given(
    values=st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=1, max_size=40),
    decay=decays,
    warm_up=st.booleans(),
)
def test_constant_weights_stay_to_the_bit(values: list[float], decay: float, *, warm_up: bool) -> None:
    """TRN-2: for any float32 weights and any decay, warm-up or not; -0 stays 0 in value."""
    model = Weights(values)
    averaged = average_weights(model, decay=decay, warm_up=warm_up)
    for _ in range(30):
        averaged.update_parameters(model)
    assert torch.equal(inside(averaged).weight, model.weight)
    assert torch.equal(inside(averaged).running, model.running)


def test_the_form_with_two_products_drifts() -> None:
    """TRN-2: mul_(d).add_(w, alpha=1 - d), a common form, moves constant float32 weights; ours does not."""
    weight = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    drifting = weight.clone()
    for _ in range(2_000):
        drifting.mul_(0.9999).add_(weight, alpha=1 - 0.9999)
    assert float(((drifting - weight) / weight).abs().max()) > 1.6e-4
    model = Weights(weight.tolist())
    averaged = average_weights(model)
    for _ in range(2_000):
        averaged.update_parameters(model)
    assert torch.equal(inside(averaged).weight, weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_average_moves_in_every_dtype(dtype: torch.dtype) -> None:
    """TRN-3: 1000 updates from 0 to 1 leave 1 - d^1000 = 0.095, to as many roundings of it; in bfloat16, none moves."""
    model = Weights([0.0, 0.0], dtype)
    averaged = average_weights(model, decay=0.9999, warm_up=False)
    averaged.update_parameters(model)
    model.put(torch.ones(2))
    for _ in range(1000):
        averaged.update_parameters(model)
    held = torch.float64 if dtype == torch.float64 else torch.float32
    for found in (inside(averaged).weight, inside(averaged).running):
        assert found.dtype == held
        # A step rounds a sum below 0.0952 by u, and 1 - d and what it multiplies, 1e-4 at most, by 4u.
        assert (found - (1 - 0.9999**1000)).abs().max().item() <= 1000 * torch.finfo(held).eps / 2 * 0.1
    stuck = torch.zeros(2, dtype=torch.bfloat16).fill_(0.5)
    assert torch.equal(stuck.clone().mul_(0.9999).add_(torch.ones_like(stuck), alpha=1e-4), stuck)


@given(
    history=st.lists(st.floats(-4.0, 4.0, width=32), min_size=1, max_size=20),
    decay=st.floats(0.0, 0.9999),
    warm_up=st.booleans(),
)
def test_average_follows_its_recursion(history: list[float], decay: float, *, warm_up: bool) -> None:
    """TRN-1: a_k = d_k a_(k-1) + (1 - d_k) w_k over the rationals, within 4 roundings a step of what is at most 4."""
    model = Weights([0.0], torch.float64)
    averaged = average_weights(model, decay=decay, warm_up=warm_up)
    want = Fraction(0)
    for k, value in enumerate(history):
        kept = Fraction(decay_at(k, decay, warm_up=warm_up))
        want = kept * want + (1 - kept) * Fraction(value)
        averaged.update_parameters(model.put(torch.tensor([value])))
        assert abs(inside(averaged).weight.item() - float(want)) <= 4 * 4.0 * 2.0**-53 * (k + 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [True, False])
def test_updater_updates_as_the_average_does(dtype: torch.dtype, *, whole: bool) -> None:
    """TRN-1: to the bit, in every dtype, with whole numbers beside or not, and after a state is loaded."""
    generator = torch.Generator().manual_seed(0)
    model: nn.Module = Weights([1.0, 2.0], dtype) if whole else nn.Linear(2, 1, dtype=dtype)
    slow, fast = (average_weights(model, decay=0.9) for _ in range(2))
    update = updater(fast, model)
    for step in range(12):
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = torch.randn(tensor.shape, generator=generator).mul(9).to(tensor.dtype)
        if step == 6:
            fast.load_state_dict(slow.state_dict())
        slow.update_parameters(model)
        update()
        for name, wanted in slow.state_dict().items():
            assert torch.equal(fast.state_dict()[name], wanted)


def test_updater_serves_a_batch_norm() -> None:
    """TRN-1: to the bit, where the only numbers beside the weights are a count."""
    model = nn.BatchNorm1d(2)
    slow, fast = (average_weights(model, decay=0.9) for _ in range(2))
    update = updater(fast, model)
    for step in range(1, 4):
        model(torch.full((3, 2), float(step)) * torch.tensor([[1.0], [2.0], [5.0]]))
        slow.update_parameters(model)
        update()
    for name, wanted in slow.state_dict().items():
        assert torch.equal(fast.state_dict()[name], wanted)


def test_updater_looks_up_no_tensors_after_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes it fast: the average's own update, which looks them up each time, is called once."""
    model = nn.Linear(2, 1)
    averaged = average_weights(model)
    update, whole, calls = updater(averaged, model), averaged.update_parameters, []

    def counted(of: nn.Module) -> None:
        calls.append(of)
        whole(of)

    monkeypatch.setattr(averaged, "update_parameters", counted)
    for _ in range(3):
        update()
    assert calls == [model]


def test_updater_forgets_a_start_that_is_not_finite() -> None:
    """TRN-1: the first update copies, so infinite weights at the start leave no NaN."""
    model = nn.Linear(2, 1)
    model.weight.data.fill_(torch.inf)
    averaged = average_weights(model)
    model.weight.data.fill_(1.0)
    updater(averaged, model)()
    assert averaged.state_dict()["module.weight"].tolist() == [[1.0, 1.0]]


def test_averaging_adds_no_attribute() -> None:
    """The average of nested modules in half precision has the attributes of the modules, and no other."""
    model = nn.Sequential(nn.Sequential(Weights([1.0], torch.bfloat16)))
    for mine, averaged in zip(model.modules(), average_weights(model).module.modules(), strict=True):
        assert vars(mine).keys() == vars(averaged).keys()


def test_first_update_copies_and_whole_numbers_are_copied() -> None:
    """TRN-1: the state at the start of training leaves no trace; counts and flags are those of the model."""
    model = Weights([1.0, 2.0])
    averaged = average_weights(model, warm_up=False)
    averaged.update_parameters(model.put(torch.tensor([5.0, 7.0]), count=3))
    assert inside(averaged).weight.tolist() == [5.0, 7.0]
    for count in (4, 9):
        averaged.update_parameters(model.put(torch.tensor([0.0, 0.0]), count=count))
        assert inside(averaged).count.item() == count
        assert inside(averaged).flag.item() is True
    assert inside(averaged).running.tolist() == inside(averaged).weight.tolist() != [0.0, 0.0]


@given(k=st.integers(0, 10**7), decay=decays)
def test_warm_up_rises_to_the_decay_and_stays(k: int, decay: float) -> None:
    """TRN-1: min(decay, (1 + k)/(10 + k)): never above the decay, which warm-up must not overwrite, nor falling."""
    warm = [decay_at(i, decay, warm_up=True) for i in (k, k + 1)]
    assert 0.0 <= warm[0] <= warm[1] <= decay
    assert k == 0 or decay_at(k, decay, warm_up=False) == decay
    assert decay_at(10**19, decay, warm_up=True) == decay
    assert decay_at(8, 0.9, warm_up=True) == 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loaded_state_continues_with_the_same_bits(dtype: torch.dtype) -> None:
    """TRN-1: resumed from a file, an average takes the same course: the count of updates is part of it."""
    generator = torch.Generator().manual_seed(1)
    model = Weights([0.0, 1.0, 2.0], dtype)
    whole = average_weights(model)
    for _ in range(7):
        whole.update_parameters(model.put(torch.randn(3, generator=generator), count=2))
    resumed = average_weights(Weights([9.0, 9.0, 9.0], dtype))
    resumed.load_state_dict(saved(whole))
    assert resumed.n_averaged.item() == 7
    for _ in range(5):
        model.put(torch.randn(3, generator=generator), count=4)
        whole.update_parameters(model)
        resumed.update_parameters(model)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert value.dtype == resumed.state_dict()[name].dtype


def test_averaging_does_not_change_the_model() -> None:
    """TRN-1: neither dtype, nor values, nor gradients of the model change; the average takes none and can be copied."""
    model = Weights([1.0, 2.0], torch.bfloat16)
    before = deepcopy(model.state_dict())
    averaged = average_weights(model)
    for _ in range(3):
        averaged.update_parameters(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.weight.dtype == torch.bfloat16
    assert model.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    assert torch.equal(inside(pickle.loads(pickle.dumps(averaged))).weight, inside(averaged).weight)  # noqa: S301  # our own
    assert torch.equal(inside(deepcopy(averaged)).weight, inside(averaged).weight)


def test_shared_weights_stay_shared() -> None:
    """TRN-1: one parameter under two names is averaged once, in float32 too."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).half()
    model[1].weight = model[0].weight
    averaged = average_weights(model)
    assert inside(averaged)[0].weight is inside(averaged)[1].weight
    assert inside(averaged)[0].weight.dtype == torch.float32


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5, float("nan")])
def test_decay_outside_its_range_is_refused(decay: float) -> None:
    """TRN-1: a decay of 1 never moves, and one beyond it diverges."""
    for call in (lambda: average_weights(Weights([1.0]), decay=decay), lambda: decay_at(3, decay, warm_up=True)):
        with pytest.raises(DomainError, match=r"expected a decay in \[0, 1\).* \(TRN-1\)$"):
            call()
    with pytest.raises(DomainError, match="k >= 0"):
        decay_at(-1, 0.9, warm_up=True)


def test_warm_up_of_ones_own() -> None:
    """TRN-1: d_k is at most what a function of k says; k/(k + 1) gives the mean of all weights."""
    assert decay_at(2, 0.9, warm_up=lambda k: 0.25 * k) == 0.5
    assert decay_at(9, 0.9, warm_up=lambda k: 0.95) == 0.9
    assert decay_at(0, 0.9, warm_up=lambda k: 1.0) == 0.0
    model = Weights([0.0])
    averaged = average_weights(model, decay=0.9999, warm_up=lambda k: k / (k + 1))
    for i, weight in enumerate([2.0, 4.0, 9.0, 1.0]):
        averaged.update_parameters(model.put(torch.tensor([weight]), i))
    (mean,) = averaged.module.parameters()
    assert mean.item() == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("most", [-0.1, 1.5, float("nan")])
def test_warm_up_outside_its_range_is_refused(most: float) -> None:
    """TRN-1: what a function of k returns is a share."""
    with pytest.raises(DomainError, match=r"expected a warm-up in \[0, 1\] at update 2.* \(TRN-1\)$"):
        decay_at(2, 0.9, warm_up=lambda k: most)


@pytest.mark.parametrize(("most", "want"), [(0.0, 0.0), (1.0, 0.9)])
def test_warm_up_may_be_none_or_whole(most: float, want: float) -> None:
    """TRN-1: 0 and 1 are in the range of a warm-up."""
    assert decay_at(3, 0.9, warm_up=lambda k: most) == want


def test_warm_up_is_the_default() -> None:
    """TRN-1: by default the update after k others keeps (1 + k)/(10 + k), up to 0.9999."""
    model = nn.Linear(1, 1, bias=False).double()
    averaged, wanted = average_weights(model), 0.0
    for k, weight in enumerate((2.0, 4.0, -3.0, 8.0)):
        model.weight.data.fill_(weight)
        averaged.update_parameters(model)
        wanted += (1.0 - (1.0 + k) / (10.0 + k) if k else 1.0) * (weight - wanted)
        (parameter,) = averaged.parameters()
        assert parameter.item() == pytest.approx(wanted, rel=1e-14)
