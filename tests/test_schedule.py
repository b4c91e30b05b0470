"""Both schedules against Arb, their ends, their one-sided derivatives, their inverse, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import cos, inf, nan, pi, sin, sqrt
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vmap

from refdiff.conformance.formats import FORMATS
from refdiff.errors import DomainError
from refdiff.schedule import CosineSchedule, LinearSchedule, NoiseProcess, Schedule
from validation.oracles import certified
from validation.oracles.certified import Column, Quantity

Floats = npt.NDArray[np.float64]

U = 2.0**-53
LINEAR = [LinearSchedule(beta_min=a, beta_max=b) for a, b in ((0.1, 20.0), (0.0, 20.0), (5.0, 5.0), (1e-3, 1e3))]
COSINE = [CosineSchedule(s=s) for s in (0.008, 0.0, 1.0, 1e6)]
SCHEDULES: list[LinearSchedule | CosineSchedule] = [*LINEAR, *COSINE]
QUANTITIES: tuple[Quantity, ...] = ("beta", "log_alpha_bar", "alpha_bar", "alpha", "sigma", "log_snr")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

of_every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
of_every_quantity = pytest.mark.parametrize("quantity", QUANTITIES)


def _at(schedule: Schedule, quantity: str) -> Callable[[Tensor], Tensor]:
    method: Callable[[Tensor], Tensor] = getattr(schedule, quantity)
    return method


def _wide(*times: float) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)


@cache
def _times() -> Floats:
    """Return times of every scale in (0, 1): powers of two and neighbours, strata of t and log t, and near 1."""
    rng = np.random.default_rng(1)
    powers = 2.0 ** -np.arange(1.0, 1000.0, 37.0)
    strata = (np.arange(64) + rng.random(64)) / 64
    scales = 2.0 ** (-1000.0 * (np.arange(32) + rng.random(32)) / 32)
    near_one = 1.0 - 2.0 ** -rng.uniform(1.0, 53.0, 24)
    ends = [2.0**-1000, 1.0 - 2 * U, 1.0 - U]
    return np.unique(np.concatenate([powers, np.nextafter(powers, 1.0), strata, scales, near_one, ends]))


@cache
def _exact(schedule: LinearSchedule | CosineSchedule, quantity: Quantity) -> Column:
    return certified.column(_process(schedule), quantity, _times())


def _process(schedule: LinearSchedule | CosineSchedule) -> certified.Process:
    if isinstance(schedule, LinearSchedule):
        return certified.linear(schedule.beta_min, schedule.beta_max)
    return certified.cosine(schedule.s)


def _normal(schedule: LinearSchedule | CosineSchedule) -> npt.NDArray[np.bool_]:
    """Say where log alpha_bar is a normal binary64: with beta(0) = 0 it is of order t^2, and 0 below t = 2^-537."""
    return np.abs(_exact(schedule, "log_alpha_bar").value) >= 2.0**-1022


@of_every_quantity
@of_every_schedule
def test_values_are_those_of_arb(schedule: LinearSchedule | CosineSchedule, quantity: Quantity) -> None:
    """Chapter 11, refdiff's own accuracy in float64: 4 ulp (1 + kappa/|y|), and for log_snr 4 ulp + c u kappa.

    c = 4 in the linear case, as the table says. Cosine needs 8: a drop of relative error 6 u + 3 u kappa/|y| is
    4.5 u kappa at s = 820751.5, t = 0.28445, where log_snr crosses 0.
    """
    want, ulp = _exact(schedule, quantity), FORMATS["float64"].ulp
    got = _at(schedule, quantity)(torch.from_numpy(_times())).numpy()
    error = np.abs((got - want.value) - want.residual)
    if quantity == "log_snr":
        bound = 4 * ulp(want.value) + (4 if isinstance(schedule, LinearSchedule) else 8) * U * want.conditioning
    else:
        bound = 4 * ulp(want.value) * (1 + want.conditioning / np.maximum(np.abs(want.value), 2.0**-1074))
    bad = ~(error <= bound) & _normal(schedule)
    assert not bad.any(), f"at t={_times()[bad]}: expected {want.value[bad]} (±{bound[bad]}), got {got[bad]}"


@of_every_quantity
@of_every_schedule
def test_no_time_gives_nan(schedule: LinearSchedule | CosineSchedule, quantity: Quantity) -> None:
    """NUM-3: not even where t^2 underflows; and sigma stays in [0, 1], alpha too."""
    t = torch.cat([torch.from_numpy(_times()), _wide(0.0, 5e-324, 2.0**-1022, 2.0**-537, 1.0)])
    got = _at(schedule, quantity)(t)
    assert not got.isnan().any()
    if quantity in ("alpha_bar", "alpha", "sigma"):
        assert ((got >= 0.0) & (got <= 1.0)).all()


_ENDS_OF_ALL = {"log_alpha_bar": 0.0, "alpha_bar": 1.0, "alpha": 1.0, "sigma": 0.0, "log_snr": inf}
_END_OF_COSINE = {"beta": inf, "log_alpha_bar": -inf, "alpha_bar": 0.0, "alpha": 0.0, "sigma": 1.0, "log_snr": -inf}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@of_every_schedule
def test_the_ends_are_exact(schedule: LinearSchedule | CosineSchedule, dtype: torch.dtype) -> None:
    """NUM-2: an exact 0, 1 or infinity is returned exactly, in every dtype."""
    zero, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    assert {name: _at(schedule, name)(zero).item() for name in _ENDS_OF_ALL} == _ENDS_OF_ALL
    if isinstance(schedule, CosineSchedule):
        assert {name: _at(schedule, name)(one).item() for name in _END_OF_COSINE} == _END_OF_COSINE
    else:
        want = torch.tensor([schedule.beta_min, schedule.beta_max], dtype=torch.float64).to(dtype)
        assert torch.equal(schedule.beta(torch.stack([zero, one])), want)


def _slopes_at_zero(schedule: LinearSchedule | CosineSchedule) -> dict[str, float]:
    """Return the limits from the right, by hand; b and c are beta(0) and beta'(0)."""
    if isinstance(schedule, LinearSchedule):
        b, c = schedule.beta_min, schedule.beta_max - schedule.beta_min
    else:
        speed = pi / 2 / (1 + schedule.s)
        b = 2 * speed * sin(speed * schedule.s) / sin(speed)
        c = 2 * (speed / sin(speed)) ** 2
    sigma = inf if b > 0.0 else sqrt(c / 2)
    return {"beta": c, "log_alpha_bar": -b, "alpha_bar": -b, "alpha": -b / 2, "sigma": sigma, "log_snr": -inf}


