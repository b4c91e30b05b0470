"""The twelve conversions against exact rational arithmetic, back again, and where they have no value."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from fractions import Fraction
from itertools import permutations
from typing import Any, cast, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.marginal import conditional_score, perturb
from refdiff.parameterization import Parameterization, convert
from refdiff.schedule import CosineSchedule, LinearSchedule, NoiseProcess

U = 2.0**-53
NAMES: tuple[Parameterization, ...] = get_args(Parameterization)
PAIRS = list(permutations(NAMES, 2))
PROCESSES: list[NoiseProcess] = [LinearSchedule(), CosineSchedule(), CosineSchedule(s=0.0)]
of_every_pair = pytest.mark.parametrize(("source", "to"), PAIRS)


def _coefficients(a: Fraction, s: Fraction) -> Mapping[tuple[str, str], tuple[Fraction, Fraction, Fraction]]:
    """Return, for (source, to), what multiplies x_t, what multiplies the value, and what divides: PAR-1 to PAR-4.

    The six of the clauses that do not end in score or start there, then the others through eps.
    """
    one, none = Fraction(1), Fraction(0)
    return {
        ("eps", "x_0"): (one, -s, a),
        ("x_0", "eps"): (one, -a, s),
        ("v", "x_0"): (a, -s, one),
        ("v", "eps"): (s, a, one),
        ("eps", "v"): (-s, one, a),
        ("x_0", "v"): (a, -one, s),
        ("eps", "score"): (none, -one, s),
        ("score", "eps"): (none, -s, one),
        ("x_0", "score"): (-one, a, s * s),
        ("v", "score"): (-s, -a, s),
        ("score", "x_0"): (one, s * s, a),
        ("score", "v"): (-s, -s, a),
    }


def _one(x: float) -> Tensor:
    return torch.tensor([x], dtype=torch.float64)


def _slack(process: NoiseProcess, pair: tuple[str, str], t: float, value: float, x_t: float) -> tuple[Fraction, float]:
    """Return the exact result for the alpha and sigma that refdiff has at t, and 8 u S.

    At most five roundings on any way (two products, a sum, a quotient, one more for score), S the sum of the magnitudes
    of the terms. What refdiff's alpha and sigma are off by is the matter of tests/test_schedule.py.
    """
    a, s = (Fraction(f(_one(t)).item()) for f in (process.alpha, process.sigma))
    on_x_t, on_value, divisor = _coefficients(a, s)[pair]
    terms = on_x_t * Fraction(x_t) / divisor, on_value * Fraction(value) / divisor
    return sum(terms, Fraction(0)), 8 * U * float(sum(map(abs, terms), Fraction(0)))


numbers = st.floats(-1e3, 1e3)
times = st.floats(2.0**-60, 1.0 - 2.0**-53)


@of_every_pair
@settings(max_examples=25)
@given(st.sampled_from(PROCESSES), times, numbers, numbers)
def test_each_conversion_is_its_formula(
    source: Parameterization, to: Parameterization, process: NoiseProcess, t: float, value: float, x_t: float
) -> None:
    """PAR-1 to PAR-4, in float64 against exact fractions, for any value and any x_t: neither need come from data."""
    want, bound = _slack(process, (source, to), t, value, x_t)
    got = convert(process, _one(value), _one(x_t), _one(t), source=source, to=to).item()
    assert abs(Fraction(got) - want) <= Fraction(bound) + Fraction(2) ** -1000, f"got {got}, want {float(want)}"


@of_every_pair
@settings(max_examples=25)
@given(st.sampled_from(PROCESSES), times, numbers, numbers)
def test_a_conversion_and_its_inverse_return_the_value(
    source: Parameterization, to: Parameterization, process: NoiseProcess, t: float, value: float, x_t: float
) -> None:
    """PAR-5: there and back. The error of the way there is carried back by the inverse's coefficient; S as before.

    alpha^2 + sigma^2 = 1 holds to 8 u (1 + kappa) of alpha and sigma, kappa <= 4: 80 u of the terms for pairs with v.
    """
    there, bound = _slack(process, (source, to), t, value, x_t)
    a, s = (Fraction(f(_one(t)).item()) for f in (process.alpha, process.sigma))
    _, back, divisor = _coefficients(a, s)[to, source]
    _, own = _slack(process, (to, source), t, float(there), x_t)
    carried = float(abs(back / divisor)) * bound
    middle = convert(process, _one(value), _one(x_t), _one(t), source=source, to=to)
    got = convert(process, middle, _one(x_t), _one(t), source=to, to=source).item()
    circle = 10 if "v" in (source, to) else 0
    assert abs(got - value) <= (1 + circle) * (carried + own) + 1e-290


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@of_every_pair
def test_each_name_means_what_the_notation_says(
    source: Parameterization, to: Parameterization, process: NoiseProcess
) -> None:
    """x_0, eps, v = alpha eps - sigma x_0 and the marginal's own score are one prediction, by whatever name.

    8 roundings of terms of size 1/(alpha sigma)^2 at most, |x_0| and |eps| below 4.
    """
    t = torch.tensor([0.01, 0.3, 0.9], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    x_0, eps = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64).clamp(-4.0, 4.0)
    alpha, sigma = process.alpha(t)[:, None, None], process.sigma(t)[:, None, None]
    x_t = perturb(process, x_0, eps, t)
    meaning = {"x_0": x_0, "eps": eps, "v": alpha * eps - sigma * x_0, "score": conditional_score(process, x_t, x_0, t)}
    got = convert(process, meaning[source], x_t, t, source=source, to=to)
    assert ((got - meaning[to]).abs() <= 8 * U * 8 / (alpha * sigma) ** 2).all()


@pytest.mark.parametrize("name", NAMES)
def test_to_itself_is_the_identity(name: Parameterization) -> None:
    """The very tensor comes back, also where there is no divisor, for nothing is divided."""
    value = torch.ones(2, 3)
    for process, t in ((LinearSchedule(), 0.0), (CosineSchedule(), 1.0)):
        assert convert(process, value, value, torch.full((2,), t), source=name, to=name) is value


@given(st.sampled_from(NAMES), times, numbers, numbers)
def test_converted_x_0_and_eps_recompose_x_t(name: Parameterization, t: float, value: float, x_t: float) -> None:
    """PAR-6: alpha x_0 + sigma eps = x_t, within the bounds of the two conversions; from v, the circle's 80 u more."""
    process = LinearSchedule()
    at, x, made = _one(t), _one(x_t), _one(value)
    parts = {to: convert(process, made, x, at, source=name, to=to).item() for to in ("x_0", "eps")}
    scale = {"x_0": process.alpha(at).item(), "eps": process.sigma(at).item()}
    bound = sum(scale[to] * _slack(process, (name, to), t, value, x_t)[1] for to in parts if to != name)
    whole = sum(scale[to] * parts[to] for to in parts)
    terms = sum(abs(scale[to] * parts[to]) for to in parts)
    circle = 80 * U * (abs(x_t) + abs(value)) if name == "v" else 0.0
    assert abs(whole - x_t) <= bound + 4 * U * terms + circle + 2.0**-1000


