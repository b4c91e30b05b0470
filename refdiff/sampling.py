"""The few samplers that monitoring and validation need (spec chapter 10). Training needs none.

One step goes from x_t to x_s, s < t, by a prediction at (x_t, t) in the form that its formula uses:

    em      one Euler-Maruyama step of the reverse SDE, by eps_hat                  `em_step`, SMP-1
    ddpm    the posterior's mean for x_0_hat, plus its deviation times noise        `ddpm_step`, SMP-2
    ddim    alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise               `ddim_step`, SMP-3
    ode     one Euler step of the probability flow, by eps_hat                      `ode_step`, SMP-4
    rk4     one Runge-Kutta step of order 4 of the probability flow                 `rk4_step`, SMP-4

`sample` takes steps along a grid of times with any of them, and converts the network's prediction directly to the
x_0_hat or eps_hat of the step (PAR-7); `ode_adaptive` integrates the flow with torchdiffeq.
Noise is an argument of each step; `sample` draws it from the generator given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never, final, get_args

import torch
from torch import Generator, Tensor

from refdiff.errors import ConfigError, DomainError
from refdiff.loss import Denoiser, Objective
from refdiff.marginal import marginal, posterior
from refdiff.parameterization import Parameterization, convert
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.sde import flow, reverse_drift
from refdiff.tensors import Data, Time, over_event, same_shape, within

Rule: TypeAlias = Literal["em", "ddpm", "ddim", "ode", "rk4"]
"""Names of the samplers, those of the conformance contract and rk4."""
Velocity: TypeAlias = Callable[[Data, Time], Data]
RENAMED: dict[str, Rule] = {"euler_maruyama": "em", "ancestral": "ddpm", "flow": "ode"}
"""Former names of the samplers, with their present names."""


def checked_rule(name: object) -> Rule:
    """Return the name of a sampler. Raises DomainError for any other name, with the new name of a renamed sampler."""
    for rule in get_args(Rule):
        if name == rule:
            known: Rule = rule
            return known
    if isinstance(name, str) and name in RENAMED:
        raise DomainError("SMP-6", f"the rule {RENAMED[name]!r}", f"its former name {name!r}")
    raise DomainError("SMP-6", f"a rule of {', '.join(get_args(Rule))}", repr(name))


def em_step(schedule: Schedule, x_t: Data, *, eps_hat: Data, t: Time, s: Time, noise: Data) -> Data:
    """Return one Euler-Maruyama step of the reverse SDE, its coefficients taken at t (SMP-1).

    x_t, eps_hat, noise: (batch, *event), one dtype; 0 <= s <= t: (batch,), sigma(t) > 0, beta(t) finite.
    """
    same_shape("SMP-1", x_t=x_t, eps_hat=eps_hat, noise=noise)
    length = _length("SMP-1", t, s)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    spread = torch.sqrt(schedule.beta(t.double()) * length)
    return x_t - over_event(length, x_t) * reverse_drift(schedule, x_t, score, t) + over_event(spread, x_t) * noise


def ddpm_step(process: NoiseProcess, x_t: Data, *, x_0_hat: Data, t: Time, s: Time, noise: Data) -> Data:
    """Return a draw of q(x_s | x_t, x_0_hat), DDPM's step with the posterior's variance (SMP-2).

    x_t, x_0_hat, noise: (batch, *event), one dtype; s < t: (batch,). At s = 0 the noise has coefficient 0.
    """
    same_shape("SMP-2", x_t=x_t, x_0_hat=x_0_hat, noise=noise)
    q = posterior(process, t=t, s=s)
    mean = over_event(q.on_x_0, x_t) * x_0_hat + over_event(q.on_x_t, x_t) * x_t
    return mean + over_event(torch.sqrt(q.variance), x_t) * noise


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
    """Return DDIM's x_s (SMP-3); Song, Meng, Ermon 2021. eta = 0 uses no noise, eta = 1 is the step of ddpm.

    x_0_hat, eps_hat: both of one prediction at (x_t, t), with alpha_t x_0_hat + sigma_t eps_hat = x_t; like noise
    (batch, *event), one dtype; s < t: (batch,); eta in [0, 1], with noise if above 0.
    """
    _checked_eta(eta)
    if noise is None and eta > 0.0:
        raise DomainError("SMP-3", "noise, where eta > 0", "none")
    same_shape("SMP-3", x_0_hat=x_0_hat, eps_hat=eps_hat, noise=x_0_hat if noise is None else noise)
    q = marginal(process, s)
    alpha_s = within("SMP-3", "s < t", q.alpha, s < t, got=s)
    if noise is None or eta == 0.0:
        return over_event(alpha_s, x_0_hat) * x_0_hat + over_event(q.sigma, x_0_hat) * eps_hat
    # sigma_s^2 - eta^2 variance as a sum of non-negative terms: at eta = 1 the difference would cancel.
    rest = q.sigma * torch.sqrt((1.0 - eta**2) + eta**2 * _kept(process, t=t, s=s))
    spread = eta * torch.sqrt(posterior(process, t=t, s=s).variance)
    mean = over_event(alpha_s, x_0_hat) * x_0_hat + over_event(rest, x_0_hat) * eps_hat
    return mean + over_event(spread, x_0_hat) * noise


def ode_step(schedule: Schedule, x_t: Data, *, eps_hat: Data, t: Time, s: Time) -> Data:
    """Return one Euler step of the probability flow, its slope taken at t (SMP-4).

    x_t, eps_hat: (batch, *event), one dtype; 0 <= s <= t: (batch,), sigma(t) > 0, beta(t) finite.
    """
    same_shape("SMP-4", x_t=x_t, eps_hat=eps_hat)
    score = convert(schedule, eps_hat, x_t, t, source="eps", to="score")
    return x_t - over_event(_length("SMP-4", t, s), x_t) * flow(schedule, x_t, score, t)


def rk4_step(velocity: Velocity, x_t: Data, *, t: Time, s: Time) -> Data:
    """Return the classical Runge-Kutta step of order 4 from t to s, of dx/dt = velocity(x, t) (SMP-4)."""
    h = over_event(_length("SMP-4", t, s), x_t)
    middle = (0.5 * (t.double() + s.double())).to(t.dtype)
    k_1 = velocity(x_t, t)
    k_2 = velocity(x_t - 0.5 * h * k_1, middle)
    k_3 = velocity(x_t - 0.5 * h * k_2, middle)
    k_4 = velocity(x_t - h * k_3, s)
    return x_t - h * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4) / 6.0


def velocity_of(objective: Objective, denoiser: Denoiser) -> Velocity:
    """Return the slope dx/dt of the probability flow that a denoiser of this objective defines (SDE-7)."""
    schedule = _schedule_of(objective, "the probability flow")

    def velocity(x: Data, t: Time) -> Data:
        score = convert(schedule, denoiser(x, t), x, t, source=objective.prediction, to="score")
        return flow(schedule, x, score, t)

    return velocity


def sample(
    objective: Objective,
    denoiser: Denoiser,
    x: Data,
    times: Sequence[float] | Sequence[int],
    *,
    rule: Rule = "ddpm",
    eta: float | None = None,
    generator: Generator | None = None,
) -> Data:
    """Return the state at times[-1], by sampling steps along `times` from the state x at times[0] (SMP-6).

    objective: the objective the denoiser was trained for, which holds the process and the prediction type.
    x: (batch, *event); N(0, I) noise at time 1 or index N. times: decreasing floats in [0, 1], or indices of a chain.
    eta: for ddim only, in [0, 1], by default 0. Each step evaluates the denoiser once, rk4 four times.

    Raises DomainError where a sampler would divide by 0: ddpm and ddim need alpha(times[0]) > 0 if the denoiser
    predicts eps or the score; em, ode and rk4 need a finite beta; rk4 needs sigma(times[-1]) > 0.
    """
    sampler = _Sampler(objective, denoiser, checked_rule(rule), _used_eta(rule, eta), generator)
    if len(times) < 2 or any(not later > earlier for later, earlier in itertools.pairwise(times)):
        raise DomainError("SMP-6", "at least two times, strictly decreasing", times)
    continuous = isinstance(objective.process, Schedule)
    grid = torch.as_tensor(times, dtype=x.dtype if continuous else torch.int64, device=x.device)
    for now, then in itertools.pairwise(grid):
        x = sampler.step(x, t=now.expand(len(x)), s=then.expand(len(x)))
    return x


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Sampler:
    """Sampling steps of one rule with the predictions of one denoiser."""

    objective: Objective
    denoiser: Denoiser
    rule: Rule
    eta: float
    generator: Generator | None

    def __post_init__(self) -> None:
        """Raise DomainError unless `objective` is an Objective, with a schedule if the rule needs a rate."""
        _check_objective(self.objective)
        if self.rule in ("em", "ode", "rk4"):
            _schedule_of(self.objective, self.rule)

    def step(self, x: Data, *, t: Time, s: Time) -> Data:
        """Return x_s; evaluates the denoiser once, four times for rk4."""
        if self.rule == "rk4":
            return rk4_step(velocity_of(self.objective, self.denoiser), x, t=t, s=s)
        process, predicted = self.objective.process, self.denoiser(x, t)

        def hat(to: Parameterization) -> Data:
            return convert(process, predicted, x, t, source=self.objective.prediction, to=to)

        match self.rule:
            case "em":
                schedule = _schedule_of(self.objective, self.rule)
                return em_step(schedule, x, eps_hat=hat("eps"), t=t, s=s, noise=self._noise(x))
            case "ddpm":
                return ddpm_step(process, x, x_0_hat=hat("x_0"), t=t, s=s, noise=self._noise(x))
            case "ddim":
                noise = self._noise(x) if self.eta > 0.0 else None
                return ddim_step(process, x_0_hat=hat("x_0"), eps_hat=hat("eps"), t=t, s=s, noise=noise, eta=self.eta)
            case "ode":
                return ode_step(_schedule_of(self.objective, self.rule), x, eps_hat=hat("eps"), t=t, s=s)
            case _:
                assert_never(self.rule)

    def _noise(self, x: Data) -> Data:
        return torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device)


def ode_adaptive(
    objective: Objective, denoiser: Denoiser, x: Data, *, start: float, end: float, tolerance: float = 1e-5
) -> Data:
    """Integrate the probability flow from x at time `start` to time `end` by torchdiffeq's dopri5 (SMP-4).

    x: (batch, *event); start, end: in (0, 1], in either order, with sigma > 0 and beta finite between them;
    tolerance: relative and absolute tolerance of each step. Raises ConfigError without torchdiffeq.
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


def _used_eta(rule: Rule, eta: float | None) -> float:
    """Return eta, 0 if none is given. Raises DomainError where the rule does not use it."""
    if eta is not None and rule != "ddim":
        raise DomainError("SMP-3", f"no eta for the rule {rule!r}, which does not use it", eta)
    return _checked_eta(0.0 if eta is None else eta)


def _checked_eta(eta: float) -> float:
    if not 0.0 <= eta <= 1.0:
        raise DomainError("SMP-3", "eta in [0, 1]", eta)
    return eta


def _check_objective(objective: object) -> None:
    if not isinstance(objective, Objective):
        need = "an Objective, which holds the process and the prediction type"
        raise DomainError("SMP-6", need, type(objective).__name__)


def _schedule_of(objective: Objective, rule: str) -> Schedule:
    """Return the process. Raises DomainError for a chain."""
    if not isinstance(objective.process, Schedule):
        raise DomainError("SMP-6", f"a schedule for {rule}: a chain has no rate", type(objective.process).__name__)
    return objective.process


def _length(clause: str, t: Time, s: Time) -> Tensor:
    """Return t - s in float64; NaN, or an error, where s > t."""
    length = t.double() - s.double()
    return within(clause, "s <= t", length, length >= 0.0)
