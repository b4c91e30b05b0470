"""One step of each sampler, from x_t to x_s at an earlier time s < t, as pure functions (spec chapter 10).

    `em_step`     one Euler-Maruyama step of the reverse SDE                            SMP-1
    `ddpm_step`   the posterior's mean for x_0_hat, plus its or beta's deviation        SMP-2
    `ddim_step`   alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise             SMP-3
    `ode_step`    one Euler step of the probability flow                                SMP-4
    `rk4_step`    one Runge-Kutta step of order 4 of the probability flow               SMP-4

Each takes the prediction in the form that its formula uses, and the noise as an argument. `refdiff.samplers` makes
samplers of them, which take the prediction of a network. `ode_adaptive` integrates the flow with torchdiffeq.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from refdiff.errors import ConfigError, DomainError
from refdiff.loss import Denoiser, Objective
from refdiff.marginal import marginal, posterior, transition
from refdiff.parameterization import convert
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.sde import probability_flow, reverse_drift
from refdiff.tensors import Data, Time, over_event, same_shape, within

Velocity: TypeAlias = Callable[[Data, Time], Data]
"""The slope dx/dt of a flow at (x, t)."""
Variance: TypeAlias = Literal["posterior", "beta"]
"""Variance of DDPM's noise: that of the posterior, or that of the transition, beta_k of an adjacent step."""


def em_step(schedule: Schedule, x_t: Data, *, eps_hat: Data, t: Time, s: Time, noise: Data) -> Data:
    """Return one Euler-Maruyama step of the reverse SDE, its coefficients taken at t (SMP-1).

        x_s = x_t + h (beta_t x_t / 2 - beta_t eps_hat / sigma_t) + sqrt(h beta_t) noise,    h = t - s

    Args:
        schedule: Schedule in continuous time.
        x_t: State at t, (batch, *event).
        eps_hat: Prediction of eps at (x_t, t), shaped as x_t and of its dtype.
        t: Times with sigma(t) > 0 and beta(t) finite, (batch,).
        s: Earlier times, 0 <= s <= t, (batch,).
        noise: Draws of N(0, I), shaped as x_t and of its dtype.

    Returns:
        State at s, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, or a time is outside its range.
    """
    same_shape("SMP-1", x_t=x_t, eps_hat=eps_hat, noise=noise)
    length = _length("SMP-1", t, s)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    spread = torch.sqrt(schedule.beta(t.double()) * length)
    return x_t - over_event(length, x_t) * reverse_drift(schedule, x_t, score, t) + over_event(spread, x_t) * noise


def ddpm_step(
    process: NoiseProcess,
    x_t: Data,
    *,
    x_0_hat: Data,
    t: Time,
    s: Time,
    noise: Data,
    variance: Variance = "posterior",
) -> Data:
    """Return DDPM's step, a draw of q(x_s | x_t, x_0_hat) or the same mean with the transition's variance (SMP-2).

        x_s = A x_0_hat + B x_t + sqrt(V) noise,    A, B and V of MAR-7;    "beta": V = 1 - alpha_bar_t/alpha_bar_s

    At s = 0 the noise has coefficient 0.

    Args:
        process: Schedule or chain.
        x_t: State at t, (batch, *event).
        x_0_hat: Prediction of x_0 at (x_t, t), shaped as x_t and of its dtype.
        t: Times of x_t, (batch,).
        s: Earlier times, s < t, (batch,).
        noise: Draws of N(0, I), shaped as x_t and of its dtype.
        variance: posterior, DDPM's "fixed small"; or beta, the transition's from s to t ("fixed large", beta_k if
            adjacent).

    Returns:
        State at s, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside its range, or the variance has another name.

    Example:
        >>> import refdiff, torch
        >>> from refdiff.steps import ddpm_step
        >>> chain, zero, one = refdiff.DiscreteChain(betas=(0.5, 0.25)), torch.zeros(1, 1), torch.ones(1, 1)
        >>> t, s = torch.tensor([2]), torch.tensor([1])
        >>> ddpm_step(chain, zero, x_0_hat=zero, t=t, s=s, noise=one, variance="beta")  # the root of beta_2
        tensor([[0.5000]])
    """
    same_shape("SMP-2", x_t=x_t, x_0_hat=x_0_hat, noise=noise)
    if variance not in get_args(Variance):
        raise DomainError("SMP-2", f"a variance of {' or '.join(get_args(Variance))}", repr(variance))
    q = posterior(process, t=t, s=s)
    if variance == "posterior":
        return q.sample(noise, x_0=x_0_hat, x_t=x_t)
    spread = torch.where(s == 0, 0.0, transition(process, t=t, s=s).sigma)
    return q.mean(x_0=x_0_hat, x_t=x_t) + over_event(spread, x_t) * noise


