"""Samplers: objects that take one step from x_t to x_s, s < t, with a trained denoiser (spec chapter 10).

    sampler            name    one step is                                                      evaluations
    EulerMaruyama()    em      Euler-Maruyama on the reverse SDE                                          1
    Ancestral()        ddpm    a draw of the posterior q(x_s | x_t, x_0_hat)                              1
    DDIM(eta=0.0)      ddim    alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise                  1
    Euler()            ode     Euler on the probability flow                                              1
    RungeKutta4()      rk4     the classical Runge-Kutta step of order 4 on the probability flow          4

A step evaluates the denoiser, converts the prediction directly to the x_0_hat or eps_hat of its formula (PAR-7), draws
noise, and applies a function of `refdiff.steps`. `refdiff.sampling.sample` takes steps along a grid of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, final, runtime_checkable

import torch
from torch import Generator

from refdiff.loss import Denoiser, Objective
from refdiff.parameterization import Parameterization, convert
from refdiff.steps import check_eta, ddim_step, ddpm_step, em_step, ode_step, rk4_step, schedule_of, velocity_of
from refdiff.tensors import Data, Time

Rule: TypeAlias = Literal["em", "ddpm", "ddim", "ode", "rk4"]
"""Names of the samplers, those of the conformance contract and rk4."""


@runtime_checkable
class Sampler(Protocol):
    """Takes steps from x_t to x_s, s < t, with the predictions of a denoiser.

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.DDIM(), refdiff.Sampler)
        True
    """

    def check(self, objective: Objective, /) -> None:
        """Raise DomainError if the sampler cannot take steps in the process of this objective."""

    def step(
        self, objective: Objective, denoiser: Denoiser, x: Data, *, t: Time, s: Time, generator: Generator | None = None
    ) -> Data:
        """Return x_s.

        Args:
            objective: Objective of the denoiser, which holds process and prediction type.
            denoiser: Maps x_t, (batch, *event), and t, (batch,), to a prediction shaped as x_t.
            x: State x_t, (batch, *event).
            t: Time of x, (batch,).
            s: Earlier time, s < t, (batch,).
            generator: Draws noise; by default torch's own.

        Returns:
            State x_s, (batch, *event).

        Raises:
            DomainError: The formula divides by 0 at t or s.
        """


@final
@dataclass(frozen=True, slots=True)
class EulerMaruyama:
    """Euler-Maruyama on the reverse SDE, with h = t - s (SMP-1). Schedules only.

        x_s = x_t + h (beta_t x_t / 2 - beta_t eps_hat / sigma_t) + sqrt(h beta_t) noise

    Needs a finite beta(t).

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.LinearSchedule(), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> x = refdiff.sample(objective, denoiser, x, [1.0, 0.5, 0.0], sampler=refdiff.EulerMaruyama())
        >>> x.shape
        torch.Size([1, 2])
    """

    name: ClassVar[Rule] = "em"

    def check(self, objective: Objective) -> None:
        """Raise DomainError for a chain."""
        schedule_of(objective, self.name)

    def step(
        self, objective: Objective, denoiser: Denoiser, x: Data, *, t: Time, s: Time, generator: Generator | None = None
    ) -> Data:
        """Return x_s; evaluates the denoiser once, and draws noise."""
        schedule, (eps_hat,) = schedule_of(objective, self.name), _predict(objective, denoiser, x, t, "eps")
        return em_step(schedule, x, eps_hat=eps_hat, t=t, s=s, noise=_noise_like(x, generator))


@final
@dataclass(frozen=True, slots=True)
class Ancestral:
    """A draw of the posterior q(x_s | x_t, x_0_hat), DDPM's sampler (SMP-2); Ho et al. 2020.

        x_s = A x_0_hat + B x_t + sqrt(V) noise,    A, B and V of MAR-7

    V is the variance of the posterior. The step to s = 0 adds no noise.

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.DiscreteChain.linear(1000), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> refdiff.sample(objective, denoiser, x, [1000, 500, 0], sampler=refdiff.Ancestral())
        tensor([[0., 0.]])
    """

    name: ClassVar[Rule] = "ddpm"

    def check(self, objective: Objective) -> None:
        """Accept every process."""

    def step(
        self, objective: Objective, denoiser: Denoiser, x: Data, *, t: Time, s: Time, generator: Generator | None = None
    ) -> Data:
        """Return x_s; evaluates the denoiser once, and draws noise."""
        (x_0_hat,) = _predict(objective, denoiser, x, t, "x_0")
        return ddpm_step(objective.process, x, x_0_hat=x_0_hat, t=t, s=s, noise=_noise_like(x, generator))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DDIM:
    """Denoising diffusion implicit model (SMP-3); Song, Meng, Ermon 2021.

        x_s = alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise,    c = eta sqrt(V), V of MAR-7

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.CosineSchedule(), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> refdiff.sample(objective, denoiser, x, [1.0, 0.0], sampler=refdiff.DDIM(eta=0.5))
        tensor([[0., 0.]])
    """

    name: ClassVar[Rule] = "ddim"

    eta: float = 0.0
    """Fraction of the posterior's deviation that is drawn, in [0, 1]: 0 draws no noise, 1 has the law of Ancestral."""

    def __post_init__(self) -> None:
        """Raise DomainError for eta outside [0, 1]."""
        check_eta(self.eta)

    def check(self, objective: Objective) -> None:
        """Accept every process."""

    def step(
        self, objective: Objective, denoiser: Denoiser, x: Data, *, t: Time, s: Time, generator: Generator | None = None
    ) -> Data:
        """Return x_s; evaluates the denoiser once, and draws noise if eta > 0."""
        x_0_hat, eps_hat = _predict(objective, denoiser, x, t, "x_0", "eps")
        noise = _noise_like(x, generator) if self.eta > 0.0 else None
        return ddim_step(objective.process, x_0_hat=x_0_hat, eps_hat=eps_hat, t=t, s=s, noise=noise, eta=self.eta)


