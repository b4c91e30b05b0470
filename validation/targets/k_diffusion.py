"""k-diffusion as targets, `validation.targets.k_diffusion:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `v` | `VDenoiser` | `t_to_sigma`, `loss`, `forward`, and those below |
| `eps` | `DiscreteEpsDDPMDenoiser` on the table of DDPM's chain | the same with `sigmas`, `get_sigmas`, and samplers |
| `samplers` | `VDenoiser` in float64 | `t_to_sigma`, and the samplers that go along given noise levels |
| `sde` | the same | `sample_dpmpp_2m_sde` and `sample_dpmpp_3m_sde`, which raise for one step to t = 0: a bug |

Both denoisers also take steps, `sample_euler_ancestral` over one pair of noise levels, whose eta is that of DDIM, and
1 for DDPM. `v` also draws times, by `utils.rand_v_diffusion`, and averages weights, by `utils.ema_update`.

The library's noise level is sigma/alpha, and its state x_t/alpha, which the networks see as x_t: the adapter converts
both in float64. `forward` returns x_0_hat. With t = 2 atan(sigma/alpha)/pi, `VDenoiser` has the cosine schedule with
s = 0. `sample_lms` is asked for its order 2: more need steps of like lengths. Samplers with noise are given
`default_noise_sampler`, as a Brownian tree takes 20 times as long.

Not claimed: weights; `sample_dpm_fast` and `sample_dpm_adaptive`, which choose their noise levels; grids that lead to
levels between those of the chain, or to none of a time, as `get_sigmas_karras`; `VDenoiser` at t = 0, where its loss is
0/0, and above t = 0.999, where tan(pi t/2) loses its digits and its sign.
"""

from __future__ import annotations

from copy import deepcopy
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from k_diffusion import sampling, utils
from k_diffusion.external import DiscreteEpsDDPMDenoiser, VDenoiser
from torch import Tensor, nn

from refdiff.conformance.adapters import (
    Library,
    Network,
    averages,
    from_edm_sigma,
    from_torch,
    one_by_one,
    to_torch,
)
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Cosine,
    Denoiser,
    DType,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
    Unsupported,
    Weight,
)
from refdiff.conformance.step import Step
from validation.targets import chains

_COSINE = Cosine(s=0.0)
_ORDERS = {"euler": 1, "heun": 2, "lms": 2, "dpmpp_2m": 2, "dpm_2": 2}
"""Samplers without noise."""
_ALONG = ("euler", "heun", "lms", "dpmpp_2m", "euler_ancestral")
"""Samplers that ask the network at the given noise levels only."""
_BETWEEN = ("dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde")
_OPTIONS: dict[str, dict[str, Any]] = {"lms": {"order": 2}}


def v() -> Target:
    """Return VDenoiser."""
    return _target("VDenoiser", _COSINE, "v", "loss", "perturb", "convert", "step", "times", "ema", t_min=1e-4)


def eps() -> Target:
    """Return DiscreteEpsDDPMDenoiser."""
    calls: tuple[Capability, ...] = ("loss", "perturb", "convert", "step", "grid", "sample")
    return _target("DiscreteEpsDDPMDenoiser", chains.LINEAR, "eps", *calls, t_max=1.0, samplers=_ALONG)


def samplers() -> Target:
    """Return the samplers with VDenoiser."""
    return _target("samplers", _COSINE, "v", "sample", dtype="float64", samplers=_ALONG + _BETWEEN)


def sde() -> Target:
    """Return the multistep samplers with noise."""
    names = ("dpmpp_2m_sde", "dpmpp_3m_sde")
    return _target("multistep SDE samplers", _COSINE, "v", "sample", dtype="float64", samplers=names)


def _target(
    name: str,
    process: Process,
    prediction: Parameterization,
    *more: Capability,
    dtype: DType = "float32",
    t_min: float = 0.0,
    t_max: float = 0.999,
    samplers: tuple[str, ...] = (),
) -> Target:
    steps = (Step(kind="ddpm", prediction=prediction), Step(kind="ddim", prediction=prediction))
    claim = Claim(
        name=f"k-diffusion {name}",
        version=version("k-diffusion"),
        dtype=dtype,
        processes=(process,),
        capabilities=frozenset({"schedule", *more}),
        contract=2,
        t_min=t_min,
        t_max=t_max,
        reduction="example_mean",
        weights=("uniform",),
        steps=(*steps, Step(kind="ddim", prediction=prediction, eta=0.5)),
        samplers=tuple(_sampler(one, prediction) for one in samplers),
    )
    return Library(claim, lambda process: _Wrapped(process, claim))


def _sampler(name: str, prediction: Parameterization) -> Sampler:
    stochastic = name not in _ORDERS
    return Sampler(name=name, prediction=prediction, order=_ORDERS.get(name, 1), exact=True, stochastic=stochastic)