def ddim_step(
    process: NoiseProcess,
    *,
    x_0_hat: Data,
    eps_hat: Data,
    t: Time,
    s: Time,
    noise: Data | None = None,
    eta: float = 0.0,
) -> Data:
    """Return DDIM's x_s; Song, Meng, Ermon 2021 (SMP-3). eta = 0 uses no noise, eta = 1 is the step of ddpm.

        x_s = alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise,    c = eta sqrt(V), V of MAR-7

    Args:
        process: Schedule or chain.
        x_0_hat: Prediction of x_0 at (x_t, t), (batch, *event).
        eps_hat: The same prediction as eps, alpha_t x_0_hat + sigma_t eps_hat = x_t, shaped as x_0_hat.
        t: Times of x_t, (batch,).
        s: Earlier times, s < t, (batch,).
        noise: Draws of N(0, I), shaped as x_0_hat; needed if eta > 0.
        eta: Fraction of the posterior's deviation that is drawn, in [0, 1].

    Returns:
        State at s, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a time or eta is outside its range, or eta > 0 without noise.
    """
    check_eta(eta)
    if noise is None and eta > 0.0:
        raise DomainError("SMP-3", "noise, where eta > 0", "none")
    same_shape("SMP-3", x_0_hat=x_0_hat, eps_hat=eps_hat, noise=x_0_hat if noise is None else noise)
    q = marginal(process, s)
    alpha_s = within("SMP-3", "s < t", q.alpha, s < t, got=s)
    if noise is None or eta == 0.0:
        return over_event(alpha_s, x_0_hat) * x_0_hat + over_event(q.sigma, x_0_hat) * eps_hat
    # sigma_s^2 - eta^2 variance as a sum of non-negative terms: at eta = 1 the difference would cancel.
    rest = q.sigma * torch.sqrt((1.0 - eta**2) + eta**2 * _kept(process, t=t, s=s))
    spread = eta * posterior(process, t=t, s=s).sigma
    mean = over_event(alpha_s, x_0_hat) * x_0_hat + over_event(rest, x_0_hat) * eps_hat
    return mean + over_event(spread, x_0_hat) * noise


def ode_step(schedule: Schedule, x_t: Data, *, eps_hat: Data, t: Time, s: Time) -> Data:
    """Return one Euler step of the probability flow, its slope taken at t (SMP-4).

        x_s = x_t + h beta_t (x_t - eps_hat / sigma_t) / 2,    h = t - s

    Args:
        schedule: Schedule in continuous time.
        x_t: State at t, (batch, *event).
        eps_hat: Prediction of eps at (x_t, t), shaped as x_t and of its dtype.
        t: Times with sigma(t) > 0 and beta(t) finite, (batch,).
        s: Earlier times, 0 <= s <= t, (batch,).

    Returns:
        State at s, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, or a time is outside its range.
    """
    same_shape("SMP-4", x_t=x_t, eps_hat=eps_hat)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    return x_t - over_event(_length("SMP-4", t, s), x_t) * probability_flow(schedule, x_t, score, t)


def rk4_step(velocity: Velocity, x_t: Data, *, t: Time, s: Time) -> Data:
    """Return the classical Runge-Kutta step of order 4 from t to s, of dx/dt = velocity(x, t) (SMP-4).

    Args:
        velocity: Maps x, (batch, *event), and times, (batch,), to dx/dt.
        x_t: State at t, (batch, *event).
        t: Times of x_t, (batch,).
        s: Earlier times, s <= t, (batch,).

    Returns:
        State at s, (batch, *event).

    Raises:
        DomainError: s > t.
    """
    h = over_event(_length("SMP-4", t, s), x_t)
    middle = (0.5 * (t.double() + s.double())).to(t.dtype)
    k_1 = velocity(x_t, t)
    k_2 = velocity(x_t - 0.5 * h * k_1, middle)
    k_3 = velocity(x_t - 0.5 * h * k_2, middle)
    k_4 = velocity(x_t - h * k_3, s)
    return x_t - h * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4) / 6.0


