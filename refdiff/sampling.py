"""Samplers: how to go from noise to data along a grid of times, with a trained denoiser (spec chapter 10).

    x = torch.randn(8, *event)
    x_0 = sample(objective, denoiser, x, time_grid(objective.process, 50), sampler=DDIM())

A sampler is an object that takes one step from x_t to x_s, s < t. It evaluates the denoiser, converts the prediction
directly to the x_0_hat or eps_hat of its formula (PAR-7), draws noise, and applies a function of `refdiff.steps`:

    sampler            name    one step is                                                      evaluations
    EulerMaruyama()    em      Euler-Maruyama on the reverse SDE                                          1
    Ancestral()        ddpm    a draw of the posterior q(x_s | x_t, x_0_hat)                              1
    DDIM(eta=0.0)      ddim    alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise                  1
    Euler()            ode     Euler on the probability flow                                              1
    RungeKutta4()      rk4     the classical Runge-Kutta step of order 4 on the probability flow          4

The names are those of the conformance contract, and of settings and commands; `sampler_named` maps them to samplers.
Training needs no sampler.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, final, get_args, runtime_checkable

import torch
from torch import Generator

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.loss import Denoiser, Objective
from refdiff.parameterization import Parameterization, convert
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.steps import (
    check_eta,
    ddim_step,
    ddpm_step,
    em_step,
    ode_step,
    rk4_step,
    schedule_of,
    velocity_of,
)
from refdiff.tensors import Data, Time
from refdiff.times import Continuous, Discrete

Rule: TypeAlias = Literal["em", "ddpm", "ddim", "ode", "rk4"]
"""Names of the samplers, those of the conformance contract and rk4."""
RENAMED: Mapping[str, Rule] = {"euler_maruyama": "em", "ancestral": "ddpm", "flow": "ode"}
"""Former names of the samplers, with their present names."""


@runtime_checkable
class Sampler(Protocol):
    """Takes steps from x_t to x_s, s < t, with the predictions of a denoiser."""

    def check(self, objective: Objective, /) -> None:
        """Raise DomainError if the sampler cannot take steps in the process of this objective."""

    def step(
        self, objective: Objective, denoiser: Denoiser, x: Data, *, t: Time, s: Time, generator: Generator | None = None
    ) -> Data:
        """Return x_s, (batch, *event), from x = x_t at times s < t, (batch,)."""


@final
@dataclass(frozen=True, slots=True)
class EulerMaruyama:
    """Euler-Maruyama on the reverse SDE, with h = t - s (SMP-1). Schedules only.

        x_s = x_t + h (beta_t x_t / 2 - beta_t eps_hat / sigma_t) + sqrt(h beta_t) noise

    Needs a finite beta(t).
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


_SAMPLERS: dict[str, type[EulerMaruyama | Ancestral | DDIM | Euler | RungeKutta4]] = {
    kind.name: kind for kind in (EulerMaruyama, Ancestral, DDIM, Euler, RungeKutta4)
}
_ANCESTRAL = Ancestral()


def checked_rule(name: object) -> Rule:
    """Return the name of a sampler. Raises DomainError for any other name, with the new name of a renamed sampler."""
    for rule in get_args(Rule):
        if name == rule:
            known: Rule = rule
            return known
    if isinstance(name, str) and name in RENAMED:
        raise DomainError("SMP-6", f"the rule {RENAMED[name]!r}", f"its former name {name!r}")
    raise DomainError("SMP-6", f"a rule of {', '.join(get_args(Rule))}", repr(name))


def sampler_named(name: str, *, eta: float | None = None) -> Sampler:
    """Return the sampler of a name of the contract, for settings and commands, which are text.

    name: em, ddpm, ddim, ode or rk4; eta: for ddim only, by default 0.
    Raises DomainError for another name, and for an eta that the sampler does not use.
    """
    rule = checked_rule(name)
    if eta is None:
        return _SAMPLERS[rule]()
    if rule != "ddim":
        raise DomainError("SMP-3", f"no eta for the rule {rule!r}, which does not use it", eta)
    return DDIM(eta=eta)