class _Levels:
    """A wrapper around networks that predict eps or v, and its noise levels sigma/alpha."""

    def __init__(self, process: Process, claim: Claim) -> None:
        self._claim = claim
        alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, chains.N), dim=0)
        self._table = None if process == _COSINE else alphas
        self._plain = self._around(lambda x, *_: x)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Convert sigma/alpha."""
        alpha, sigma = (scale.astype(self._claim.dtype) for scale in self._scales(t))
        return {"alpha": alpha, "sigma": sigma}

    def _around(self, network: Any) -> Any:
        model: Any = nn.Identity()
        model.forward = network
        return VDenoiser(model) if self._table is None else DiscreteEpsDDPMDenoiser(model, self._table, quantize=True)

    def _asking(self, denoiser: Denoiser, shape: tuple[int, ...]) -> Any:
        """Return the wrapper around a denoiser of the contract, with the times that it gives to its networks."""

        def answer(x: Tensor, t: Tensor) -> Tensor:
            value = denoiser(self._array(x.reshape(shape)), self._times(t))
            return to_torch(value, self._claim.dtype).reshape(x.shape).to(x)

        return self._around(answer)

    def _sigma(self, t: Times) -> Tensor:
        """Return the library's noise level at t; k = 0 is the data, without noise."""
        times = torch.from_numpy(t.copy())
        if self._table is None:
            sigma: Tensor = self._plain.t_to_sigma(times)
            return sigma
        return torch.where(times > 0, self._plain.sigmas[(times - 1).clamp(min=0)], 0.0)

    def _scales(self, t: Times) -> tuple[Array, Array]:
        return from_edm_sigma(self._sigma(t).double().numpy())

    def _times(self, given: Tensor) -> Times:
        """Return the times of the contract of those that the wrapper gives to its networks."""
        return self._array(given) if self._table is None else (given + 1).numpy()

    def _array(self, tensor: Tensor) -> Array:
        dtype = self._claim.dtype
        return from_torch(tensor.to(getattr(torch, dtype)), dtype)

    def _state(self, x_t: Array, t: Times) -> Tensor:
        """Return x_t/alpha, in float64."""
        return _rows(x_t).double() / torch.from_numpy(self._scales(t)[0])[:, None]

    def _scaled(self, state: Tensor, t: Times, shape: tuple[int, ...]) -> Array:
        """Return alpha times the library's state."""
        return self._array((state * torch.from_numpy(self._scales(t)[0])[:, None]).reshape(shape))


class _Trained(_Levels):
    """What training calls."""

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t as the network of `loss` sees it."""
        network = Network(lambda x, _: torch.zeros_like(x))
        self._around(network.forward).loss(_rows(x_0), _rows(eps), self._sigma(t))
        return self._array(network.inputs[0].reshape(x_0.shape))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `loss`; the network sees x_t."""
        if (prediction, weight) != (self._claim.steps[0].prediction, "uniform"):
            raise Unsupported(f"the wrapper has no weight {weight} of {prediction}")
        return self._array(self._asking(denoiser, x_0.shape).loss(_rows(x_0), _rows(eps), self._sigma(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `forward`, which returns x_0_hat, on x_t/alpha."""
        if (source, to) != (self._claim.steps[0].prediction, "x_0"):
            raise Unsupported(f"no call that gives {to} from {source}")
        model = self._around(lambda *_: _rows(value))
        return self._array(model(self._state(x_t, t).float(), self._sigma(t)).reshape(x_t.shape))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `rand_v_diffusion` over the noise levels of the claim; nothing is weighted."""
        torch.manual_seed(seed)
        ends = (self._sigma(np.array(t)).item() for t in (self._claim.t_min, self._claim.t_max))
        drawn = utils.rand_v_diffusion((n,), 1.0, *ends)
        return self._times(self._plain.sigma_to_t(drawn)), self._array(torch.ones(n))

    def ema(self, decay: float, history: Array) -> Array:
        """Let `ema_update` average a model whose weights take the rows of the history."""

        def begin(model: nn.Module) -> Any:
            average = deepcopy(model)
            return lambda: utils.ema_update(model, average, decay), average.parameters

        return self._array(averages(to_torch(history, self._claim.dtype), begin))


@final
class _Wrapped(_Trained):
    """What training and sampling call."""

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `sample_euler_ancestral` over one pair of noise levels, for each example."""
        eta = 1.0 if rule.kind == "ddpm" else rule.eta
        values = iter(_rows(value).double()[:, None].unbind())
        model = self._around(lambda *_: next(values))

        def one(x: Tensor, z: Tensor, high: Tensor, low: Tensor) -> Tensor:
            moved: Tensor = sampling.sample_euler_ancestral(
                model, x, torch.stack([high, low]), disable=True, eta=eta, noise_sampler=lambda *_: z
            )
            return moved

        levels = (self._sigma(times).double() for times in (t, s))
        moved = one_by_one(one, self._state(x_t, t), _rows(noise).double(), *levels)
        return self._scaled(moved, s, x_t.shape)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call the sampler of this name along the noise levels of the times."""
        torch.manual_seed(seed)
        first, last = (times[i].repeat(len(x)) for i in (0, -1))
        model, levels = self._asking(denoiser, x.shape), self._sigma(times).double()
        run, state, options = getattr(sampling, f"sample_{sampler}"), self._state(x, first), _OPTIONS.get(sampler, {})
        if sampler not in _ORDERS:
            options = {"noise_sampler": sampling.default_noise_sampler(state)}
        moved: Tensor = run(model, state, levels, disable=True, **options)
        return self._scaled(moved, last, x.shape)

    def grid(self, n: int) -> Times:
        """Call `get_sigmas`, and look the levels up among the chain's."""
        levels = self._plain.get_sigmas(n)[:-1]
        k = self._times(self._plain.sigma_to_t(levels))
        if not torch.allclose(self._sigma(k), levels, rtol=1e-5, atol=0.0):
            raise Unsupported(f"the noise levels of {n} steps lie between those of the chain")
        return np.append(k, 0)


def _rows(array: Array) -> Tensor:
    """Return the data with one axis for an event, as `flatten` needs one."""
    return torch.from_numpy(array.copy()).reshape(len(array), -1)
