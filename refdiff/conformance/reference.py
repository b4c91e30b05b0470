"""refdiff itself as a target: the default of `pytest validation`, judged like any other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never, final, get_args

import numpy as np
import torch
from torch import Tensor, nn

from refdiff import __version__
from refdiff.chain import DiscreteChain
from refdiff.conformance.averaging import DecayRule, Equal, Power, Ratio, WarmUp
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import (
    BARE,
    Array,
    Chain,
    Claim,
    Cosine,
    Denoiser,
    DType,
    Linear,
    NoProcess,
    Own,
    Parameterization,
    Process,
    Quantity,
    Rule,
    Sampler,
    Times,
    Unsupported,
    Weight,
    Weighting,
)
from refdiff.conformance.interface import MinSNR as AnyMinSNR
from refdiff.conformance.step import Step
from refdiff.ema import average_weights
from refdiff.guidance import guide
from refdiff.loss import Objective
from refdiff.marginal import perturb, posterior, posterior_mean
from refdiff.parameterization import convert
from refdiff.positions import Stratified
from refdiff.sampling import sample, sampler_named, time_grid
from refdiff.schedule import CosineSchedule, LinearSchedule
from refdiff.sde import diffusion_coefficient, drift
from refdiff.steps import ddim_step, ddpm_step, em_step, ode_step
from refdiff.times import Continuous, Discrete
from refdiff.training.fit import fit
from refdiff.weighting import InverseSNR, LikelihoodWeight, MinSNR, SNRPlusOne, SNRWeight, UniformWeight
from refdiff.weighting import Weight as LossWeight

_TORCH: dict[DType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}

_OPTIONS: dict[Rule, tuple[dict[str, Any], ...]] = {
    "ddpm": ({}, {"variance": "beta"}),
    "ddim": ({}, {"eta": 0.5}, {"eta": 1.0}),
}
_WEIGHTS: dict[Weighting, LossWeight] = {
    "uniform": UniformWeight(),
    "inverse_snr": InverseSNR(),
    "min_snr": MinSNR(),
    "likelihood": LikelihoodWeight(),
    "snr": SNRWeight(),
    "snr_plus_one": SNRPlusOne(),
}

_SAMPLERS = (
    Sampler(name="ddim", exact=True),
    Sampler(name="ode", chains=False),
    Sampler(name="rk4", order=4, chains=False),
    Sampler(name="ddpm", exact=True, stochastic=True),
    Sampler(name="em", stochastic=True, chains=False),
)


STEPS: tuple[Step, ...] = tuple(
    Step(kind=kind, prediction=prediction, **more)
    for kind in get_args(Rule)
    for prediction in get_args(Parameterization)
    for more in _OPTIONS.get(kind, ({},))
)
"""Every rule and prediction, ddpm with both variances, and ddim with three values of eta."""


def target(dtype: DType = "float32") -> Reference:
    """Return refdiff as a target that computes in `dtype`."""
    return Reference(
        Claim(
            name="refdiff",
            version=__version__,
            dtype=dtype,
            processes=(Linear, Cosine, Chain),
            weights=(*_WEIGHTS, AnyMinSNR),
            contract=2,
            steps=STEPS,
            capabilities=frozenset(
                {
                    *("schedule", "perturb", "sde", "convert", "loss", "times", "step", "posterior", "ema", "fit"),
                    *("grid", "sample", "guide"),
                }
            ),
            samplers=_SAMPLERS,
        )
    )


def target_bare(dtype: DType = "float32", warm_up: DecayRule | None = None) -> Reference:
    """Return what needs no noise process: averages, by default with the trainer's warm-up, times and guidance."""
    return Reference(
        Claim(
            name="refdiff",
            version=__version__,
            dtype=dtype,
            processes=(NoProcess(),),
            capabilities=BARE,
            warm_up=warm_up or Ratio(),
        )
    )


target_float16 = partial(target, "float16")
target_bfloat16 = partial(target, "bfloat16")
target_float64 = partial(target, "float64")


@final
@dataclass(frozen=True, slots=True)
class Reference:
    """refdiff behind the contract."""

    claim: Claim

    def build(self, process: Process) -> _Built:
        """Return the process, in this claim's dtype."""
        match process:
            case Linear():
                return _Built(LinearSchedule(beta_min=process.beta_min, beta_max=process.beta_max), self.claim.dtype)
            case Cosine():
                return _Built(CosineSchedule(s=process.s), self.claim.dtype)
            case Chain():
                return _Built(DiscreteChain(betas=process.betas, ends_in_noise=True), self.claim.dtype)
            case NoProcess():
                # What needs no process asks nothing of the one it is given.
                return _Built(LinearSchedule(), self.claim.dtype, self.claim.warm_up)
            case Own():
                raise Unsupported("refdiff has no constants of its own")
            case _:
                assert_never(process)