@final
@dataclass(frozen=True, slots=True)
class Euler:
    """Euler's method on the probability flow, with h = t - s (SMP-4). Schedules only.

        x_s = x_t + h beta_t (x_t - eps_hat / sigma_t) / 2

    Needs a finite beta(t). Draws no noise.

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.LinearSchedule(beta_min=1.0, beta_max=1.0), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> x = refdiff.sample(objective, denoiser, x, refdiff.time_grid(objective.process, 8), sampler=refdiff.Euler())
        >>> x.shape
        torch.Size([1, 2])
    """

    name: ClassVar[Rule] = "ode"

    def check(self, objective: Objective) -> None:
        """Raise DomainError for a chain."""
        schedule_of(objective, self.name)

    def step(
        self,
        objective: Objective,
        denoiser: Denoiser,
        x: Data,
        *,
        t: Time,
        s: Time,
        generator: Generator | None = None,  # noqa: ARG002 - the signature of every sampler; this one draws no noise
    ) -> Data:
        """Return x_s; evaluates the denoiser once."""
        schedule, (eps_hat,) = schedule_of(objective, self.name), _predict(objective, denoiser, x, t, "eps")
        return ode_step(schedule, x, eps_hat=eps_hat, t=t, s=s)


@final
@dataclass(frozen=True, slots=True)
class RungeKutta4:
    """The classical Runge-Kutta method of order 4 on the probability flow (SMP-4). Schedules only.

        x_s = x_t - h (k_1 + 2 k_2 + 2 k_3 + k_4) / 6,    h = t - s, slopes k_i at t, the middle (twice) and s

    Needs a finite beta(t) and sigma(s) > 0. Draws no noise.

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.LinearSchedule(), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> end = refdiff.sample(objective, denoiser, x, [0.5, 0.48, 0.46], sampler=refdiff.RungeKutta4())
        >>> sigma = objective.process.sigma(torch.tensor([0.46, 0.5]))  # the flow keeps x/sigma where all data is 0
        >>> bool(((end - sigma[0] / sigma[1]).abs() < 1e-4).all())
        True
    """

    name: ClassVar[Rule] = "rk4"

    def check(self, objective: Objective) -> None:
        """Raise DomainError for a chain."""
        schedule_of(objective, self.name)

    def step(
        self,
        objective: Objective,
        denoiser: Denoiser,
        x: Data,
        *,
        t: Time,
        s: Time,
        generator: Generator | None = None,  # noqa: ARG002 - the signature of every sampler; this one draws no noise
    ) -> Data:
        """Return x_s; evaluates the denoiser four times."""
        return rk4_step(velocity_of(objective, denoiser), x, t=t, s=s)


def _predict(objective: Objective, denoiser: Denoiser, x: Data, t: Time, *wanted: Parameterization) -> tuple[Data, ...]:
    """Evaluate the denoiser once, and return its prediction in the forms wanted."""
    predicted = denoiser(x, t)
    return tuple(convert(objective.process, predicted, x, t, source=objective.prediction, to=to) for to in wanted)


def _noise_like(x: Data, generator: Generator | None) -> Data:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
