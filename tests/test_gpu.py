"""The core gives on a GPU what it gives on the CPU: `python -m validation.tools.gpu` runs these where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import pytest
import torch
from torch import Generator, Tensor

import refdiff
from refdiff.parameterization import Parameterization
from refdiff.positions import PositionSampler
from refdiff.steps import ddim_step, ddpm_step, em_step, ode_step
from refdiff.variational import decoder_term, prior_term, step_term

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none"),
    # torch warns of what its compiler does not do.
    pytest.mark.filterwarnings("default"),
]
Call: TypeAlias = Callable[[torch.device], Tensor]

LINEAR, COSINE = refdiff.LinearSchedule(), refdiff.CosineSchedule()
CHAIN = refdiff.DiscreteChain.linear(1000)
PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")
WEIGHTS: tuple[refdiff.Weight, ...] = (
    *(refdiff.UniformWeight(), refdiff.InverseSNR(), refdiff.MinSNR(), refdiff.SNRWeight(), refdiff.SNRPlusOne()),
    refdiff.LikelihoodWeight(),
)
POSITIONS: tuple[PositionSampler, ...] = (
    *(refdiff.UniformPositions(), refdiff.Stratified(), refdiff.Importance(torch.tensor([1.0, 3.0, 2.0]))),
    refdiff.SecondMoment(cells=8),
)
TOLERANCE = 1e-11
"""Relative, in binary64: functions of math libraries differ by ulps, 2e-16, which a loss of digits makes 1e4 larger."""


def _drawn(device: torch.device, count: int = 3) -> list[Tensor]:
    """Return arrays (64, 3) of N(0, 1) in float64, the same on every device."""
    generator = Generator().manual_seed(0)
    return [torch.randn(64, 3, generator=generator, dtype=torch.float64).to(device) for _ in range(count)]


def _times(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return t, and s < t, inside the domain of every formula."""
    t = torch.linspace(0.02, 0.98, 64, dtype=torch.float64, device=device)
    return t, 0.9 * t


def _near(call: Call) -> None:
    here, there = call(torch.device("cpu")), call(torch.device("cuda"))
    assert there.device.type == "cuda"
    assert here.dtype == there.dtype
    torch.testing.assert_close(there.cpu(), here, rtol=TOLERANCE, atol=TOLERANCE)


def _schedule(schedule: refdiff.Schedule, name: str, device: torch.device) -> Tensor:
    t, s = _times(device)
    x, score, noise = _drawn(device)
    known: dict[str, Callable[[], Tensor]] = {
        "beta": lambda: schedule.beta(t),
        "log_snr": lambda: schedule.log_snr(t),
        "drift": lambda: refdiff.drift(schedule, x, t),
        "diffusion": lambda: refdiff.diffusion_coefficient(schedule, t),
        "reverse": lambda: refdiff.reverse_drift(schedule, x, score, t),
        "flow": lambda: refdiff.probability_flow(schedule, x, score, t),
        "transition": lambda: refdiff.transition(schedule, t=t, s=s).sigma,
        "posterior": lambda: refdiff.posterior(schedule, t=t, s=s).variance,
        "log_density": lambda: refdiff.log_density(schedule, x, score, t),
        "score": lambda: refdiff.conditional_score(schedule, x, score, t),
        "em": lambda: em_step(schedule, x, eps_hat=score, t=t, s=s, noise=noise),
        "ode": lambda: ode_step(schedule, x, eps_hat=score, t=t, s=s),
        "ddpm": lambda: ddpm_step(schedule, x, x_0_hat=score, t=t, s=s, noise=noise),
        "ddim": lambda: ddim_step(schedule, x_0_hat=score, eps_hat=x, t=t, s=s, noise=noise, eta=0.5),
        "prior": lambda: prior_term(schedule, x, t),
        "step": lambda: step_term(schedule, x, score, t=t, s=s, variance="large"),
        "decoder": lambda: decoder_term(torch.tanh(x), score, t),
    }
    return known[name]()