def velocity_of(objective: Objective, denoiser: Denoiser) -> Velocity:
    """Return the slope dx/dt of the probability flow that a denoiser defines (SDE-7).

    Args:
        objective: Objective of the denoiser, with a schedule.
        denoiser: Maps x_t, (batch, *event), and t, (batch,), to a prediction shaped as x_t.

    Returns:
        A function of x and t.

    Raises:
        DomainError: The process is a chain, which has no rate.
    """
    schedule = schedule_of(objective, "the probability flow")

    def velocity(x: Data, t: Time) -> Data:
        score = convert(schedule, denoiser(x, t), x, t, source=objective.prediction, to="score")
        return probability_flow(schedule, x, score, t)

    return velocity


def ode_adaptive(
    objective: Objective, denoiser: Denoiser, x: Data, *, start: float, end: float, tolerance: float = 1e-5
) -> Data:
    """Integrate the probability flow from x at time `start` to time `end` by torchdiffeq's dopri5 (SMP-4).

    Args:
        objective: Objective of the denoiser, with a schedule.
        denoiser: Maps x_t, (batch, *event), and t, (batch,), to a prediction shaped as x_t.
        x: State at `start`, (batch, *event).
        start: Time in (0, 1], with sigma > 0 and beta finite between it and `end`.
        end: Time in (0, 1], before or after `start`.
        tolerance: Relative and absolute tolerance of each step.

    Returns:
        State at `end`, (batch, *event).

    Raises:
        ConfigError: torchdiffeq is not installed.
        DomainError: The process is a chain, or a time divides by 0.
    """
    try:
        from torchdiffeq import odeint  # lazy import: only needed here
    except ModuleNotFoundError:
        need = "torchdiffeq for ode_adaptive: pip install 'refdiff[train]'"
        raise ConfigError(f"expected {need}, got none (SMP-4)") from None

    velocity = velocity_of(objective, denoiser)
    ends = torch.tensor([start, end], dtype=torch.float64, device=x.device)

    def slope(t: Tensor, state: Tensor) -> Tensor:
        return velocity(state, t.to(x.dtype).expand(len(state)))

    # Without these options dopri5 estimates its first step, and evaluates past the last time, outside [0, 1].
    inside = {"first_step": abs(start - end) / 100.0, "step_t": ends[1:]}
    carried: Tensor = odeint(slope, x, ends, rtol=tolerance, atol=tolerance, method="dopri5", options=inside)[-1]
    return carried


def _kept(process: NoiseProcess, *, t: Time, s: Time) -> Tensor:
    """Return 1 - variance/sigma_s^2 = (alpha_t/alpha_s)^2 sigma_s^2/sigma_t^2 of the posterior."""
    earlier, later = marginal(process, s), marginal(process, t)
    return (later.alpha / earlier.alpha * earlier.sigma / later.sigma) ** 2


def check_eta(eta: float) -> None:
    """Raise DomainError unless eta, the fraction of the posterior's deviation that DDIM adds, is in [0, 1] (SMP-3)."""
    if not 0.0 <= eta <= 1.0:
        raise DomainError("SMP-3", "eta in [0, 1]", eta)


def schedule_of(objective: Objective, method: str) -> Schedule:
    """Return the process of an objective. Raises DomainError for a chain, which has no rate for this method."""
    if not isinstance(objective.process, Schedule):
        raise DomainError("SMP-6", f"a schedule for {method}: a chain has no rate", type(objective.process).__name__)
    return objective.process


def _length(clause: str, t: Time, s: Time) -> Tensor:
    """Return t - s in float64; NaN, or an error, where s > t."""
    length = t.double() - s.double()
    return within(clause, "s <= t", length, length >= 0.0)