def time_grid(
    process: NoiseProcess, n: int, *, t_min: float | None = None, t_max: float | None = None
) -> list[float] | list[int]:
    """Return the times of n sampling steps, evenly spaced and decreasing, for `sample`.

    process: a schedule gives n + 1 floats from t_max, by default 1, to t_min, by default 0; a chain gives n + 1
    distinct indices from N to 0, or all of them where n > N.
    Raises DomainError for another process, for n < 1, for a range that is not within [0, 1], and for one given for a
    chain.
    """
    if isinstance(process, DiscreteChain):
        if t_min is not None or t_max is not None:
            raise DomainError("SMP-6", "no t_min and t_max for a chain, whose times are its indices", (t_min, t_max))
        return Discrete(steps=len(process.betas)).falling(n)
    if not isinstance(process, Schedule):
        raise DomainError("SMP-6", "a schedule or a DiscreteChain", type(process).__name__)
    low, high = 0.0 if t_min is None else t_min, 1.0 if t_max is None else t_max
    return Continuous(t_min=low, t_max=high, dtype=torch.float64).falling(n, to_zero=False)


def sample(
    objective: Objective,
    denoiser: Denoiser,
    x: Data,
    times: Sequence[float] | Sequence[int],
    *,
    sampler: Sampler = _ANCESTRAL,
    generator: Generator | None = None,
) -> Data:
    """Return the state at times[-1], by sampling steps along `times` from the state x at times[0] (SMP-6).

    objective: the objective the denoiser was trained for, which holds the process and the prediction type.
    x: (batch, *event); N(0, I) noise at time 1 or index N. times: decreasing floats in [0, 1], or indices of a chain,
    as `time_grid` returns them. sampler: takes the steps, by default `Ancestral()`; generator: draws their noise.

    Raises DomainError where a sampler would divide by 0: Ancestral and DDIM need alpha(times[0]) > 0 if the denoiser
    predicts eps or the score; EulerMaruyama, Euler and RungeKutta4 need a finite beta; RungeKutta4 needs
    sigma(times[-1]) > 0.
    """
    _check_objective(objective)
    _check_sampler(sampler)
    sampler.check(objective)
    if len(times) < 2 or any(not later > earlier for later, earlier in itertools.pairwise(times)):
        raise DomainError("SMP-6", "at least two times, strictly decreasing", times)
    continuous = isinstance(objective.process, Schedule)
    grid = torch.as_tensor(times, dtype=x.dtype if continuous else torch.int64, device=x.device)
    for now, then in itertools.pairwise(grid):
        t, s = now.expand(len(x)), then.expand(len(x))
        x = sampler.step(objective, denoiser, x, t=t, s=s, generator=generator)
    return x


def _predict(objective: Objective, denoiser: Denoiser, x: Data, t: Time, *wanted: Parameterization) -> tuple[Data, ...]:
    """Evaluate the denoiser once, and return its prediction in the forms wanted."""
    predicted = denoiser(x, t)
    return tuple(convert(objective.process, predicted, x, t, source=objective.prediction, to=to) for to in wanted)


def _noise_like(x: Data, generator: Generator | None) -> Data:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _check_objective(objective: object) -> None:
    if not isinstance(objective, Objective):
        need = "an Objective, which holds the process and the prediction type"
        raise DomainError("SMP-6", need, type(objective).__name__)


def _check_sampler(sampler: object) -> None:
    if isinstance(sampler, str):
        kind = _SAMPLERS.get(RENAMED.get(sampler, sampler))
        need = f"sampler={kind.__name__}()" if kind else "a sampler object, such as DDIM()"
        raise DomainError("SMP-6", need, repr(sampler))
    # A class has the methods of its objects.
    if isinstance(sampler, type) or not isinstance(sampler, Sampler):
        raise DomainError("SMP-6", "a sampler object, such as DDIM()", repr(sampler))
