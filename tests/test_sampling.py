"""refdiff.sampling: samplers, their names, and runs along a grid of times."""

from __future__ import annotations

import itertools
from math import log2
from typing import Any, get_args

import pytest
import torch

from refdiff import CosineSchedule, LinearSchedule, Objective, sample
from refdiff.chain import DiscreteChain
from refdiff.conformance import interface
from refdiff.errors import DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.samplers import DDIM, Ancestral, Euler, EulerMaruyama, Rule, RungeKutta4, Sampler
from refdiff.sampling import sampler_named, time_grid

from .gaussian import best, moved, of, seeded

LINEAR, CHAIN = LinearSchedule(), DiscreteChain.linear(1000)
SAMPLERS: tuple[Sampler, ...] = (EulerMaruyama(), Ancestral(), DDIM(), DDIM(eta=0.5), Euler(), RungeKutta4())


@pytest.mark.parametrize(("sampler", "order"), [(Euler(), 1), (RungeKutta4(), 4)])
def test_order_of_the_flow(sampler: Sampler, order: int) -> None:
    """SMP-8: on Gaussian data, doubling the steps divides the error by 2^order; slopes within 4% of it."""
    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    want, errors = moved(LINEAR, x, 1.0, 0.25), []
    for steps in (240, 480, 960) if order == 1 else (48, 96, 192):
        grid = [1.0 - 0.75 * i / steps for i in range(steps + 1)]
        errors.append(float((sample(of(LINEAR), best(LINEAR), x, grid, sampler=sampler) - want).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert abs(log2(coarse / fine) - order) <= 0.04 * order


def test_ddim_loses_variance_in_few_steps() -> None:
    """SMP-3: with the exact denoiser, 50 steps of the trainer lose 6 % of a Gaussian's variance, 100 half of that.

    25 steps of RK4 lose less than 0.1 %. The guide of the trainer quotes these figures; the bounds are their rounding.
    """
    cosine, x = CosineSchedule(), torch.tensor([[1.0], [-1.0]], dtype=torch.float64)

    def lost(sampler: Sampler, steps: int, end: float) -> float:
        grid = time_grid(cosine, steps, t_min=end, t_max=0.999)
        ends = [sample(of(cosine, "v"), best(cosine, "v"), x, grid, sampler=sampler), moved(cosine, x, 0.999, end)]
        found, exact = (float(y[0] - y[1]) for y in ends)
        return 1.0 - (found / exact) ** 2

    fifty, hundred = lost(DDIM(), 50, 0.0), lost(DDIM(), 100, 0.0)
    assert 0.055 < fifty < 0.065
    assert 1.9 < fifty / hundred < 2.1
    assert abs(lost(RungeKutta4(), 25, 0.001)) < 0.001


@pytest.mark.parametrize(
    ("process", "sampler"), [*((LINEAR, sampler) for sampler in SAMPLERS), (CHAIN, Ancestral()), (CHAIN, DDIM())]
)
def test_samples_do_not_depend_on_the_type_of_prediction(process: Any, sampler: Sampler) -> None:
    """A denoiser that predicts x_0, v or the score walks where that of eps does, for one generator; twice the same."""
    grid = [1000, 600, 200, 20] if process is CHAIN else [1.0, 0.6, 0.2, 0.02]
    x = torch.randn(3, 2, generator=seeded(1), dtype=torch.float64)
    ends = [
        sample(of(process, to), best(process, to), x, grid, sampler=sampler, generator=seeded(7))
        for to in ("eps", "eps", "x_0", "v", "score")
    ]
    assert torch.equal(ends[0], ends[1])
    for end in ends[2:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


def test_times_that_do_not_fall_are_refused() -> None:
    """SMP-6: one time, rising times and equal times."""
    for grid in ([1.0], [0.5, 0.9], [0.5, 0.5]):
        with pytest.raises(DomainError, match=r"expected at least two times, strictly decreasing.* \(SMP-6\)$"):
            sample(of(LINEAR), best(LINEAR), torch.ones(2, 3), grid)


@pytest.mark.parametrize("sampler", [EulerMaruyama(), Euler(), RungeKutta4()])
def test_samplers_with_a_rate_refuse_a_chain(sampler: Any) -> None:
    """SMP-6: before the denoiser is evaluated."""
    with pytest.raises(DomainError, match=rf"^expected a schedule for {sampler.name}: .* \(SMP-6\)$"):
        sample(of(CHAIN), lambda x, t: pytest.fail("evaluated"), torch.ones(2, 3), [10, 5], sampler=sampler)


def test_division_by_zero_is_refused() -> None:
    """PAR-1: from eps, x_0_hat divides by alpha, which is 0 at the end of the cosine schedule."""
    with pytest.raises(DomainError, match=r"expected alpha > 0.* \(PAR-1\)$"):
        sample(of(CosineSchedule()), lambda x, t: x, torch.ones(2, 3), [1.0, 0.5], sampler=DDIM())


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_eta_outside_its_range_is_refused(eta: float) -> None:
    """SMP-3: by the sampler itself, before it takes a step."""
    with pytest.raises(DomainError, match=r"^expected eta in \[0, 1\], got .* \(SMP-3\)$"):
        DDIM(eta=eta)


def test_each_name_has_one_sampler() -> None:
    """The contract's four names and rk4 name the samplers, and eta is an option of ddim alone."""
    assert set(get_args(interface.Rule)) == set(get_args(Rule)) - {"rk4"}
    made: list[Any] = [sampler_named(name) for name in get_args(Rule)]
    assert made == [EulerMaruyama(), Ancestral(), DDIM(), Euler(), RungeKutta4()]
    assert [sampler.name for sampler in made] == list(get_args(Rule))
    assert sampler_named("ddim", eta=0.5) == DDIM(eta=0.5)


@pytest.mark.parametrize("name", ["em", "ddpm", "ode", "rk4"])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_eta_that_is_not_used_is_refused(name: str, eta: float) -> None:
    """SMP-3: eta belongs to ddim; given for another sampler, even as 0, it is refused."""
    with pytest.raises(DomainError, match=rf"^expected no eta for the sampler '{name}', .*, got {eta} \(SMP-3\)$"):
        sampler_named(name, eta=eta)


@pytest.mark.parametrize(("old", "new"), [("ancestral", "ddpm"), ("euler_maruyama", "em"), ("flow", "ode")])
def test_former_names_are_refused_with_the_present(old: str, new: str) -> None:
    """SMP-6: one vocabulary, that of the contract."""
    with pytest.raises(DomainError, match=rf"^expected the sampler '{new}', got its former name '{old}' \(SMP-6\)$"):
        sampler_named(old)
    with pytest.raises(DomainError, match=r"^expected one of the samplers em, ddpm, .*, got 'none' \(SMP-6\)$"):
        sampler_named("none")


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(
    ("given", "need"),
    [
        ("ddim", r"sampler=DDIM\(\)"),
        ("ancestral", r"sampler=Ancestral\(\)"),
        ("rk4", r"sampler=RungeKutta4\(\)"),
        ("none", r"a sampler object, such as DDIM\(\)"),
        (DDIM, r"a sampler object, such as DDIM\(\)"),
        (None, r"a sampler object, such as DDIM\(\)"),
    ],
)
def test_what_is_no_sampler_is_refused_with_the_object(given: Any, need: str) -> None:
    """SMP-6: a name, a class or nothing in place of a sampler; the error says what to write."""
    with pytest.raises(DomainError, match=rf"^expected {need}, got .* \(SMP-6\)$"):
        sample(of(LINEAR), best(LINEAR), torch.ones(2, 3), [0.9, 0.5], sampler=given)


@pytest.mark.usefixtures("unhooked")
def test_a_process_in_place_of_the_objective_is_refused() -> None:
    """SMP-6: what the denoiser predicts is never guessed: a bare process is refused, and there is no default."""
    with pytest.raises(DomainError, match=r"^expected an Objective, .*, got LinearSchedule \(SMP-6\)$"):
        sample(LINEAR, best(LINEAR), torch.ones(2, 3), [0.9, 0.5])  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM()])
@pytest.mark.parametrize("prediction", ["x_0", "v"])
def test_sampling_from_pure_noise_returns_the_predicted_x_0(sampler: Sampler, prediction: Parameterization) -> None:
    """PAR-7: at alpha = 0 x_0_hat is x_0 itself or -v; x_t - sigma eps_hat over alpha would be 0/0."""
    x, said = torch.randn(2, 3, generator=seeded(0)), torch.full((2, 3), 0.25)
    sign = -1.0 if prediction == "v" else 1.0
    landed = sample(of(CosineSchedule(), prediction), lambda x, t: said, x, [1.0, 0.0], sampler=sampler)
    torch.testing.assert_close(landed, sign * said, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_x_0_hat_keeps_its_digits_where_alpha_is_small(sampler: Sampler, dtype: torch.dtype) -> None:
    """PAR-7: from v at k = 1000 of the cosine chain, alpha = 4.9e-5, alpha x_t - sigma v has an error of a few u.

    A step to k = 0 returns it: four roundings of numbers below 1, where a detour by eps_hat divides them by alpha.
    """
    chain, t = DiscreteChain.cosine(1000), torch.tensor([1000])
    x_0, eps = torch.tensor([[0.5, -0.75]], dtype=torch.float64), torch.tensor([[1.25, -0.5]], dtype=torch.float64)
    q = marginal(chain, t)
    x, v = (y.to(dtype) for y in (q.alpha * x_0 + q.sigma * eps, q.alpha * eps - q.sigma * x_0))
    exact = (q.alpha * x.double() - q.sigma * v.double()).to(torch.float64)
    landed = sample(of(chain, "v"), lambda x, t: v, x, [1000, 0], sampler=sampler)
    assert float((landed.double() - exact).abs().max()) <= 2 * torch.finfo(dtype).eps


def test_time_grid_of_a_schedule_and_of_a_chain() -> None:
    """SMP-6: n + 1 times from t_max to t_min for a schedule; distinct indices from N to 0 for a chain."""
    assert time_grid(LINEAR, 4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(LINEAR, 2, t_min=0.25, t_max=0.75) == [0.75, 0.5, 0.25]
    assert time_grid(CHAIN, 4) == [1000, 750, 500, 250, 0]
    assert time_grid(DiscreteChain.cosine(3), 50) == [3, 2, 1, 0]
    processes: tuple[Any, ...] = (LINEAR, CHAIN)
    for process, n in itertools.product(processes, (1, 7, 999, 1001)):
        grid = time_grid(process, n)
        assert all(later > earlier for later, earlier in itertools.pairwise(grid))
        assert len(grid) == min(n, 1000 if process is CHAIN else n) + 1


@pytest.mark.usefixtures("unhooked")
def test_a_grid_outside_the_process_is_refused() -> None:
    """SMP-6, TIM-1: no steps, a range outside [0, 1], a range for a chain, and what is no process."""
    for process in (LINEAR, CHAIN):
        with pytest.raises(DomainError, match=r"expected n >= 1 times, got 0 \(TIM-1\)$"):
            time_grid(process, 0)
    with pytest.raises(DomainError, match=r"expected 0 <= t_min < t_max <= 1, got .* \(TIM-1\)$"):
        time_grid(LINEAR, 5, t_max=1000.0)
    with pytest.raises(DomainError, match=r"expected no t_min and t_max for a chain, .* \(SMP-6\)$"):
        time_grid(CHAIN, 5, t_min=0.001)
    with pytest.raises(DomainError, match=r"expected a schedule or a DiscreteChain, got Objective \(SMP-6\)$"):
        time_grid(of(LINEAR), 5)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_draws_no_more_noise_than_it_uses(eta: float) -> None:
    """SMP-3: with eta = 0 the generator stays as it was, so that what is drawn next does not depend on the run."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    objective = Objective(process=LinearSchedule(), prediction="x_0")
    sampler, x, (t, s) = DDIM(eta=eta), torch.ones(2, 3), torch.tensor([[1.0, 1.0], [0.5, 0.5]])
    sampler.step(objective, lambda x_t, t: torch.zeros_like(x_t), x, t=t, s=s, generator=generator)
    assert torch.equal(generator.get_state(), before) == (eta == 0.0)