NAMES = (
    *("beta", "log_snr", "drift", "diffusion", "reverse", "flow", "transition", "posterior", "log_density", "score"),
    *("em", "ode", "ddpm", "ddim", "prior", "step", "decoder"),
)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", NAMES)
def test_functions_of_a_schedule(schedule: refdiff.Schedule, name: str) -> None:
    """SCH, MAR, SDE, SMP-1 to SMP-4, LOS-13 to LOS-15."""
    _near(partial(_schedule, schedule, name))


def test_chain() -> None:
    """DIS: each scale of a chain, at every index, and a step of DDPM."""

    def scales(device: torch.device) -> Tensor:
        k = torch.arange(1, 1001, device=device)
        return torch.stack([CHAIN.alpha(k), CHAIN.sigma(k), CHAIN.log_snr(k)])

    def step(device: torch.device) -> Tensor:
        x, x_0_hat, noise = _drawn(device)
        k = torch.arange(2, 66, device=device)
        return ddpm_step(CHAIN, x, x_0_hat=x_0_hat, t=k, s=k - 1, noise=noise)

    _near(scales)
    _near(step)


@pytest.mark.parametrize("source", PREDICTIONS)
@pytest.mark.parametrize("to", PREDICTIONS)
def test_conversions(source: Parameterization, to: Parameterization) -> None:
    """PAR-1 to PAR-4."""

    def converted(device: torch.device) -> Tensor:
        x, value, _ = _drawn(device)
        return refdiff.convert(COSINE, value, x, _times(device)[0], source=source, to=to)

    _near(converted)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: type(weight).__name__)
def test_losses_and_their_gradients(prediction: Parameterization, weight: refdiff.Weight) -> None:
    """LOS-1 to LOS-8, with the gradient of the prediction."""

    def loss(device: torch.device) -> Tensor:
        x_0, eps, predicted = _drawn(device)
        predicted.requires_grad_()
        objective = refdiff.Objective(process=LINEAR, prediction=prediction, weight=weight)
        losses = objective(lambda x, t: predicted, x_0, eps, _times(device)[0])
        (gradient,) = torch.autograd.grad(losses.sum(), predicted)
        return torch.cat([losses.detach()[:, None], gradient], dim=1)

    _near(loss)


@pytest.mark.parametrize("sampler", ["em", "ddpm", "ddim", "ode", "rk4"])
def test_samplers(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SMP-6: a run of 20 steps from the same state; that noise is the same which em and ddpm draw."""
    times = refdiff.time_grid(LINEAR, 20, t_min=0.01)
    objective = refdiff.Objective(process=LINEAR, prediction="eps")

    def run(device: torch.device) -> Tensor:
        (x,), generator = _drawn(device, 1), Generator().manual_seed(1)

        def noise(x: Tensor, _: Generator | None) -> Tensor:
            return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)

        monkeypatch.setattr("refdiff.samplers._noise_like", noise)
        return refdiff.sample(objective, _network, x, times, sampler=refdiff.sampler_named(sampler))

    _near(run)


def _network(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(x) * t[:, None]


@pytest.mark.parametrize("positions", POSITIONS, ids=lambda positions: type(positions).__name__)
def test_times_are_drawn_on_the_device(positions: PositionSampler) -> None:
    """TIM-1 to TIM-4: in range, with weights of mean 1, by the same numbers for the same seed."""
    times = refdiff.Continuous(sampler=positions, t_min=0.001, t_max=0.999)
    (t, weight), (again, _) = (times(4096, generator=Generator("cuda").manual_seed(3)) for _ in range(2))
    assert {t.device.type, weight.device.type} == {"cuda"}
    assert bool(((t >= 0.001) & (t <= 0.999)).all())
    # Of 4096 weights of at most 3: six standard deviations of their mean.
    assert abs(float(weight.mean()) - 1.0) <= 6.0 * 3.0 / 64.0
    assert torch.equal(t, again)


def test_average_of_weights() -> None:
    """EMA-1: three updates."""

    def averaged(device: torch.device) -> Tensor:
        model = torch.nn.Linear(3, 3, bias=False, dtype=torch.float64).to(device)
        average = refdiff.average_weights(model, decay=0.9)
        for value in _drawn(device):
            model.weight.data = value[:3]
            average.update_parameters(model)
        return next(average.module.parameters()).detach()

    _near(averaged)
