"""The one broadcaster and the one check of values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from refdiff.errors import DomainError
from refdiff.tensors import over_event, same_shape, within

_EVENTS = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(st.integers(0, 4), _EVENTS)
def test_each_example_meets_its_own_coefficient(batch: int, event: tuple[int, ...]) -> None:
    """NOT-2: row i of coefficient * data is coefficient i times row i, at any rank."""
    coefficient, data = torch.arange(1.0, batch + 1), torch.ones(batch, *event)
    scaled = over_event(coefficient, data) * data
    assert scaled.shape == data.shape
    for i in range(batch):
        assert torch.equal(scaled[i], torch.full(event, i + 1.0))


def test_a_square_batch_is_no_exception() -> None:
    """NOT-2: with as many examples as features, plain broadcasting scales columns, silently."""
    coefficient, data = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, 3)
    rows = over_event(coefficient, data) * data
    assert torch.equal(rows, torch.tensor([[1.0] * 3, [2.0] * 3, [3.0] * 3]))
    assert not torch.equal(rows, coefficient * data)


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(
    ("coefficient", "data"),
    [((), (3,)), ((3, 1), (3, 2)), ((2,), (3, 2)), ((1,), (3, 2)), ((3,), (1, 3)), ((1,), ())],
)
def test_a_mismatch_is_refused(coefficient: tuple[int, ...], data: tuple[int, ...]) -> None:
    """NOT-2: one time per example; shapes that PyTorch would broadcast are refused too."""
    match = r"^expected (t of shape \(\d,\) to match data|data) of shape \(.*\), got shape \(.*\) \(NOT-2\)$"
    with pytest.raises(DomainError, match=match):
        over_event(torch.ones(coefficient), torch.ones(data))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_coefficient_is_rounded_once_to_the_dtype_of_the_data(dtype: torch.dtype) -> None:
    """Float64 goes to the dtype of the data directly; 1/3 through float32 would round twice."""
    third = torch.tensor([1.0 / 3.0], dtype=torch.float64)
    shaped = over_event(third, torch.ones(1, 2, dtype=dtype))
    assert shaped.dtype == dtype
    assert torch.equal(shaped, third.to(dtype)[:, None])


@pytest.mark.usefixtures("unhooked")
def test_same_shape_names_what_differs() -> None:
    """Shape, dtype and being floating are each asked for, and the message shows all of them."""
    x = torch.ones(2, 3)
    same_shape("MAR-4", x_0=x, eps=x)
    with pytest.raises(
        DomainError, match=r"expected x_0 and eps of one shape .* eps torch.float32 \(3, 2\).* \(MAR-4\)$"
    ):
        same_shape("MAR-4", x_0=x, eps=x.T)
    with pytest.raises(DomainError, match=r"x_0 torch.float32 \(2, 3\), eps torch.float64"):
        same_shape("MAR-4", x_0=x, eps=x.double())
    with pytest.raises(DomainError, match=r"expected a floating-point x_0, got torch.int64.* \(MAR-4\)$"):
        same_shape("MAR-4", x_0=x.long(), eps=x.long())


def _positive(x: Tensor) -> Tensor:
    return within("NUM-3", "x > 0", x, x > 0.0)


def test_eager_on_the_cpu_a_bad_value_is_named() -> None:
    """The first value outside is quoted; one inside is returned untouched, the very tensor."""
    good = torch.tensor([1.0, 2.0])
    assert _positive(good) is good
    with pytest.raises(DomainError, match=r"expected x > 0, got -2\.0.* \(NUM-3\)$"):
        _positive(torch.tensor([[1.0, -2.0], [-3.0, 4.0]]))
    with pytest.raises(DomainError, match="got nan"):
        _positive(torch.tensor(torch.nan))
    parameter = torch.nn.Parameter(torch.tensor([-1.0]))
    with pytest.raises(DomainError, match=r"got -1\.0"):
        _positive(parameter)


def test_the_error_quotes_the_value_given_as_got() -> None:
    """An index holds no NaN: what is computed from it is masked, and the index is quoted."""
    k = torch.tensor([1, -2])
    with pytest.raises(DomainError, match=r"expected k >= 0, got -2.* \(DIS-1\)$"):
        within("DIS-1", "k >= 0", k.double().exp(), k >= 0, got=k)


def test_an_empty_tensor_is_inside() -> None:
    """An empty batch passes."""
    assert _positive(torch.ones(0)).shape == (0,)


_TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]] = {
    "vmap": torch.func.vmap,
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[0],
    "vjp": lambda f: lambda x: torch.func.vjp(f, x)[0],
    "functionalize": torch.func.functionalize,
}


@pytest.mark.parametrize("name", _TRANSFORMS)
def test_a_bad_value_is_nan_where_raising_is_impossible(name: str) -> None:
    """Under a transform a value outside gives NaN, never a plausible number; the others are as they were."""
    got = _TRANSFORMS[name](_positive)(torch.tensor([1.0, -2.0, 3.0]))
    assert torch.equal(got.isnan(), torch.tensor([False, True, False]))
    assert got[0] == 1.0
    assert got[2] == 3.0


@pytest.mark.usefixtures("unhooked")
def test_under_compile_a_bad_value_is_nan() -> None:
    """The same under torch.compile, without a break of the graph."""
    got = torch.compile(_positive, fullgraph=True, backend="aot_eager")(torch.tensor([1.0, -2.0]))
    assert torch.equal(got.isnan(), torch.tensor([False, True]))


def test_a_tensor_without_values_is_not_read() -> None:
    """On the meta device and in fake mode (accelerators take the same way) shapes flow, and nothing raises."""
    assert _positive(torch.ones(3, device="meta")).shape == (3,)
    with FakeTensorMode():
        assert _positive(torch.ones(3)).shape == (3,)


def test_the_gradient_of_what_is_inside_is_one() -> None:
    """The mask is no obstacle to derivatives."""
    slope = torch.func.vmap(torch.func.grad(_positive))(torch.tensor([1.0, 2.0]))
    assert torch.equal(slope, torch.ones(2))
