"""smalldiffusion as a target, `validation.targets.smalldiffusion:ddpm`.

Calls: `ScheduleDDPM`, `ScheduleLDM`, `ScheduleCosine`, `sample_batch` of them, `get_loss` of a model that predicts eps,
x_0 (`PredX0`) or v (`PredV`), `predict_eps_cfg`, and `samples`: over one step, and as whole samplers with mu = 0 for
DDIM, mu = 1/2 for DDPM, and gam = 2 for the accelerated one, whose extrapolation is of order 1.

The library's noise level is sigma/alpha, and its state x_t/alpha: the adapter converts both in float64, and rounds
once. The loss is a mean of all. The library counts its guidance from the conditional prediction.

Its grids, `sample_sigmas`, end at the first noise level of the chain, k = 1, which those of more than 2 N/3 steps
repeat: a bug (finding 17).

Not claimed: flow matching; weights, which the loss has not.
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator
from smalldiffusion import ModelMixin, PredV, PredX0, ScheduleCosine, ScheduleDDPM, ScheduleLDM, samples
from torch import Tensor, nn

from refdiff.conformance.adapters import (
    Library,
    Network,
    from_edm_sigma,
    from_torch,
    per_example,
    replay,
    to_torch,
)
from refdiff.conformance.interface import (
    Array,
    Claim,
    Denoiser,
    Grid,
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
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, Any] = {
    chains.LINEAR: ScheduleDDPM,
    chains.SCALED_LINEAR: ScheduleLDM,
    chains.COSINE: ScheduleCosine,
}
_OPTIONS = {"ddim": {"mu": 0.0}, "ddpm": {"mu": 0.5}, "accelerated": {"gam": 2.0}}
"""Arguments of `samples` for each sampler."""


def ddpm() -> Target:
    """Return the schedules of DDPM, of Stable Diffusion, and the cosine one."""
    claim = Claim(
        name="smalldiffusion",
        version=version("smalldiffusion"),
        dtype="float32",
        processes=tuple(_SCHEDULES),
        capabilities=frozenset({"schedule", "perturb", "loss", "times", "step", "guide", "grid", "sample"}),
        contract=2,
        reduction="all_mean",
        grid=Grid(last=1),
        weights=("uniform",),
        steps=(
            Step(kind="ddpm"),
            Step(kind="ddim"),
            Step(kind="ddim", prediction="x_0"),
            Step(kind="ddim", prediction="v"),
        ),
        samplers=(
            Sampler(name="ddim", exact=True),
            Sampler(name="accelerated", exact=True),
            Sampler(name="ddpm", exact=True, stochastic=True),
        ),
    )
    return Library(claim, _Small)


def _wide(array: Array) -> Tensor:
    return to_torch(array, "float64")


def _array(tensor: Tensor) -> Array:
    return from_torch(tensor.float(), "float32")


class _Eps(nn.Module, ModelMixin):  # type: ignore[misc]  # the library has no types
    """A model with an answer to (x, sigma, labels), of which -1 is the null label."""

    cond_embed = SimpleNamespace(null_cond=-1)
    _answer: Any

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer
        self.input_dims: tuple[int, ...] = ()

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the answer."""
        answer: Tensor = self._answer(x, sigma, cond)
        return answer


_MODELS: dict[str, Any] = {"eps": _Eps, "x_0": PredX0(_Eps), "v": PredV(_Eps)}


