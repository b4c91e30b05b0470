"""log1mexp against Arb, and derivatives that autograd alone gets wrong."""

from __future__ import annotations

from fractions import Fraction
from math import inf, log

import flint
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.forward_ad import dual_level, make_dual
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from refdiff.conformance.formats import FORMATS
from refdiff.numerics import expm1, has_slopes, log1mexp, veltkamp_split, with_slopes

_LOG_2 = log(2.0)


def _exact_log1mexp(x: float) -> tuple[float, float]:
    """Return log(1 - exp(x)) as value and residual, by 2200 bits: 1 - exp(-2^-1074) keeps a thousand of them."""
    previous, flint.ctx.prec = flint.ctx.prec, 2200
    try:
        ball = (1 - flint.arb(x).exp()).log()
        assert ball.rel_accuracy_bits() > 500
        value = float(ball.mid())
        return value, float((ball - flint.arb(value)).mid())
    finally:
        flint.ctx.prec = previous


@given(st.floats(max_value=-5e-324, min_value=-700.0))
@example(-5e-324)
@example(-(2.0**-1022))
@example(-_LOG_2)
@example(float(np.nextafter(-_LOG_2, 0.0)))
@example(float(np.nextafter(-_LOG_2, -1.0)))
def test_log1mexp_is_within_four_roundings(x: float) -> None:
    """NUM-3: relative error at most 4 u, as its docstring says, at every scale of x."""
    value, residual = _exact_log1mexp(x)
    got = log1mexp(torch.tensor(x, dtype=torch.float64)).item()
    assert abs(got - value - residual) <= 4 * 2.0**-53 * abs(value) + 5e-324, f"expected {value} at {x}, got {got}"


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("x", [0.0, -1e-300, -1e-17, -1e-11, -0.01, -0.7, -1.0, -3.0, -36.0, -40.0, -800.0, -inf])
def test_expm1_cancels_nothing(monkeypatch: pytest.MonkeyPatch, x: float, *, compiled: bool) -> None:
    """Relative error at most 8 u, and a finite slope; compiled code has a formula of its own, eager code torch's."""
    asked, own = [], torch.expm1

    def counted(of: Tensor) -> Tensor:
        asked.append(of)
        return own(of)

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiled)
    monkeypatch.setattr(torch, "expm1", counted)
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    got = expm1(at)
    exact = float((flint.arb(x).expm1() if x > -inf else flint.arb(-1)).mid())
    assert abs(got.item() - exact) <= 8 * 2.0**-53 * abs(exact)
    assert torch.isfinite(torch.autograd.grad(got, at)[0])
    assert len(asked) == (0 if compiled else 1)


@given(st.floats(max_value=-(2.0**-149), min_value=-80.0, width=32))
@example(-(2.0**-149))
def test_log1mexp_keeps_its_bound_in_float32(x: float) -> None:
    """The same in the dtype of the argument; nothing is widened."""
    value, _ = _exact_log1mexp(x)
    got = log1mexp(torch.tensor(x, dtype=torch.float32))
    assert got.dtype == torch.float32
    assert abs(got.item() - value) <= 4 * 2.0**-24 * abs(value) + 2.0**-149, f"expected {value} at {x}, got {got}"


@given(st.floats(max_value=-1e-300, min_value=-30.0))
def test_log1mexp_is_its_own_inverse(x: float) -> None:
    """exp(x) + exp(y) = 1 is symmetric: y = log1mexp(x) gives x = log1mexp(y).

    An error of 4 u |y| in y moves the result by exp(y)/exp(x) of that, and 4 u |x| is its own.
    """
    y = log1mexp(torch.tensor(x, dtype=torch.float64))
    back = log1mexp(y).item()
    carried = 4 * 2.0**-53 * (abs(y.item()) * float(torch.exp(y)) / np.exp(x) + abs(x))
    # Twice: the bound is first order, and float(exp(x)) itself is rounded. exp(y) at x = -1e-300 has no room below.
    assert abs(back - x) <= 2 * carried + 2.0**-1022


def test_log1mexp_at_and_beyond_its_ends() -> None:
    """NUM-3: 0 gives -inf, -inf gives 0, and what has no value gives NaN."""
    got = log1mexp(torch.tensor([0.0, -0.0, -inf, 1e-3, inf, torch.nan], dtype=torch.float64))
    assert got[:3].tolist() == [-inf, -inf, 0.0]
    assert got[3:].isnan().all()


@given(st.floats(max_value=-1e-300, min_value=-700.0))
def test_the_gradient_of_log1mexp_is_finite_and_right(x: float) -> None:
    """d/dx log(1 - exp(x)) = -1/(exp(-x) - 1), and the branch not taken leaves no NaN in it.

    Relative error: 4 u of the chain rule's factors, and |x| u of exp in float64 on either side.
    """
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log1mexp(at), at)
    want = -1.0 / np.expm1(-x)
    assert abs(slope.item() - want) <= (8 + abs(x)) * 2.0**-53 * abs(want) + 5e-324


# with_slopes, on sigma(t) = sqrt(1 - exp(-t^2)): sigma'(0) = 1, where autograd says NaN.


def _value(t: Tensor) -> Tensor:
    return torch.sqrt(-torch.expm1(-t * t))


def _slope(t: Tensor) -> Tensor:
    return torch.where(t == 0.0, 1.0, t * torch.exp(-t * t) / _value(torch.where(t == 0.0, 1.0, t)))


def _sloped(t: Tensor) -> Tensor:
    return with_slopes(_value, (_slope,), t)


def _sum(t: Tensor) -> Tensor:
    return _sloped(t).sum()


_T = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)