NO_SIGMA = {("x_0", "eps"), ("x_0", "v"), ("x_0", "score"), ("eps", "score"), ("v", "score")}
NO_ALPHA = {("eps", "x_0"), ("eps", "v"), ("score", "x_0"), ("score", "v")}


@of_every_pair
def test_a_conversion_that_divides_by_zero_is_refused(source: Parameterization, to: Parameterization) -> None:
    """PAR-1, PAR-2 at sigma = 0 (t = 0) and at alpha = 0 (cosine, t = 1); PAR-7: without a divisor all is finite."""
    x = torch.ones(2, 3)
    for process, t, refused, message in (
        (LinearSchedule(), torch.tensor([0.5, 0.0]), NO_SIGMA, r"expected sigma > 0, .* got 0.0.* \(PAR-2\)$"),
        (CosineSchedule(), torch.tensor([0.5, 1.0]), NO_ALPHA, r"expected alpha > 0, .* got 0.0.* \(PAR-1\)$"),
        (DiscreteChain(betas=(0.5,)), torch.tensor([1, 0]), NO_SIGMA, r"expected sigma > 0, .* got 0.0.* \(PAR-2\)$"),
    ):
        if (source, to) in refused:
            with pytest.raises(DomainError, match=message):
                convert(process, x, x, t, source=source, to=to)
        else:
            assert convert(process, x, x, t, source=source, to=to).isfinite().all()