class _Trained:
    """One schedule, and what training calls."""

    def __init__(self, process: Process) -> None:
        self._schedule = _SCHEDULES[process](chains.N)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Index the schedule, and convert sigma/alpha."""
        alpha, sigma = (scale.astype("float32") for scale in self._scales(t))
        return {"alpha": alpha, "sigma": sigma}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return alpha times the state that the model sees in `get_loss`."""
        network = Network(lambda x, *_: x)
        model: Any = _Eps(network)
        model.get_loss(_tensor(x_0), per_example(self._sigma(t), x_0), _tensor(eps))
        return _array(per_example(torch.from_numpy(self._scales(t)[0]), x_0) * network.inputs[0])

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `get_loss`; the denoiser is given alpha times the state."""
        if weight != "uniform" or prediction not in _MODELS:
            raise Unsupported(f"smalldiffusion has no weight {weight} of {prediction}")
        alpha = per_example(torch.from_numpy(self._scales(t)[0]), x_0)
        model = _MODELS[prediction](lambda x, *_: _tensor(denoiser(_array(alpha * x), t)))
        sigma = per_example(self._sigma(t), x_0)
        return _array(model.get_loss(_tensor(x_0), sigma, _tensor(eps)))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `sample_batch`, and look its noise levels up; nothing is weighted."""
        torch.manual_seed(seed)
        return self._k(self._schedule.sample_batch(torch.zeros(n))), _array(torch.ones(n))

    def grid(self, n: int) -> Times:
        """Call `sample_sigmas`, and look its noise levels up."""
        return self._k(self._schedule.sample_sigmas(n))

    def _k(self, sigma: Tensor) -> Times:
        """Return the k of noise levels of the schedule."""
        levels = self._schedule.sigmas.to(sigma)
        found: Times = torch.searchsorted(levels, sigma).numpy() + 1
        return found

    def _sigma(self, k: Times) -> Tensor:
        """Return the library's noise level of each k; k = 0 is the data, without noise."""
        index = torch.from_numpy(np.maximum(k - 1, 0))
        return torch.where(torch.from_numpy(k) > 0, self._schedule[index], 0.0)

    def _scales(self, k: Times) -> tuple[Array, Array]:
        return from_edm_sigma(self._sigma(k).double().numpy())


@final
class _Small(_Trained):
    """One schedule, and what training and sampling call."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._accelerator = Accelerator(cpu=True)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `samples` over one pair of noise levels for each example, which a model is told likewise."""
        answer, z = (_wide(array).reshape(len(t), -1) for array in (value, noise))
        levels = torch.stack([self._sigma(k).double()[:, None] for k in (t, s)])
        with replay(normal=[z]):
            moved = self._run(_MODELS[rule.prediction](lambda *_: answer), self._state(x_t, t), levels, rule.kind)
        return self._scaled(moved, s, x_t.shape)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `samples` along the noise levels of the times; the denoiser is given alpha times the state."""
        torch.manual_seed(seed)

        def answer(state: Tensor, sigma: Tensor, _: None) -> Tensor:
            k = self._k(sigma).repeat(len(x))
            return _wide(denoiser(self._scaled(state, k, x.shape), k)).reshape(state.shape)

        first, last = (times[i].repeat(len(x)) for i in (0, -1))
        moved = self._run(_Eps(answer), self._state(x, first), self._sigma(times).double(), sampler)
        return self._scaled(moved, last, x.shape)

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        """Call `predict_eps_cfg` of a model that answers by its label."""
        answers = {0: _tensor(conditional), -1: _tensor(unconditional)}
        batch = len(conditional)

        def answer(_: Tensor, __: Tensor, labels: Tensor) -> Tensor:
            return torch.cat([answers[label] for label in labels[::batch].tolist()])

        model: Any = _Eps(answer)
        labels = torch.zeros(batch, dtype=torch.int64)
        return _array(model.predict_eps_cfg(answers[0], torch.ones(()), labels, scale - 1))

    def _run(self, model: Any, state: Tensor, levels: Tensor, sampler: str) -> Tensor:
        """Return the last of `samples`."""
        model.input_dims = tuple(state.shape[1:])
        for moved in samples(model, levels, xt=state, accelerator=self._accelerator, **_OPTIONS[sampler]):
            state = moved
        return state

    def _state(self, x_t: Array, k: Times) -> Tensor:
        return _wide(x_t).reshape(len(k), -1) / torch.from_numpy(self._scales(k)[0])[:, None]

    def _scaled(self, state: Tensor, k: Times, shape: tuple[int, ...]) -> Array:
        return _array((state * torch.from_numpy(self._scales(k)[0])[:, None]).reshape(shape))
