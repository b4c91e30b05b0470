"""The discrete chain against exact products of fractions, at every index."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import copysign, inf, nan
from typing import TypeAlias

import flint
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.schedule import CosineSchedule, LinearSchedule, NoiseProcess
from validation.oracles import certified
from validation.oracles.certified import Quantity

U = 2.0**-53
DDPM = tuple(np.linspace(1e-4, 0.02, 1000).tolist())
QUANTITIES: tuple[Quantity, ...] = ("log_alpha_bar", "alpha_bar", "alpha", "sigma", "log_snr")


@cache
def _ddpm() -> DiscreteChain:
    return DiscreteChain(betas=DDPM)


def _at(chain: DiscreteChain, quantity: str, k: Tensor) -> Tensor:
    result: Tensor = getattr(chain, quantity)(k)
    return result


def _products(betas: tuple[float, ...]) -> list[Fraction]:
    """Return alpha_bar_k for k = 0..N, exactly."""
    products = [Fraction(1)]
    for beta in betas:
        products.append(products[-1] * (1 - Fraction(beta)))
    return products


def _judge(chain: DiscreteChain) -> None:
    """Hold a chain to the exact product at every index.

    log alpha_bar: each log1p to an ulp (2 u), of one sign, fsum rounds once: 3 u |log|. exp adds 2 u; alpha halves
    the first; 1 - alpha_bar moves by no more than log alpha_bar, relatively, expm1 adds 2 u, and squaring sigma
    doubles the u of its root.
    """
    k = torch.arange(len(chain.betas) + 1)
    log, bar, alpha, sigma = (_at(chain, name, k).tolist() for name in ("log_alpha_bar", "alpha_bar", "alpha", "sigma"))
    for i, exact in enumerate(_products(chain.betas)):
        drift = 3 * U * abs(log[i])
        assert abs(Fraction(bar[i]) - exact) <= exact * Fraction(drift + 2 * U), f"alpha_bar at k = {i}"
        assert abs(Fraction(alpha[i]) ** 2 - exact) <= exact * Fraction(drift + 6 * U), f"alpha at k = {i}"
        assert abs(Fraction(sigma[i]) ** 2 - (1 - exact)) <= (1 - exact) * Fraction(10 * U), f"sigma at k = {i}"


def test_every_index_of_ddpm_is_the_product() -> None:
    """DIS-1: alpha_bar_k = prod (1 - beta_i), i = 1..k, beta_k included, for all k in 0..1000."""
    _judge(_ddpm())


@given(st.lists(st.floats(2.0**-60, 1.0 - 2.0**-20), min_size=1, max_size=12))
def test_every_index_of_any_chain_is_the_product(betas: list[float]) -> None:
    """DIS-1 for any steps, tiny and nearly total."""
    _judge(DiscreteChain(betas=tuple(betas)))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_index_of_ddpm_is_that_of_arb(quantity: Quantity) -> None:
    """DIS-2, SCH-7: relative, within rho of float64: 4 ulp (1 + kappa/|y|), and 2 k ulp for the product."""
    want = certified.chain_column(DDPM, quantity, range(1, 1001))
    got = _at(_ddpm(), quantity, torch.arange(1, 1001)).numpy()
    bound = np.spacing(np.abs(want.value)) * (4 + 4 * want.conditioning / np.abs(want.value))
    assert (np.abs((got - want.value) - want.residual) <= bound).all(), "without the 2 k ulp that NUM-2 would allow"


def test_index_0_has_alpha_1_and_sigma_0() -> None:
    """SCH-1 at k = 0, exactly; and log_snr is +inf there."""
    k = torch.zeros((), dtype=torch.int64)
    assert {name: _at(_ddpm(), name, k).item() for name in QUANTITIES} == {
        "log_alpha_bar": 0.0,
        "alpha_bar": 1.0,
        "alpha": 1.0,
        "sigma": 0.0,
        "log_snr": inf,
    }
    assert copysign(1.0, _ddpm().sigma(k).item()) == 1.0, "1/-0.0 would be an infinity of the wrong sign"


ADVERSE: dict[str, tuple[float, ...]] = {
    "ddpm": DDPM,
    "falling": DDPM[::-1],
    "one": (0.3,),
    "two": (1.0 - 2.0**-53, 2.0**-1074),
    "a total first": (0.999, *(1e-12 for _ in range(99))),
    "falls to nothing": tuple(0.9 * 10.0**-i for i in range(0, 323, 3)),
    "rises from nothing": tuple(0.9 * 10.0**-i for i in range(321, -1, -3)),
    "nothing in between": tuple(0.7 if k % 17 == 0 else 1e-30 * (k + 1) for k in range(100)),
    "below the tail of a sum": (0.9, 0.8, 1e-30, 1e-50, 1e-290, 0.3, 1e-17, 0.999, 1e-18),
}
"""Chains whose sums hide a later step: below the last digit of what came before it, or of a second number beside it."""


@pytest.mark.parametrize("betas", ADVERSE.values(), ids=ADVERSE)
def test_log_decay_is_the_sum_over_the_steps_between(betas: tuple[float, ...]) -> None:
    """MAR-6: log(alpha_bar_t/alpha_bar_s) = sum of log(1 - beta_i), s < i <= t, relative to itself, every s and t.

    log1p to an ulp (2 u) for each step, all of one sign; two sums of them, each rounded once (u), and theirs (u).
    Of subnormals, half of the smallest for each rounding. Judged with 2400 bits, so that 1e-321 after 1 keeps 53.
    """
    with flint.ctx.workprec(2400):
        sums = [flint.arb(0)]
        for beta in betas:
            sums.append(sums[-1] - (1 - flint.arb(beta)).log())
        indices = sorted({*range(0, len(betas) + 1, max(1, len(betas) // 90)), 1, len(betas) - 1, len(betas)})
        pairs = [(s, t) for s in indices for t in indices if s < t]
        s, t = torch.tensor(pairs).T
        got = DiscreteChain(betas=betas).log_decay(t=t, s=s).tolist()
        for (j, k), value in zip(pairs, got, strict=True):
            want = sums[k] - sums[j]
            assert abs(flint.arb(-value) - want) <= 4 * U * want + 2.0**-1074, f"from {j} to {k}"


@given(st.lists(st.floats(2.0**-1074, 1.0 - 2.0**-53), min_size=1, max_size=40), st.data())
def test_log_decay_of_any_chain(betas: list[float], data: st.DataObject) -> None:
    """MAR-6, as above, for any steps and any two indices."""
    s, t = sorted(data.draw(st.tuples(st.integers(0, len(betas)), st.integers(0, len(betas)))))
    got = DiscreteChain(betas=tuple(betas)).log_decay(t=torch.tensor([t]), s=torch.tensor([s])).item()
    with flint.ctx.workprec(1200):
        want = sum((-(1 - flint.arb(beta)).log() for beta in betas[s:t]), flint.arb(0))
        assert abs(flint.arb(-got) - want) <= 4 * U * want + 2.0**-1074


def test_log_decay_at_the_ends_of_an_interval() -> None:
    """MAR-6, SCH-3: from 0 it is log_alpha_bar itself; of no step it is 0, whose variance is 0.0 and not -0.0."""
    k = torch.arange(1001)
    assert torch.equal(_ddpm().log_decay(t=k, s=torch.zeros_like(k)), _ddpm().log_alpha_bar(k))
    assert {copysign(1.0, -np.expm1(x)) for x in _ddpm().log_decay(t=k, s=k).tolist()} == {1.0}
    outside = vmap(lambda s, t: _ddpm().log_decay(t=t, s=s))(torch.tensor([-1, 0, 5, 7]), torch.tensor([3, 1001, 4, 8]))
    assert outside.isnan().tolist() == [True, True, True, False]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16], ids=str)
def test_any_shape_of_index_gives_float64(dtype: torch.dtype) -> None:
    """0-d and empty included; signed integers of any width."""
    for shape in ((), (0,), (3,), (2, 3)):
        k = torch.full(shape, 7, dtype=dtype)
        for quantity in QUANTITIES:
            got = _at(_ddpm(), quantity, k)
            assert (got.shape, got.dtype) == (k.shape, torch.float64)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, nan, inf])
def test_a_beta_outside_is_refused(bad: float) -> None:
    """DIS-1: each in (0, 1), both ends excluded; the message counts from 1."""
    with pytest.raises(DomainError, match=rf"expected every beta_k in \(0, 1\), got beta_2 = {bad}.* \(DIS-1\)$"):
        DiscreteChain(betas=(0.5, bad, 0.5))


def test_an_empty_chain_is_refused() -> None:
    """DIS-1: N >= 1."""
    with pytest.raises(DomainError, match=r"expected at least one beta, got none.* \(DIS-1\)$"):
        DiscreteChain(betas=())


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("k", [-1, 4, -1000])
def test_an_index_outside_is_refused(quantity: Quantity, k: int) -> None:
    """DIS-1: k in 0..N; -1 is not the last step. Under vmap it is NaN."""
    chain = DiscreteChain(betas=(0.1, 0.2, 0.3))
    with pytest.raises(DomainError, match=rf"expected k in 0\.\.3, got {k} \(DIS-1\)$"):
        _at(chain, quantity, torch.tensor([1, k]))
    masked = vmap(lambda k: _at(chain, quantity, k))(torch.tensor([1, k]))
    assert masked.isnan().tolist() == [False, True]
    assert masked[0] == _at(chain, quantity, torch.tensor(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bool, torch.complex64], ids=str)
def test_an_index_that_is_no_integer_is_refused(dtype: torch.dtype) -> None:
    """DIS-1: k = 1.0 would be a time, the end of it; a bool is a mask."""
    with pytest.raises(DomainError, match=rf"expected an integer index k .* got {dtype}.* \(DIS-1\)$"):
        _ddpm().alpha(torch.ones(2, dtype=dtype))


def test_log_decay_to_an_index_outside_is_nan() -> None:
    """MAR-6: under vmap, where no error can be raised, one index outside 0..N is enough for NaN, on either side."""
    chain, pairs = DiscreteChain.linear(30), torch.tensor([[1, 31], [7, 40], [-1, 3], [-2, 31], [1, 30]])
    decays = torch.vmap(lambda pair: chain.log_decay(t=pair[1], s=pair[0]))(pairs)
    assert decays.isnan().tolist() == [True, True, True, True, False]


@pytest.mark.usefixtures("unhooked")
def test_log_decay_refuses_two_shapes() -> None:
    """MAR-6: one s for each t, nothing is broadcast."""
    with pytest.raises(DomainError, match=r"expected s and t of one shape, got s \(1,\), t \(2,\).* \(MAR-6\)$"):
        _ddpm().log_decay(t=torch.tensor([2, 3]), s=torch.tensor([1]))


def test_a_chain_is_a_noise_process() -> None:
    """The protocol of chapter 2."""
    assert isinstance(_ddpm(), NoiseProcess)


def test_named_chains() -> None:
    """DIS-3: linear, scaled linear, capped cosine and sampled, each against its definition."""
    linear = DiscreteChain.linear(1000)
    for k in (1, 500, 1000):
        exact = (Fraction(1, 10) + Fraction(k - 1, 999) * (20 - Fraction(1, 10))) / 1000
        assert abs(Fraction(linear.betas[k - 1]) - exact) <= 4 * Fraction(2) ** -53 * exact
    scaled = DiscreteChain.scaled_linear(1000)
    assert scaled.betas[0] == pytest.approx(8.5e-4, rel=2.0**-50)
    assert scaled.betas[-1] == pytest.approx(0.012, rel=2.0**-50)
    cosine = DiscreteChain.cosine(1000)
    assert [k for k, beta in enumerate(cosine.betas, start=1) if beta == 0.999] == [1000]
    assert cosine.alpha_bar(torch.tensor(1000)).item() == pytest.approx(2.43e-9, rel=1e-3)
    assert DiscreteChain.linear(1, beta_start=0.5, beta_end=0.7).betas == (0.5,)


Named: TypeAlias = Callable[..., DiscreteChain]


@pytest.mark.parametrize(
    ("make", "first", "last"), [(DiscreteChain.linear, 1e-4, 0.02), (DiscreteChain.scaled_linear, 8.5e-4, 0.012)]
)
def test_named_chains_take_the_numbers_of_the_papers(make: Named, first: float, last: float) -> None:
    """DIS-3: variances per step, evenly spaced themselves or in their roots, to a few roundings; these are the default.

    Two roundings of each root, four of an interpolation, one of the square; NumPy's linspace has as many.
    """
    betas = np.array(make(1000, beta_start=first, beta_end=last).betas)
    assert make(1000).betas == tuple(betas)
    power = 0.5 if make is DiscreteChain.scaled_linear else 1.0
    want = np.linspace(first**power, last**power, 1000) ** (1 / power)
    assert np.abs(betas / want - 1.0).max() <= 24 * U


@pytest.mark.parametrize("make", [DiscreteChain.linear, DiscreteChain.scaled_linear])
def test_rates_in_place_of_betas_are_refused(make: Named) -> None:
    """DIS-3: rates per unit of time are no variances, and the names of rates are not taken: one sentence each."""
    for rates in ((0.1, 20.0), (0.85, 12.0)):
        with pytest.raises(
            DomainError, match=r"variances per step \(a rate per unit of time over N\), got .* \(DIS-3\)$"
        ):
            make(1000, beta_start=rates[0], beta_end=rates[1])
    for ends in ({"beta_min": 1e-4, "beta_max": 0.02}, {"beta_max": 20.0}):
        with pytest.raises(
            DomainError, match=rf"expected beta_start and beta_end, .*, got {', '.join(ends)} \(DIS-3\)$"
        ):
            make(1000, **ends)


@pytest.mark.parametrize("steps", [10, 1000])
def test_sampled_chain_meets_its_schedule(steps: int) -> None:
    """DIS-3: log alpha_bar_k = log alpha_bar(k/N) at every k: a beta rounds by 2^-53, and 1 - beta divides that."""
    schedule = LinearSchedule()
    chain, k = DiscreteChain.sampled(schedule, steps), torch.arange(steps + 1)
    gap = (chain.log_alpha_bar(k) - schedule.log_alpha_bar(k.double() / steps)).abs()
    betas = torch.tensor(chain.betas, dtype=torch.float64)
    loss = torch.cat([torch.zeros(1, dtype=torch.float64), (betas / (1 - betas)).cumsum(0)])
    assert bool((gap <= 2.0**-50 * (loss + chain.log_alpha_bar(k).abs())).all())


def test_invalid_named_chains_are_refused() -> None:
    """DIS-3: below 21 steps the linear default has a beta of 1 or more; cosine needs its cap; N is 1 at least."""
    need = r"expected beta_start and beta_end in \(0, 1\), variances per step .*, got "
    for steps, first in ((10, 0.01), (20, 0.005)):
        with pytest.raises(DomainError, match=rf"{need}{first} and {20.0 / steps} at N = {steps} \(DIS-3\)$"):
            DiscreteChain.linear(steps)
    with pytest.raises(DomainError, match=rf"{need}0.12\d* and 1.7\d* at N = 7 \(DIS-3\)$"):
        DiscreteChain.scaled_linear(7)
    for bad in (0.0, -1.0, nan):
        for make in (DiscreteChain.linear, DiscreteChain.scaled_linear):
            with pytest.raises(DomainError, match=r"\(DIS-3\)$"):
                make(100, beta_start=bad)
    assert len(DiscreteChain.linear(21).betas) == 21
    with pytest.raises(DomainError, match=r"expected every beta_k.* \(DIS-1\)$"):
        DiscreteChain.sampled(CosineSchedule(), 10)
    for named in (DiscreteChain.linear, DiscreteChain.cosine, DiscreteChain.scaled_linear):
        with pytest.raises(DomainError, match=r"expected N >= 1.* \(DIS-3\)$"):
            named(0)


def _rescaled(betas: tuple[float, ...]) -> list[Fraction]:
    """Return alpha_bar_k of DIS-6 for k = 0..N, from roots shifted and scaled with 60 digits."""
    with localcontext(prec=60):
        roots = [(Decimal(bar.numerator) / Decimal(bar.denominator)).sqrt() for bar in _products(betas)]
        scale = roots[1] / (roots[1] - roots[-1])
        return [Fraction(1), *(Fraction((scale * (root - roots[-1])) ** 2) for root in roots[1:])]


@pytest.mark.parametrize(
    "chain",
    [
        *(DiscreteChain.linear(100), DiscreteChain.cosine(100), DiscreteChain.scaled_linear(50)),
        *(DiscreteChain.linear(30), DiscreteChain(betas=(0.25, 0.5))),
    ],
    ids=["linear", "cosine", "scaled", "short", "shortest"],
)
def test_zero_terminal_snr_is_the_shifted_root(chain: DiscreteChain) -> None:
    """DIS-6: alpha_bar as by shifting and scaling the roots; the first beta stays, and the end has no signal."""
    ended, wanted = chain.with_zero_terminal_snr(), _rescaled(chain.betas)
    last, k = len(chain.betas), torch.arange(len(chain.betas) + 1)
    got, log = ended.alpha_bar(k).tolist(), ended.log_alpha_bar(k).tolist()
    for i in range(last):
        # Each beta has 8 roundings; in -log1p(-beta) they weigh up to 3.3 times, as beta <= 0.88 until k = N; log1p and
        # the sum add 3 u, and exp 2 u.
        assert abs(Fraction(got[i]) - wanted[i]) <= wanted[i] * Fraction(U * (30 * abs(log[i]) + 2)), i
    assert max(ended.betas[:-1]) <= 0.88
    assert ended.betas[0] == chain.betas[0]
    assert (ended.betas[-1], got[last], log[last]) == (1.0, 0.0, -inf)
    assert (ended.alpha(k)[last].item(), ended.sigma(k)[last].item(), ended.log_snr(k)[last].item()) == (0.0, 1.0, -inf)


def test_decay_to_an_end_without_signal() -> None:
    """DIS-6: log(alpha_bar_N/alpha_bar_k) is -inf for every k < N and 0 for N; between others it is that of betas."""
    ended = DiscreteChain.linear(37).with_zero_terminal_snr()
    k = torch.arange(38)
    to_end = ended.log_decay(t=torch.full_like(k, 37), s=k)
    assert to_end.tolist() == [-inf] * 37 + [0.0]
    plain = DiscreteChain(betas=ended.betas[:-1])
    s, t = torch.triu_indices(37, 37).unbind()
    torch.testing.assert_close(ended.log_decay(t=t, s=s), plain.log_decay(t=t, s=s), rtol=8 * U, atol=0.0)


def test_chain_of_one_step_has_no_zero_terminal_snr() -> None:
    """DIS-6: its first root is its last."""
    with pytest.raises(DomainError, match=r"^expected at least 2 steps to rescale, got 1 \(DIS-6\)$"):
        DiscreteChain(betas=(0.5,)).with_zero_terminal_snr()


@pytest.mark.parametrize("betas", [(0.5, 1.0), (0.1, 0.2, 1.0)])
def test_a_last_beta_of_one_is_asked_for(betas: tuple[float, ...]) -> None:
    """DIS-1, DIS-6: beta_N = 1 is refused unless the chain is said to end in noise; alpha_bar_N is then exactly 0."""
    with pytest.raises(DomainError, match=r"every beta_k in \(0, 1\), got beta_\d = 1\.0"):
        DiscreteChain(betas=betas)
    chain, last = DiscreteChain(betas=betas, ends_in_noise=True), torch.tensor([len(betas)])
    assert (chain.alpha_bar(last).item(), chain.sigma(last).item(), chain.log_snr(last).item()) == (0.0, 1.0, -inf)
    with pytest.raises(DomainError, match=r"got beta_1 = 1\.0"):
        DiscreteChain(betas=(1.0, *betas), ends_in_noise=True)


@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("bad", [0.0, 1.0, 2.0])
def test_only_the_last_beta_may_be_one(at: int, bad: float) -> None:
    """DIS-6: a chain that ends in noise has betas in (0, 1) before its end, each of them, and a last one in (0, 1]."""
    betas = [0.5] * 4 + [1.0]
    betas[at - 1] = bad
    with pytest.raises(DomainError, match=rf"got beta_{at} = {bad}"):
        DiscreteChain(betas=tuple(betas), ends_in_noise=True)
    if bad != 1.0:
        with pytest.raises(DomainError, match=rf"got beta_5 = {bad}"):
            DiscreteChain(betas=(0.5,) * 4 + (bad,), ends_in_noise=True)


def test_the_smallest_betas_count() -> None:
    """DIS-2: log alpha_bar of betas that are the smallest float64 is minus their number of these."""
    least = 2.0**-1074
    chain = DiscreteChain(betas=(least,) * 3)
    assert chain.log_alpha_bar(torch.arange(4)).tolist() == [0.0, -least, -2.0 * least, -3.0 * least]
