"""refdiff itself as a target: the default of `pytest validation`, judged like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never, final

import numpy as np
import torch
from torch import Tensor, nn

from refdiff import __version__
from refdiff.chain import DiscreteChain
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Cosine,
    Denoiser,
    DType,
    Linear,
    Own,
    Parameterization,
    Process,
    Quantity,
    Rule,
    Sampler,
    Times,
    Unsupported,
    Weighting,
)
from refdiff.ema import average_weights
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
from refdiff.weighting import InverseSNR, LikelihoodWeight, MinSNR, UniformWeight, Weight

_TORCH: dict[DType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}

_WEIGHTS: dict[Weighting, Weight] = {
    "uniform": UniformWeight(),
    "inverse_snr": InverseSNR(),
    "min_snr": MinSNR(),
    "likelihood": LikelihoodWeight(),
}

_SAMPLERS = (
    Sampler(name="ddim", exact=True),
    Sampler(name="ode", chains=False),
    Sampler(name="rk4", order=4, chains=False),
    Sampler(name="ddpm", exact=True, stochastic=True),
    Sampler(name="em", stochastic=True, chains=False),
)


def target(dtype: DType = "float32") -> Reference:
    """Return refdiff as a target that computes in `dtype`."""
    return Reference(
        Claim(
            name="refdiff",
            version=__version__,
            dtype=dtype,
            processes=(Linear, Cosine, Chain),
            capabilities=frozenset(
                {
                    *("schedule", "perturb", "sde", "convert", "loss", "times", "step", "posterior", "ema", "fit"),
                    *("grid", "sample"),
                }
            ),
            samplers=_SAMPLERS,
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
                return _Built(DiscreteChain(betas=process.betas), self.claim.dtype)
            case Own():
                raise Unsupported("refdiff has no constants of its own")
            case _:
                assert_never(process)


@final
@dataclass(frozen=True, slots=True)
class _Built:
    process: LinearSchedule | CosineSchedule | DiscreteChain
    dtype: DType

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
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        if weight == "likelihood":
            self._schedule()
        objective = Objective(process=self.process, prediction=prediction, weight=_WEIGHTS[weight])
        tensors = (self._tensor(x_0), self._tensor(eps), self._tensor(t))
        return self._array(objective(self._predicting(denoiser), *tensors))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.process, DiscreteChain):
            k, weight = Discrete(steps=len(self.process.betas), sampler=Stratified())(n, generator=generator)
            return k.numpy(), self._array(weight)
        t, weight = Continuous(sampler=Stratified(), t_min=1e-5, dtype=_TORCH[self.dtype])(n, generator=generator)
        return self._array(t), self._array(weight)

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        x, e, later, earlier, z = (self._tensor(array) for array in (x_t, eps_hat, t, s, noise))
        match rule:
            case "em":
                return self._array(em_step(self._schedule(), x, eps_hat=e, t=later, s=earlier, noise=z))
            case "ddpm":
                x_0_hat = convert(self.process, e, x, later, source="eps", to="x_0")
                return self._array(ddpm_step(self.process, x, x_0_hat=x_0_hat, t=later, s=earlier, noise=z))
            case "ddim":
                x_0_hat = convert(self.process, e, x, later, source="eps", to="x_0")
                return self._array(ddim_step(self.process, x_0_hat=x_0_hat, eps_hat=e, t=later, s=earlier))
            case "ode":
                return self._array(ode_step(self._schedule(), x, eps_hat=e, t=later, s=earlier))
            case _:
                assert_never(rule)

    def ema(self, decay: float, history: Array) -> Array:
        weights = self._tensor(history)
        model = nn.ParameterList([weights[0].clone()])
        averaged = average_weights(model, decay=decay, warm_up=False)
        rows = []
        for row in weights:
            model[0].data.copy_(row)
            averaged.update_parameters(model)
            rows.append(next(averaged.module.parameters()).detach().clone())
        return self._array(torch.stack(rows))

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