def test_a_divisor_that_vanishes_in_the_dtype_of_the_data_is_refused() -> None:
    """PAR-1: alpha = 1.7e-16 at the last float64 before t = 1; float16 data has no such number."""
    x, t = torch.ones(1, 3, dtype=torch.float16), torch.tensor([1.0 - U], dtype=torch.float64)
    with pytest.raises(DomainError, match=r"expected alpha > 0.* \(PAR-1\)$"):
        convert(CosineSchedule(), x, x, t, source="eps", to="x_0")


@pytest.mark.parametrize("name", ["epsilon", "", "x_start", "EPS"])
def test_a_name_that_is_none_of_the_four_is_refused(name: str) -> None:
    """The message lists the four; on either side."""
    x, t, bad = torch.ones(1, 2), torch.full((1,), 0.5), cast("Any", name)
    convert_unhooked = cast("Any", inspect.unwrap(convert))  # the hook knows the four names, too
    for source, to in ((bad, "eps"), ("eps", bad), (bad, bad)):
        with pytest.raises(DomainError, match=rf"expected one of eps, x_0, v, score, got '{name}'.* \(PAR-1\)$"):
            convert_unhooked(LinearSchedule(), x, x, t, source=source, to=to)


@pytest.mark.usefixtures("unhooked")
def test_mismatches_are_refused() -> None:
    """NOT-2: value and x_t of one shape and dtype, one time per example, inside the process; also to itself."""
    q, x, t = LinearSchedule(), torch.ones(2, 3), torch.full((2,), 0.5)
    for to in NAMES:
        with pytest.raises(DomainError, match=r"expected value and x_t of one shape.* \(PAR-1\)$"):
            convert(q, x, x.T, t, source="eps", to=to)
        with pytest.raises(DomainError, match=r"expected value and x_t .*float64.* \(PAR-1\)$"):
            convert(q, x, x.double(), t, source="eps", to=to)
        with pytest.raises(DomainError, match=r"expected t of shape \(2,\) to match data.* \(NOT-2\)$"):
            convert(q, x, x, t[:1], source="eps", to=to)
        with pytest.raises(DomainError, match=r"expected t in \[0, 1\], got 1.5.* \(MAR-1\)$"):
            convert(q, x, x, t + 1.0, source="eps", to=to)


@of_every_pair
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_the_data_decides_the_dtype(source: Parameterization, to: Parameterization, dtype: torch.dtype) -> None:
    """Coefficients of a float64 time are rounded to the dtype of the data; then at most 8 roundings of each term.

    At t = 1/4, alpha and sigma are between 1/2 and 1, so S <= 3/(1/4)^2 for values of 1: two for its terms, one for
    alpha and sigma themselves.
    """
    ones, t = torch.ones(1, 2, dtype=dtype), _one(0.25)
    got = convert(LinearSchedule(), ones, ones, t, source=source, to=to)
    exact = convert(LinearSchedule(), ones.double(), ones.double(), t, source=source, to=to)
    assert got.dtype == dtype
    assert ((got.double() - exact).abs() <= 8 * torch.finfo(dtype).eps / 2 * 48).all()
