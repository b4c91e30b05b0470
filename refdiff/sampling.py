"""The few samplers that monitoring and validation need (spec chapter 10). Training needs none.

One step goes from x_t to x_s, s < t, given a prediction of eps at (x_t, t):

    ancestral        posterior mean for x_0_hat, plus its deviation times noise         `ancestral_step`, SMP-2
    DDIM             alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise           `ddim_step`, SMP-3
    Euler-Maruyama   one step of the reverse SDE                                        `euler_maruyama_step`, SMP-1
    flow             one Euler, or Runge-Kutta, step of the probability flow            `flow_step`, `rk4_step`, SMP-4

`sample` walks a grid of times with any of them; `flow_adaptive` hands the flow to a library's integrator.
Noise is an argument of a step; a walk draws it from the generator given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, assert_never, get_args

import torch
from torch import Generator, Tensor

from refdiff.errors import ConfigError, DomainError
from refdiff.loss import Denoiser
from refdiff.marginal import marginal, posterior
from refdiff.parameterization import Parameterization, convert
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.sde import flow, reverse_drift
from refdiff.tensors import Data, Time, over_event, same_shape, within

Rule: TypeAlias = Literal["ancestral", "ddim", "euler_maruyama", "flow", "rk4"]
Velocity: TypeAlias = Callable[[Data, Time], Data]


def ancestral_step(process: NoiseProcess, x_t: Data, eps_hat: Data, t: Time, s: Time, noise: Data) -> Data:
    """Return a draw of q(x_s | x_t, x_0_hat), DDPM's step with the posterior's variance (SMP-2).

    x_t, eps_hat, noise: (batch, *event), one dtype; s < t: (batch,), alpha(t) > 0. At s = 0 the noise has no part.
    """
    same_shape("SMP-2", x_t=x_t, eps_hat=eps_hat, noise=noise)
    q = posterior(process, s, t)
    x_0_hat = convert(process, eps_hat, x_t, t, source="eps", to="x_0")
    mean = over_event(q.on_x_0, x_t) * x_0_hat + over_event(q.on_x_t, x_t) * x_t
    return mean + over_event(torch.sqrt(q.variance), x_t) * noise


def ddim_step(
    process: NoiseProcess, x_t: Data, eps_hat: Data, t: Time, s: Time, noise: Data | None = None, *, eta: float = 0.0
) -> Data:
    """Return DDIM's x_s (SMP-3); Song, Meng, Ermon 2021. eta = 0 uses no noise, eta = 1 is the ancestral step.

    x_t, eps_hat, noise: (batch, *event), one dtype; s < t: (batch,), alpha(t) > 0; eta in [0, 1].
    """
    if not 0.0 <= eta <= 1.0:
        raise DomainError("SMP-3", "eta in [0, 1]", eta)
    if noise is None and eta > 0.0:
        raise DomainError("SMP-3", "noise, where eta > 0", "none")
    same_shape("SMP-3", x_t=x_t, eps_hat=eps_hat, noise=x_t if noise is None else noise)
    x_0_hat = convert(process, eps_hat, x_t, t, source="eps", to="x_0")
    q = marginal(process, s)
    alpha_s = within("SMP-3", "s < t", q.alpha, s < t, got=s)
    if noise is None or eta == 0.0:
        return over_event(alpha_s, x_t) * x_0_hat + over_event(q.sigma, x_t) * eps_hat
    # sigma_s^2 - eta^2 variance as a sum of what is not negative: at eta = 1 the difference cancels.
    rest = q.sigma * torch.sqrt((1.0 - eta**2) + eta**2 * _kept(process, s, t))
    spread = eta * torch.sqrt(posterior(process, s, t).variance)
    mean = over_event(alpha_s, x_t) * x_0_hat + over_event(rest, x_t) * eps_hat
    return mean + over_event(spread, x_t) * noise


def _kept(process: NoiseProcess, s: Time, t: Time) -> Tensor:
    """Return 1 - variance/sigma_s^2 = (alpha_t/alpha_s)^2 sigma_s^2/sigma_t^2 of the posterior."""
    earlier, later = marginal(process, s), marginal(process, t)
    return (later.alpha / earlier.alpha * earlier.sigma / later.sigma) ** 2


def euler_maruyama_step(schedule: Schedule, x_t: Data, eps_hat: Data, t: Time, s: Time, noise: Data) -> Data:
    """Return one Euler-Maruyama step of the reverse SDE, its coefficients taken at t (SMP-1).

    x_t, eps_hat, noise: (batch, *event), one dtype; 0 <= s <= t: (batch,), sigma(t) > 0, beta(t) finite.
    """
    same_shape("SMP-1", x_t=x_t, eps_hat=eps_hat, noise=noise)
    length = _length("SMP-1", t, s)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    spread = torch.sqrt(schedule.beta(t.double()) * length)
    return x_t - over_event(length, x_t) * reverse_drift(schedule, x_t, score, t) + over_event(spread, x_t) * noise


def flow_step(schedule: Schedule, x_t: Data, eps_hat: Data, t: Time, s: Time) -> Data:
    """Return one Euler step of the probability flow, its slope taken at t (SMP-4).

    x_t, eps_hat: (batch, *event), one dtype; 0 <= s <= t: (batch,), sigma(t) > 0, beta(t) finite.
    """
    same_shape("SMP-4", x_t=x_t, eps_hat=eps_hat)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    return x_t - over_event(_length("SMP-4", t, s), x_t) * flow(schedule, x_t, score, t)


def rk4_step(velocity: Velocity, x_t: Data, t: Time, s: Time) -> Data:
    """Return the classical Runge-Kutta step of order 4 from t to s, of dx/dt = velocity(x, t) (SMP-4)."""
    h = over_event(_length("SMP-4", t, s), x_t)
    middle = (0.5 * (t.double() + s.double())).to(t.dtype)
    k_1 = velocity(x_t, t)
    k_2 = velocity(x_t - 0.5 * h * k_1, middle)
    k_3 = velocity(x_t - 0.5 * h * k_2, middle)
    k_4 = velocity(x_t - h * k_3, s)
    return x_t - h * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4) / 6.0


def velocity_of(schedule: Schedule, denoiser: Denoiser, prediction: Parameterization = "eps") -> Velocity:
    """Return the slope dx/dt of the probability flow that a denoiser defines (SDE-7)."""

    def velocity(x: Data, t: Time) -> Data:
        score = convert(schedule, denoiser(x, t), x, t, source=prediction, to="score")
        return flow(schedule, x, score, t)

    return velocity


def sample(
    process: NoiseProcess,
    denoiser: Denoiser,
    x: Data,
    times: Sequence[float] | Sequence[int],
    *,
    rule: Rule = "ancestral",
    prediction: Parameterization = "eps",
    eta: float = 0.0,
    generator: Generator | None = None,
) -> Data:
    """Return x walked over `times`, from the first, where it lies, to the last (SMP-6).

    x: (batch, *event), at times[0] (noise, at 1 or N); times: falling, floats in [0, 1], or indices of a chain.
    Each step asks the denoiser once, rk4 four times. Raises DomainError where a rule divides by 0: the last time of
    "rk4" has sigma > 0, the first time of all but "euler_maruyama" and the flows has alpha > 0.
    """
    if rule not in get_args(Rule):
        raise DomainError("SMP-6", f"a rule of {', '.join(get_args(Rule))}", repr(rule))
    if len(times) < 2 or any(not later > earlier for later, earlier in itertools.pairwise(times)):
        raise DomainError("SMP-6", "two falling times or more", times)
    continuous = isinstance(process, Schedule)
    if not continuous and rule in ("euler_maruyama", "flow", "rk4"):
        raise DomainError("SMP-6", f"a schedule for {rule}: a chain has no rate", type(process).__name__)
    grid = torch.as_tensor(times, dtype=x.dtype if continuous else torch.int64, device=x.device)
    for now, then in itertools.pairwise(grid):
        t, s = now.expand(len(x)), then.expand(len(x))
        if isinstance(process, Schedule) and rule == "rk4":
            x = rk4_step(velocity_of(process, denoiser, prediction), x, t, s)
            continue
        eps_hat = convert(process, denoiser(x, t), x, t, source=prediction, to="eps")
        x = _step(process, x, eps_hat, t, s, rule, eta, generator)
    return x


def _step(
    process: NoiseProcess, x: Data, eps_hat: Data, t: Time, s: Time, rule: Rule, eta: float, generator: Generator | None
) -> Data:
    def noise() -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    match rule:
        case "ancestral":
            return ancestral_step(process, x, eps_hat, t, s, noise())
        case "ddim":
            return ddim_step(process, x, eps_hat, t, s, noise() if eta > 0.0 else None, eta=eta)
        case "euler_maruyama":
            assert isinstance(process, Schedule)
            return euler_maruyama_step(process, x, eps_hat, t, s, noise())
        case "flow":
            assert isinstance(process, Schedule)
            return flow_step(process, x, eps_hat, t, s)
        case "rk4":
            raise AssertionError("rk4 asks the denoiser itself")
        case _:
            assert_never(rule)


def flow_adaptive(
    schedule: Schedule,
    denoiser: Denoiser,
    x: Data,
    *,
    start: float,
    end: float,
    prediction: Parameterization = "eps",
    tolerance: float = 1e-5,
) -> Data:
    """Return x carried along the probability flow from time `start` to `end`, by torchdiffeq's dopri5 (SMP-4).

    x: (batch, *event); start, end: in (0, 1], in either order, sigma > 0 and beta finite between; tolerance:
    relative and absolute, of each step. Raises ConfigError without torchdiffeq.
    """
    try:
        from torchdiffeq import odeint  # here: only this function needs it
    except ModuleNotFoundError:
        raise ConfigError("SMP-4 wants torchdiffeq for flow_adaptive: pip install 'refdiff[train]', got none") from None

    velocity = velocity_of(schedule, denoiser, prediction)
    ends = torch.tensor([start, end], dtype=torch.float64, device=x.device)

    def slope(t: Tensor, state: Tensor) -> Tensor:
        return velocity(state, t.to(x.dtype).expand(len(state)))

    # Without these it looks for its first step, and steps past the last time, outside [0, 1].
    inside = {"first_step": abs(start - end) / 100.0, "step_t": ends[1:]}
    carried: Tensor = odeint(slope, x, ends, rtol=tolerance, atol=tolerance, method="dopri5", options=inside)[-1]
    return carried


def _length(clause: str, t: Time, s: Time) -> Tensor:
    """Return t - s in float64; NaN, or an error, where s > t."""
    length = t.double() - s.double()
    return within(clause, "s <= t", length, length >= 0.0)
