"""Sampling: from noise to data along a grid of times, with a trained denoiser (spec chapter 10).

    x = torch.randn(8, *event)
    x_0 = sample(objective, denoiser, x, time_grid(objective.process, 50), sampler=DDIM())

Settings and commands name samplers as the conformance contract does; `sampler_named` maps these names to samplers.
Training needs no sampler.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Generator

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.loss import Denoiser, Objective
from refdiff.samplers import DDIM, Ancestral, Euler, EulerMaruyama, Rule, RungeKutta4, Sampler
from refdiff.schedule import NoiseProcess, Schedule
from refdiff.tensors import Data
from refdiff.times import Continuous, Discrete

RENAMED: Mapping[str, Rule] = {"euler_maruyama": "em", "ancestral": "ddpm", "flow": "ode"}
"""Former names of the samplers, with their present names."""
_SAMPLERS: dict[str, type[EulerMaruyama | Ancestral | DDIM | Euler | RungeKutta4]] = {
    kind.name: kind for kind in (EulerMaruyama, Ancestral, DDIM, Euler, RungeKutta4)
}
_ANCESTRAL = Ancestral()


def checked_rule(name: object) -> Rule:
    """Return the name of a sampler.

    Args:
        name: Value that should be a name.

    Returns:
        The name: em, ddpm, ddim, ode or rk4.

    Raises:
        DomainError: Any other value; the error of a former name gives the present one.
    """
    for rule in get_args(Rule):
        if name == rule:
            known: Rule = rule
            return known
    if isinstance(name, str) and name in RENAMED:
        raise DomainError("SMP-6", f"the sampler {RENAMED[name]!r}", f"its former name {name!r}")
    raise DomainError("SMP-6", f"one of the samplers {', '.join(get_args(Rule))}", repr(name))


def sampler_named(name: str, *, eta: float | None = None) -> Sampler:
    """Return the sampler of a name of the contract, for settings and commands, which are text.

    Args:
        name: em, ddpm, ddim, ode or rk4.
        eta: Option of ddim, by default 0.

    Returns:
        The sampler.

    Raises:
        DomainError: The name is another, or eta is given for a sampler that does not use it.

    Example:
        >>> import refdiff
        >>> refdiff.sampler_named("ddim", eta=0.5)
        DDIM(eta=0.5)
    """
    rule = checked_rule(name)
    if eta is None:
        return _SAMPLERS[rule]()
    if rule != "ddim":
        raise DomainError("SMP-3", f"no eta for the sampler {rule!r}, which does not use it", eta)
    return DDIM(eta=eta)


def time_grid(
    process: NoiseProcess, n: int, *, t_min: float | None = None, t_max: float | None = None
) -> list[float] | list[int]:
    """Return the times of n sampling steps, evenly spaced and decreasing, for `sample`.

    Args:
        process: Schedule or chain.
        n: Number of steps.
        t_min: Last time, by default 0; of a schedule only.
        t_max: First time, by default 1; of a schedule only.

    Returns:
        For a schedule n + 1 floats from t_max to t_min; for a chain n + 1 distinct indices from N to 0, or all of them
        where n > N.

    Raises:
        DomainError: n < 1, the range is not within [0, 1] or given for a chain, or the process is of another type.

    Example:
        >>> import refdiff
        >>> refdiff.time_grid(refdiff.LinearSchedule(), 4), refdiff.time_grid(refdiff.DiscreteChain.linear(1000), 4)
        ([1.0, 0.75, 0.5, 0.25, 0.0], [1000, 750, 500, 250, 0])
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

    Args:
        objective: Objective of the denoiser, which holds process and prediction type.
        denoiser: Maps x_t, (batch, *event), and t, (batch,), to a prediction shaped as x_t.
        x: State at times[0], (batch, *event): draws of N(0, I) at time 1 or index N.
        times: Decreasing floats in [0, 1], or indices of a chain, as `time_grid` returns them.
        sampler: Takes the steps.
        generator: Draws their noise; by default torch's own.

    Returns:
        State at times[-1], (batch, *event).

    Raises:
        DomainError: times do not decrease, or the sampler would divide by 0. Ancestral and DDIM need
            alpha(times[0]) > 0 if the denoiser predicts eps or the score; EulerMaruyama, Euler and RungeKutta4 need a
            schedule with a finite beta; RungeKutta4 needs sigma(times[-1]) > 0.

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.CosineSchedule(), prediction="x_0")
        >>> denoiser, x = lambda x_t, t: torch.zeros_like(x_t), torch.ones(1, 2)  # all data is 0
        >>> refdiff.sample(objective, denoiser, x, refdiff.time_grid(objective.process, 10), sampler=refdiff.DDIM())
        tensor([[0., 0.]])
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