def test_autograd_alone_fails_where_with_slopes_is_needed() -> None:
    """The reason for the helper; were this to change, it could go."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(_value(t), t)
    assert slope.isnan()


def test_the_value_is_that_of_the_formula() -> None:
    """Nothing but the derivative is replaced."""
    assert torch.equal(_sloped(_T), _value(_T))


def test_the_slope_is_the_formula_in_every_mode() -> None:
    """NUM-4: reverse, forward, and each of them mapped, give slope(t), to the last bit."""
    want = _slope(_T)
    t = _T.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(_sloped(t).sum(), t)
    assert torch.equal(reverse, want)
    assert torch.equal(grad(_sum)(_T), want)
    assert torch.equal(jvp(_sloped, (_T,), (torch.ones_like(_T),))[1], want)
    assert torch.equal(vmap(grad(_sloped))(_T), want)
    assert torch.equal(vmap(jacfwd(_sloped))(_T), want)
    assert torch.equal(jacrev(_sloped)(_T), torch.diag(want))
    assert torch.equal(jacfwd(_sloped)(_T), torch.diag(want))


@pytest.mark.usefixtures("unhooked")
def test_the_slope_survives_compilation() -> None:
    """The same under torch.compile, where dynamo traces the reverse mode."""
    t = _T.clone().requires_grad_()
    compiled = torch.compile(_sloped, fullgraph=True, backend="aot_eager")
    (slope,) = torch.autograd.grad(compiled(t).sum(), t)
    # Traced, the formula is the same; fused it may round otherwise: two roundings.
    assert torch.allclose(slope, _slope(_T), rtol=2.0**-52, atol=0.0)


def test_the_second_derivative_is_that_of_the_slope() -> None:
    """In the interior, grad of grad is the slope formula's own derivative, either mode over either.

    t in [1/4, 1] keeps every term of sigma'' within 20 of magnitude; 64 roundings cover both sides.
    """
    inner = _T[1:]
    want = vmap(grad(_slope))(inner)
    for second in (vmap(grad(grad(_sloped))), vmap(jacfwd(grad(_sloped))), vmap(grad(jacfwd(_sloped)))):
        assert torch.allclose(second(inner), want, rtol=0.0, atol=64 * 2.0**-53 * 20)
    assert torch.autograd.gradcheck(_sloped, inner.clone().requires_grad_(), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(_sloped, inner.clone().requires_grad_())


@pytest.mark.parametrize("slope", [inf, -inf])
def test_an_infinite_slope_of_an_unused_path_adds_nothing(slope: float) -> None:
    """NUM-4: a path with gradient 0 contributes 0, not 0 * inf = NaN; a used one is infinite, with its sign."""

    def steep(t: Tensor) -> Tensor:
        return with_slopes(torch.sqrt, (lambda t: torch.full_like(t, slope),), t)

    t = torch.zeros(3, requires_grad=True)
    (got,) = torch.autograd.grad((steep(t) * torch.tensor([0.0, 1.0, -1.0])).sum(), t)
    assert got.tolist() == [0.0, slope, -slope]
    tangent = jvp(steep, (torch.zeros(3),), (torch.tensor([0.0, 1.0, -1.0]),))[1]
    assert tangent.tolist() == [0.0, slope, -slope]


def test_each_time_has_a_slope_of_its_own() -> None:
    """Of two arguments each gets its own formula, also where only one of them moves."""

    def product(s: Tensor, t: Tensor) -> Tensor:
        return with_slopes(torch.mul, (lambda s, t: 10.0 * t, lambda s, t: 20.0 * s), s, t)

    s, t = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    by_s, by_t = vmap(grad(product, argnums=(0, 1)))(s, t)
    assert torch.equal(by_s, 10.0 * t)
    assert torch.equal(by_t, 20.0 * s)
    ones = torch.ones(2)
    assert torch.equal(jvp(lambda t: product(s, t), (t,), (ones,))[1], 20.0 * s)
    assert torch.equal(jvp(product, (s, t), (ones, ones))[1], 10.0 * t + 20.0 * s)


def test_formats_have_the_roundoff_of_torch() -> None:
    """The yardstick of the other tests: u and the smallest numbers are those of torch's dtypes."""
    for name, known in FORMATS.items():
        info = torch.finfo(getattr(torch, name))
        assert (2 * known.u, known.smallest_normal) == (info.eps, info.smallest_normal)


@given(st.floats(min_value=2.0**-500, max_value=2.0**500), st.integers(1, 2**26 - 1))
def test_halves_of_a_split_multiply_exactly(x: float, n: int) -> None:
    """Dekker 1971: head + rest is x, and the product of either with 26 bits is not rounded."""
    head, rest = (part.item() for part in veltkamp_split(torch.tensor(x, dtype=torch.float64)))
    assert head + rest == x
    for part in (head, rest):
        assert Fraction(part * n) == Fraction(part) * n


def test_a_slope_is_prepared_only_where_it_may_be_asked_for() -> None:
    """NUM-4: recorded, in forward mode, or under a transform; plain numbers, and those under no_grad, cost nothing."""
    plain, recorded = torch.tensor([0.5]), torch.tensor([0.5], requires_grad=True)
    assert not has_slopes(plain)
    assert has_slopes(recorded)
    assert has_slopes(plain, recorded)
    with torch.no_grad():
        assert not has_slopes(recorded)
    with dual_level():
        assert has_slopes(make_dual(plain, torch.ones(1)))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    seen: list[bool] = []

    def noted(t: Tensor) -> Tensor:
        seen.append(has_slopes(t))
        return t

    vmap(noted)(plain)
    assert seen == [True]
