"""torch.compile and function transforms: the same numbers, the same slopes, and NaN where eager code raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, vmap

from refdiff.chain import DiscreteChain
from refdiff.marginal import conditional_score, log_density, marginal, perturb, posterior_mean, transition
from refdiff.parameterization import convert
from refdiff.schedule import CosineSchedule, LinearSchedule

# The hook is no part of what a user compiles; see conftest.
pytestmark = pytest.mark.usefixtures("unhooked")

U = 2.0**-53
LINEAR, COSINE = LinearSchedule(), CosineSchedule()
SCHEDULES: list[LinearSchedule | CosineSchedule] = [LINEAR, COSINE, LinearSchedule(beta_min=0.0)]
CHAIN = DiscreteChain(betas=(0.1, 0.2, 0.3))
QUANTITIES = ("beta", "log_alpha_bar", "alpha_bar", "alpha", "sigma", "log_snr")
ENDS = torch.tensor([0.0, 2.0**-30, 0.25, 0.5, 1.0], dtype=torch.float64)

of_every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was compiled before: dynamo gives up after eight versions of one function."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _compiled(f: Callable[..., Tensor], backend: str = "aot_eager") -> Callable[..., Tensor]:
    return torch.compile(f, fullgraph=True, backend=backend)


def _data(seed: int) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _slopes(f: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(t) and the gradient of its sum."""
    at = t.clone().requires_grad_()
    value = f(at)
    (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope


def _close(got: Tensor, want: Tensor) -> None:
    """Ask for the same to 32 roundings: exp, sin and the order of sums may differ from eager; infinities may not."""
    assert torch.allclose(got, want, rtol=32 * U, atol=32 * U), f"expected {want}, got {got}"


def test_inductor_compiles_perturb_and_its_slope_in_time() -> None:
    """MAR-4, NUM-4: generated code, forward and backward, ends included; no break of the graph."""
    x_0, eps = _data(1), _data(2)
    eps[0] = 0.0  # sigma' is infinite at t = 0

    def noised(t: Tensor) -> Tensor:
        return perturb(COSINE, x_0, eps, t)

    for got, want in zip(_slopes(_compiled(noised, "inductor"), ENDS), _slopes(noised, ENDS), strict=True):
        _close(got, want)


@pytest.mark.parametrize("quantity", QUANTITIES)
@of_every_schedule
def test_every_quantity_compiles(schedule: LinearSchedule | CosineSchedule, quantity: str) -> None:
    """NUM-4: value and one-sided slope, the infinite ones among them."""
    f: Callable[[Tensor], Tensor] = getattr(schedule, quantity)
    for got, want in zip(_slopes(_compiled(f), ENDS), _slopes(f, ENDS), strict=True):
        assert not got.isnan().any()
        _close(got, want)


def test_everything_else_compiles() -> None:
    """Densities, posteriors, conversions and the inverse time, in one graph, with their slopes."""
    x, y, t = _data(3), _data(4), torch.linspace(0.5, 0.75, 5, dtype=torch.float64)

    def all_of_it(t: Tensor) -> Tensor:
        total = (
            conditional_score(COSINE, x, y, t)
            + log_density(COSINE, x, y, t)[:, None]
            + posterior_mean(COSINE, x, y, t=t, s=t / 2)
        )
        total = total + convert(COSINE, x, y, t, source="v", to="score")
        return total + (transition(COSINE, t=t, s=t / 2).sigma + LINEAR.time_of_log_snr(LINEAR.log_snr(t)))[:, None]

    # Six terms, each of size 30 at most together with its slope, to a few roundings.
    for got, want in zip(_slopes(_compiled(all_of_it), t), _slopes(all_of_it, t), strict=True):
        assert torch.allclose(got, want, rtol=0.0, atol=6 * 30 * 4 * U)


def test_a_chain_compiles() -> None:
    """DIS-1: the table is looked up inside the graph."""
    k, x, y = torch.tensor([0, 1, 2, 3, 3]), _data(5), _data(6)
    assert torch.equal(_compiled(lambda k: perturb(CHAIN, x, y, k))(k), perturb(CHAIN, x, y, k))


@pytest.mark.parametrize("quantity", QUANTITIES)
@of_every_schedule
def test_transforms_agree_with_autograd(schedule: LinearSchedule | CosineSchedule, quantity: str) -> None:
    """NUM-4: vmap is the batch, vmap(grad), vmap(jacfwd) and the diagonal of jacfwd are the slope, bit for bit."""
    f: Callable[[Tensor], Tensor] = getattr(schedule, quantity)
    value, slope = _slopes(f, ENDS)
    assert torch.equal(vmap(f)(ENDS), value)
    assert torch.equal(vmap(grad(f))(ENDS), slope)
    assert torch.equal(vmap(jacfwd(f))(ENDS), slope)
    assert torch.equal(jacfwd(f)(ENDS).diagonal(), slope)


def test_vmap_over_draws_is_a_loop_over_draws() -> None:
    """MAR-5: many noise draws for one batch, as a caller may map them."""
    t, x_0 = ENDS, _data(7)
    draws = torch.stack([_data(seed) for seed in (8, 9)])
    got = vmap(lambda eps: perturb(COSINE, x_0, eps, t))(draws)
    assert torch.equal(got, torch.stack([perturb(COSINE, x_0, eps, t) for eps in draws]))
    got = vmap(lambda x_0, t: perturb(COSINE, x_0, draws[0], t))(draws, torch.stack([t, t.flip(0)]))
    assert torch.equal(
        got, torch.stack([perturb(COSINE, draws[0], draws[0], t), perturb(COSINE, draws[1], draws[0], t.flip(0))])
    )
    got = vmap(lambda t: perturb(COSINE, x_0, draws[0], t))(torch.stack([t, t.flip(0)]))
    assert torch.equal(got, torch.stack([perturb(COSINE, x_0, draws[0], t) for t in (t, t.flip(0))]))


OUTSIDE = torch.tensor([0.5, -1e-9, 1.0 + 1e-9, 7.0, torch.nan], dtype=torch.float64)
ONLY_FIRST = [False, True, True, True, True]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_time_outside_is_nan_where_raising_is_impossible(quantity: str) -> None:
    """NUM-3: under compile and vmap: NaN, never a plausible number, and the others unharmed."""
    for schedule in (LINEAR, COSINE):
        f: Callable[[Tensor], Tensor] = getattr(schedule, quantity)
        for mapped in (vmap(f), _compiled(f)):
            assert mapped(OUTSIDE).isnan().tolist() == ONLY_FIRST


def test_results_at_a_time_outside_are_nan() -> None:
    """NUM-3 carries through: marginal, transition, posterior and inverse."""
    x = torch.ones(5, 3, dtype=torch.float64)
    assert _compiled(lambda t: perturb(LINEAR, x, x, t))(OUTSIDE).isnan().all(1).tolist() == ONLY_FIRST
    assert vmap(lambda t: marginal(COSINE, t).sigma)(OUTSIDE).isnan().tolist() == ONLY_FIRST
    backwards = torch.tensor([0.6, 0.4], dtype=torch.float64)
    start = torch.full((2,), 0.5, dtype=torch.float64)
    pairs: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda s, t: transition(LINEAR, t=t, s=s).alpha * transition(LINEAR, t=t, s=s).sigma,
        lambda s, t: transition(COSINE, t=t, s=s).sigma,
        lambda s, t: posterior_mean(COSINE, x[:2], x[:2], t=t, s=s)[:, 0],
    ]
    for f in pairs:
        assert _compiled(f)(start, backwards).isnan().tolist() == [False, True]
    assert vmap(LINEAR.time_of_log_snr)(torch.tensor([0.0, -11.0])).isnan().tolist() == [False, True]


def test_an_index_outside_is_nan_where_raising_is_impossible() -> None:
    """NUM-3: a chain of three steps has no fourth, and no step before the data."""
    k = torch.tensor([3, 4, -1])
    for f in (vmap(CHAIN.alpha), _compiled(CHAIN.alpha)):
        assert f(k).isnan().tolist() == [False, True, True]
    got = _compiled(lambda t, s: CHAIN.log_decay(t=t, s=s))(torch.tensor([2, 1]), torch.tensor([1, 3]))
    assert got.isnan().tolist() == [False, True]