def _slopes_at_one(schedule: LinearSchedule | CosineSchedule) -> dict[str, float]:
    """Return the limits from the left, by hand."""
    if isinstance(schedule, CosineSchedule):
        speed = pi / 2 / (1 + schedule.s)
        ends = {"beta": inf, "log_alpha_bar": -inf, "alpha_bar": 0.0, "sigma": 0.0, "log_snr": -inf}
        return {**ends, "alpha": -speed / sin(speed)}
    b, mean = schedule.beta_max, (schedule.beta_min + schedule.beta_max) / 2
    bar, variance = np.exp(-mean), -np.expm1(-mean)
    return {
        "beta": schedule.beta_max - schedule.beta_min,
        "log_alpha_bar": -b,
        "alpha_bar": -b * bar,
        "alpha": -b * np.exp(-mean / 2) / 2,
        "sigma": b * bar / (2 * np.sqrt(variance)),
        "log_snr": -b / variance,
    }


@of_every_quantity
@of_every_schedule
def test_derivatives_at_the_ends_are_one_sided_limits(
    schedule: LinearSchedule | CosineSchedule, quantity: Quantity
) -> None:
    """NUM-4: possibly infinite, never NaN, in reverse and in forward mode.

    Tolerance: 16 roundings, and what exp(-B) makes of those in B, that is |B| of them.
    """
    want = _wide(_slopes_at_zero(schedule)[quantity], _slopes_at_one(schedule)[quantity])
    slack = 16 + float(schedule.log_alpha_bar(_wide(1.0)).clamp(min=-1e3).abs())
    f, ends = _at(schedule, quantity), _wide(0.0, 1.0)
    t = ends.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(f(t).sum(), t)
    forward = jvp(f, (ends,), (torch.ones_like(ends),))[1]
    for got in (reverse, forward, vmap(grad(f))(ends)):
        assert torch.allclose(got, want, rtol=slack * U, atol=0.0), f"{quantity}: expected {want}, got {got}"


@pytest.mark.parametrize("s", [0.0, 0.008, 1.0])
def test_the_slope_of_alpha_at_the_end_is_as_the_clause_writes_it(s: float) -> None:
    """NUM-4, verbatim: alpha'(1) = -pi/2 / ((1 + s) cos(pi/2 s/(1 + s))), to 10 ulp."""
    got = grad(CosineSchedule(s=s).alpha)(torch.ones((), dtype=torch.float64)).item()
    want = -pi / 2 / ((1 + s) * cos(pi / 2 * s / (1 + s)))
    assert abs(got - want) <= 10 * 2 * U * abs(want)