@final
@dataclass(frozen=True, slots=True)
class _Built:
    process: LinearSchedule | CosineSchedule | DiscreteChain
    dtype: DType
    warm_up: WarmUp | None = None

    def coefficients(self, t: Times) -> dict[Quantity, Array]:
        names: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")
        if not isinstance(self.process, DiscreteChain):
            names = (*names, "beta")
        return {name: self._array(getattr(self.process, name)(self._tensor(t))) for name in names}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        return self._array(perturb(self.process, self._tensor(x_0), self._tensor(eps), self._tensor(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        tensors = (self._tensor(value), self._tensor(x_t), self._tensor(t))
        return self._array(convert(self.process, *tensors, source=source, to=to))

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        later, earlier = self._tensor(t), self._tensor(s)
        mean = posterior_mean(self.process, self._tensor(x_t), self._tensor(x_0), t=later, s=earlier)
        return self._array(mean), self._array(posterior(self.process, t=later, s=earlier).variance)

    def drift(self, x: Array, t: Times) -> Array:
        return self._array(drift(self._schedule(), self._tensor(x), self._tensor(t)))

    def diffusion(self, t: Times) -> Array:
        return self._array(diffusion_coefficient(self._schedule(), self._tensor(t)))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        if weight == "likelihood":
            self._schedule()
        chosen = MinSNR(gamma=weight.gamma) if isinstance(weight, AnyMinSNR) else _WEIGHTS[weight]
        objective = Objective(process=self.process, prediction=prediction, weight=chosen)
        tensors = (self._tensor(x_0), self._tensor(eps), self._tensor(t))
        return self._array(objective(self._predicting(denoiser), *tensors))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.process, DiscreteChain):
            k, weight = Discrete(steps=len(self.process.betas), sampler=Stratified())(n, generator=generator)
            return k.numpy(), self._array(weight)
        t, weight = Continuous(sampler=Stratified(), t_min=1e-5, dtype=_TORCH[self.dtype])(n, generator=generator)
        return self._array(t), self._array(weight)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        x, given, later, earlier, z = (self._tensor(array) for array in (x_t, value, t, s, noise))

        def part(to: Parameterization) -> Tensor:
            return convert(self.process, given, x, later, source=rule.prediction, to=to)

        match rule.kind:
            case "em":
                made = em_step(self._schedule(), x, eps_hat=part("eps"), t=later, s=earlier, noise=z)
            case "ddpm":
                x_0_hat, which = part("x_0"), rule.variance
                made = ddpm_step(self.process, x, x_0_hat=x_0_hat, t=later, s=earlier, noise=z, variance=which)
            case "ddim":
                x_0_hat, eps_hat = part("x_0"), part("eps")
                at: Any = {"t": later, "s": earlier}
                made = ddim_step(self.process, x_0_hat=x_0_hat, eps_hat=eps_hat, noise=z, eta=rule.eta, **at)
            case "ode":
                made = ode_step(self._schedule(), x, eps_hat=part("eps"), t=later, s=earlier)
            case _:
                assert_never(rule.kind)
        return self._array(made)

    def ema(self, decay: float, history: Array) -> Array:
        weights = self._tensor(history)
        model = nn.ParameterList([weights[0].clone()])
        # Equal weights have no decay: one so near to 1 that it does not count.
        most = math.nextafter(1.0, 0.0) if isinstance(self.warm_up, Equal) else decay
        averaged = average_weights(model, decay=most, warm_up=_warm_up(self.warm_up))
        rows = []
        for row in weights:
            model[0].data.copy_(row)
            averaged.update_parameters(model)
            rows.append(next(averaged.module.parameters()).detach().clone())
        return self._array(torch.stack(rows))

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        c, u = self._tensor(conditional), self._tensor(unconditional)
        guided = guide(lambda x_t, t: c, lambda x_t, t: u, scale)
        return self._array(guided(torch.zeros_like(c), torch.zeros(len(c))))

    def fit(self, data: Array, seed: int, seconds: float) -> Denoiser:
        trained = fit(self._tensor(data).float().numpy(), self.process, seed=seed % 2**32, seconds=seconds)

        def denoiser(x_t: Array, t: Times) -> Array:
            time = self._tensor(t)
            return self._array(trained(self._tensor(x_t).float(), time.float() if time.is_floating_point() else time))

        return denoiser

    def grid(self, n: int) -> Times:
        times = time_grid(self.process, n)
        if isinstance(self.process, DiscreteChain):
            return np.array(times, dtype=np.int64)
        return self._array(torch.tensor(times, dtype=torch.float64))

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        if sampler not in ("ddim", "ddpm"):
            self._schedule()
        objective, generator = Objective(process=self.process, prediction="eps"), torch.Generator().manual_seed(seed)
        chosen, grid, predict = sampler_named(sampler), self._tensor(times).tolist(), self._predicting(denoiser)
        return self._array(sample(objective, predict, self._tensor(x), grid, sampler=chosen, generator=generator))

    def _predicting(self, denoiser: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a denoiser of arrays as one of tensors."""

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return self._tensor(denoiser(self._array(x_t), self._array(t) if t.is_floating_point() else t.numpy()))

        return predict

    def _schedule(self) -> LinearSchedule | CosineSchedule:
        if isinstance(self.process, DiscreteChain):
            raise Unsupported("a chain has no rate")
        return self.process

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        # A copy: torch cannot mark a tensor read-only.
        tensor = torch.from_numpy(array.copy())
        return tensor.to(_TORCH[self.dtype]) if tensor.is_floating_point() else tensor

    def _array(self, tensor: Tensor) -> Array:
        rounded: Array = tensor.to(_TORCH[self.dtype]).double().numpy().astype(FORMATS[self.dtype].storage)
        return rounded


def _warm_up(rule: WarmUp | None) -> bool | Callable[[int], float]:
    """Return a rule of the contract as the average takes it: a function of k."""
    match rule:
        case Ratio():
            return lambda k: (1.0 + k) / (rule.offset + k)
        case Power():
            return partial(_risen, rule)
        case Equal():
            return lambda k: k / (k + 1.0)
        case _:
            return False


def _risen(rule: Power, k: int) -> float:
    if k <= rule.after:
        return 0.0
    return max(rule.least, 1.0 - math.pow(1.0 + (k - rule.after) / rule.inv_gamma, -rule.power))