@of_every_quantity
@of_every_schedule
def test_derivatives_in_between_follow_from_the_values(
    schedule: LinearSchedule | CosineSchedule, quantity: Quantity
) -> None:
    """NUM-4: d log alpha_bar = -beta, and the chain rule for the rest, on certified values.

    Each factor y is known to 4 ulp (1 + kappa/y), so 8 u (1 + kappa/y); at most four factors and as many operations.
    """
    beta, bar, alpha, sigma = (_exact(schedule, name) for name in ("beta", "alpha_bar", "alpha", "sigma"))
    b, inside = beta.value, _normal(schedule) & (sigma.value > 2.0**-500)
    with np.errstate(all="ignore"):
        if isinstance(schedule, LinearSchedule):
            second = np.full_like(b, schedule.beta_max - schedule.beta_min)
        else:
            second = b * b / 2 + 2 * (pi / 2 / (1 + schedule.s)) ** 2
        want = {
            "beta": second,
            "log_alpha_bar": -b,
            "alpha_bar": -b * bar.value,
            "alpha": -b * alpha.value / 2,
            "sigma": b * bar.value / (2 * sigma.value),
            "log_snr": -b / sigma.value**2,
        }[quantity]
        factors = sum(2 * y.conditioning / np.abs(y.value) for y in (beta, bar, sigma))
        got = vmap(grad(_at(schedule, quantity)))(torch.from_numpy(_times())).numpy()
        close = np.abs(got - want) <= 8 * U * (8 + factors) * np.abs(want) + 2.0**-1000
    assert (close | ~inside).all(), f"at t={_times()[~close & inside]}: {got[~close & inside]}, {want[~close & inside]}"
    assert not np.isnan(got).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@of_every_quantity
def test_the_dtype_and_the_shape_are_those_of_the_times(quantity: Quantity, dtype: torch.dtype) -> None:
    """Any shape, 0-d and empty included; evaluated in float64 and rounded once, and so is the gradient."""
    for schedule in (LinearSchedule(), CosineSchedule()):
        for shape in ((), (0,), (5,), (2, 0, 3), (2, 3, 4)):
            t = torch.rand(shape, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
            got = _at(schedule, quantity)(t)
            assert (got.dtype, got.shape) == (dtype, t.shape)
            assert torch.equal(got, _at(schedule, quantity)(t.double()).to(dtype))
            (slope,) = torch.autograd.grad(got.sum(), t)
            assert (slope.dtype, slope.shape) == (dtype, t.shape)


@pytest.mark.parametrize(
    ("beta_min", "beta_max"), [(-0.1, 20.0), (20.0, 0.1), (0.1, inf), (nan, 20.0), (0.1, nan), (0.0, 0.0), (-inf, 1.0)]
)
def test_the_linear_schedule_refuses_bad_rates(beta_min: float, beta_max: float) -> None:
    """SCH-2: the message says clause, need and value."""
    with pytest.raises(
        DomainError, match=rf"expected 0 <= beta_min <= beta_max, .*beta_min={beta_min}, beta_max=.* \(SCH-2\)$"
    ):
        LinearSchedule(beta_min=beta_min, beta_max=beta_max)


@pytest.mark.parametrize("s", [-0.008, inf, nan, -inf])
def test_the_cosine_schedule_refuses_a_bad_offset(s: float) -> None:
    """SCH-4: the message says clause, need and value."""
    with pytest.raises(DomainError, match=rf"expected 0 <= s, finite, got CosineSchedule\(s={s}\).* \(SCH-4\)$"):
        CosineSchedule(s=s)


_CLAUSES = {"alpha": "MAR-1", "sigma": "MAR-2", "log_snr": "SCH-7"}


@of_every_quantity
@pytest.mark.parametrize("t", [-5e-324, 1.0 + 2 * U, 1000.0, -1.0, inf, -inf, nan])
def test_a_time_outside_is_refused(quantity: Quantity, t: float) -> None:
    """Nothing is clamped and NaN does not pass; the message quotes the time."""
    for schedule, own in ((LinearSchedule(), ("SCH-2", "SCH-3")), (CosineSchedule(), ("SCH-5", "SCH-4"))):
        clause = _CLAUSES.get(quantity, own[quantity != "beta"])
        with pytest.raises(DomainError) as raised:
            _at(schedule, quantity)(_wide(0.5, t))
        assert str(raised.value) == f"expected t in [0, 1], got {t} ({clause})"


@of_every_quantity
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_a_time_that_is_no_float_is_refused(quantity: Quantity, dtype: torch.dtype) -> None:
    """An integer is an index of a chain: 1 would be t = 1 here, which is never meant."""
    with pytest.raises(DomainError, match=rf"expected floating-point t .* got {dtype}"):
        _at(LinearSchedule(), quantity)(torch.ones(2, dtype=dtype))


@pytest.mark.usefixtures("unhooked")
def test_log_decay_refuses_invalid_intervals() -> None:
    """SCH-3 between two times: s <= t, s < 1, of one shape and dtype."""
    q = CosineSchedule()
    for s, t, message in (
        (_wide(0.5), _wide(0.25), r"expected t in \[s, 1\], got 0.25.* \(MAR-6\)$"),
        (_wide(1.0), _wide(1.0), r"expected s in \[0, 1\), got 1.0.* \(MAR-6\)$"),
        (_wide(0.5), _wide(0.5, 1.0), r"one shape and dtype, got s torch.float64 \(1,\), t torch.float64 \(2,\)"),
        (_wide(0.5), _wide(0.5).float(), r"got s torch.float64 \(1,\), t torch.float32 \(1,\)"),
        (_wide(0.5).long(), _wide(0.5).long(), r"expected floating-point s and t.* \(MAR-6\)$"),
    ):
        with pytest.raises(DomainError, match=message):
            q.log_decay(t=t, s=s)


@of_every_schedule
@settings(max_examples=40)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_log_decay_is_the_difference_of_two_logarithms(
    schedule: LinearSchedule | CosineSchedule, a: float, b: float
) -> None:
    """SCH-3: log_decay from s to t = log alpha_bar(t) - log alpha_bar(s).

    y = log alpha_bar is known to 8 u (|y| + kappa(y)), and |y| <= t beta, kappa <= 2 t beta, as beta rises: 24 u t beta
    at most, thrice.
    """
    s, t = _wide(min(a, b)), _wide(max(a, b))
    if s == 1.0 or (t == 1.0 and isinstance(schedule, CosineSchedule)):
        return
    difference = schedule.log_alpha_bar(t) - schedule.log_alpha_bar(s)
    bound = 72 * U * (t * schedule.beta(t)).item() + 2.0**-1070
    assert abs((schedule.log_decay(t=t, s=s) - difference).item()) <= bound


@of_every_schedule
def test_log_decay_of_neighbours_does_not_cancel(schedule: LinearSchedule | CosineSchedule) -> None:
    """SCH-3: over one ulp h it is -beta h, to 16 u (1 + kappa/beta), where a difference of logarithms has no digit."""
    t = _times()[(_times() > 2.0**-400) & (_times() < 0.99)]
    beta = certified.column(_process(schedule), "beta", t)
    before = np.nextafter(t, 0.0)
    got = schedule.log_decay(t=torch.from_numpy(t), s=torch.from_numpy(before)).numpy()
    relative = np.abs(got / (-beta.value * (t - before)) - 1.0)
    assert (relative <= 16 * U * (1 + beta.conditioning / beta.value)).all(), relative.max()


@of_every_schedule
def test_the_inverse_undoes_log_snr(schedule: LinearSchedule | CosineSchedule) -> None:
    """SCH-10: t(log_snr(t)) = t.

    log_snr is off by e = 4 ulp + 8 u kappa; the inverse turns that into e/|dlog_snr/dt| = e sigma^2/beta, and adds
    16 roundings of its own. Asked where B = log(1 + exp(-log_snr)) is a normal number: log_snr < 700.
    """
    lam, beta, sigma = (_exact(schedule, name) for name in ("log_snr", "beta", "sigma"))
    got = schedule.time_of_log_snr(schedule.log_snr(torch.from_numpy(_times()))).numpy()
    e = 4 * FORMATS["float64"].ulp(lam.value) + 12 * U * lam.conditioning
    bound = e * sigma.value**2 / np.maximum(beta.value, 2.0**-1022) + 16 * U * _times()
    asked = _normal(schedule) & (lam.value < 700.0)
    bad = ~(np.abs(got - _times()) <= bound) & asked
    assert not bad.any(), (
        f"expected {_times()[bad]}, got {got[bad]}, error/bound {(np.abs(got - _times()) / bound)[bad]}"
    )


@of_every_schedule
@settings(max_examples=40)
@given(st.floats(-30.0, 300.0))
def test_log_snr_undoes_the_inverse(schedule: LinearSchedule | CosineSchedule, wanted: float) -> None:
    """SCH-10, the other way: log_snr(t(x)) = x.

    t is off by 16 u t, which log_snr turns into 16 u t |dlog_snr/dt|, and log_snr itself by 4 ulp + 8 u kappa, where
    kappa <= 2 t |dlog_snr/dt|: the parameters weigh no more than t.
    """
    lowest = schedule.log_snr(_wide(1.0)).item()
    x = max(wanted, lowest)
    t = schedule.time_of_log_snr(_wide(x))
    steep = (t * schedule.beta(t) / schedule.sigma(t) ** 2).item()
    assert abs(schedule.log_snr(t).item() - x) <= 32 * U * steep + 8 * U * abs(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@of_every_schedule
def test_the_inverse_at_its_ends(schedule: LinearSchedule | CosineSchedule, dtype: torch.dtype) -> None:
    """SCH-10: +inf is t = 0 exactly; log_snr(1), rounded to any dtype, is still inside and t = 1 to an ulp of it."""
    ends = torch.stack([schedule.log_snr(torch.zeros((), dtype=dtype)), schedule.log_snr(torch.ones((), dtype=dtype))])
    t = schedule.time_of_log_snr(ends)
    assert t.dtype == dtype
    assert t[0] == 0.0
    assert schedule.time_of_log_snr(ends[1]) == t[1], "a 0-d argument would be compared in float64"
    if isinstance(schedule, CosineSchedule):
        assert t[1] == 1.0
    else:
        ulp = torch.finfo(dtype).eps * max(1.0, abs(ends[1].item()))
        # sigma^2/beta at t = 1 turns half an ulp of log_snr into time.
        assert 1.0 - ulp * (1.0 / schedule.beta_max) - torch.finfo(dtype).eps <= t[1] <= 1.0


@pytest.mark.usefixtures("unhooked")
def test_the_inverse_refuses_a_log_snr_outside_its_range() -> None:
    """SCH-10: the linear schedule keeps some signal, so a log_snr below log_snr(1) has no time; nor has NaN."""
    q = LinearSchedule()
    with pytest.raises(DomainError, match=r"expected log_snr >= log_snr\(1\), got -10.1.* \(SCH-10\)$"):
        q.time_of_log_snr(_wide(0.0, -10.1))
    for schedule in (q, CosineSchedule()):
        with pytest.raises(DomainError, match=r"expected .* got nan.* \(SCH-10\)$"):
            schedule.time_of_log_snr(_wide(nan))
        with pytest.raises(DomainError, match=r"expected floating-point log_snr, got torch.int64.* \(SCH-10\)$"):
            schedule.time_of_log_snr(torch.zeros(1, dtype=torch.int64))


@of_every_schedule
def test_the_slope_of_the_inverse_is_one_over_the_slope(schedule: LinearSchedule | CosineSchedule) -> None:
    """SCH-10: dt/dlog_snr = -sigma^2/beta, on certified values; 0 at +inf, and for cosine at -inf; never NaN.

    Relative error: sigma^2 and beta at a t that is off by 16 u t + e sigma^2/beta move by their conditioning.
    """
    lam, beta, sigma = (_exact(schedule, name) for name in ("log_snr", "beta", "sigma"))
    asked = _normal(schedule) & (lam.value < 700.0) & (_times() < 1.0 - 2.0**-20)
    got = vmap(grad(schedule.time_of_log_snr))(torch.from_numpy(lam.value)).numpy()
    want = -(sigma.value**2) / np.maximum(beta.value, 2.0**-1022)
    relative = 2 * sigma.conditioning / sigma.value + beta.conditioning / np.maximum(beta.value, 2.0**-1022)
    shift = 16 + FORMATS["float64"].ulp(lam.value) / U * np.abs(want) / _times()
    bad = ~(np.abs(got / want - 1.0) <= U * (32 + shift * (relative + 1))) & asked
    assert not bad.any(), f"at t={_times()[bad]}: expected {want[bad]}, got {got[bad]}"
    ends = vmap(grad(schedule.time_of_log_snr))(schedule.log_snr(_wide(0.0, 1.0)))
    assert ends[0] == 0.0
    assert not ends.isnan().any()


def test_schedules_implement_the_protocols() -> None:
    """Schedules satisfy NoiseProcess, and the certified quantities are the public methods."""
    for protocol in (NoiseProcess, Schedule):
        assert all(isinstance(q, protocol) for q in SCHEDULES)
    assert set(QUANTITIES) == set(get_args(Quantity)) - {"variance"}
