"""lucidrains' denoising-diffusion-pytorch as targets, `validation.targets.denoising_diffusion:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `discrete` | `GaussianDiffusion` | `q_sample`, `p_losses`, `p_sample`, `random_times`, and those below |
| `continuous` | `ContinuousTimeGaussianDiffusion` | the same, `log_snr`, `p_sample_loop` |
| `v` | `VParamContinuousTimeGaussianDiffusion` | the same |

`GaussianDiffusion` also has `model_predictions` and `predict_v` for conversions, `q_posterior` and `ddim_sample`.
Its weights are SNR on x_0, 1 on eps and SNR/(SNR + 1) on v, which is the contract's `snr`, or those of min-SNR.
The losses are asked for without reduction, which gives means over the event.
A grid is what a run passes to its network, or to `p_sample`, and the time at which it ends.

Not claimed: `p_sample_loop` of `GaussianDiffusion`, which goes over every k, so that no number of steps can be doubled;
steps over more than one k, as `p_sample` has none; the learned schedule.
"""

from __future__ import annotations

from importlib.metadata import version
from math import sin, sqrt
from typing import Any, final

import numpy as np
import torch
from denoising_diffusion_pytorch import GaussianDiffusion
from denoising_diffusion_pytorch.continuous_time_gaussian_diffusion import ContinuousTimeGaussianDiffusion
from denoising_diffusion_pytorch.v_param_continuous_time_gaussian_diffusion import VParamContinuousTimeGaussianDiffusion
from torch import Tensor

from refdiff.conformance.adapters import Library, Network, from_images, one_by_one, replay, to_images, unclipped
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Denoiser,
    MinSNR,
    Own,
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
from validation.targets.arrays import array as _array
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, str] = {
    chains.LINEAR: "linear",
    chains.COSINE: "cosine",
    Own(label="sigmoid", steps=chains.N): "sigmoid",
}
_OBJECTIVES: dict[Parameterization, str] = {"eps": "pred_noise", "x_0": "pred_x0", "v": "pred_v"}
_COSINE = Own(label="cosine", sigma_min=sin(torch.pi / 2 * 0.008 / 1.008))
_CONTINUOUS: dict[Process, str] = {
    Own(label="linear", sigma_min=sqrt(-torch.expm1(torch.tensor(-1e-4)).item())): "linear"
}
_CONTINUOUS[_COSINE] = "cosine"
_ETAS = {"ddim": 0.0, "ddim, half the noise": 0.5, "ddim, all the noise": 1.0}
_RUNS = {
    f"{name}, from {prediction}": Sampler(
        name=f"{name}, from {prediction}",
        prediction=prediction,
        exact=True,
        stochastic=eta > 0.0,
        times="grid",
    )
    for name, eta in _ETAS.items()
    for prediction in _OBJECTIVES
}


def discrete() -> Target:
    """Return GaussianDiffusion."""
    claim = Claim(
        name="denoising-diffusion-pytorch GaussianDiffusion",
        version=version("denoising-diffusion-pytorch"),
        dtype="float32",
        processes=tuple(_SCHEDULES),
        capabilities=frozenset(
            {"schedule", "perturb", "convert", "loss", "posterior", "step", "times", "grid", "sample"}
        ),
        reduction="example_mean",
        weights=("uniform", "snr", "min_snr", MinSNR),
        contract=2,
        steps=tuple(Step(kind="ddpm", prediction=prediction) for prediction in _OBJECTIVES),
        samplers=tuple(_RUNS.values()),
    )
    return Library(claim, _Discrete)


def continuous() -> Target:
    """Return ContinuousTimeGaussianDiffusion, which predicts eps."""
    claim = _claim("ContinuousTimeGaussianDiffusion", tuple(_CONTINUOUS), "eps", ("uniform", "snr", "min_snr", MinSNR))
    return Library(claim, lambda process: _Continuous(process, ContinuousTimeGaussianDiffusion, "eps"))


def v() -> Target:
    """Return VParamContinuousTimeGaussianDiffusion, which predicts v."""
    claim = _claim("VParamContinuousTimeGaussianDiffusion", (_COSINE,), "v", ("uniform", "snr_plus_one"))
    return Library(claim, lambda process: _Continuous(process, VParamContinuousTimeGaussianDiffusion, "v"))


_CAPABILITIES: tuple[Capability, ...] = ("schedule", "perturb", "loss", "step", "times", "grid", "sample")


def _claim(name: str, processes: tuple[Process, ...], prediction: Parameterization, weights: Any) -> Claim:
    return Claim(
        name=f"denoising-diffusion-pytorch {name}",
        version=version("denoising-diffusion-pytorch"),
        dtype="float32",
        processes=processes,
        capabilities=frozenset(_CAPABILITIES),
        reduction="example_mean",
        weights=weights,
        contract=2,
        steps=(Step(kind="ddpm", prediction=prediction),),
        samplers=(Sampler(name="ddpm", prediction=prediction, stochastic=True, times="grid"),),
    )


def _network(answer: Any, learned: bool = False) -> Network:
    return Network(answer, channels=1, out_dim=1, self_condition=False, random_or_learned_sinusoidal_cond=learned)


def _silent(x: Tensor, *_: Any) -> Tensor:
    return torch.zeros_like(x)


def _min_snr(weight: Weight) -> dict[str, Any]:
    """Return the library's options for a weight."""
    if weight == "min_snr":
        return {"min_snr_loss_weight": True}
    return {"min_snr_loss_weight": True, "min_snr_gamma": weight.gamma} if isinstance(weight, MinSNR) else {}


class _Tables:
    """The tables of GaussianDiffusion for one of its chains, and what they tell without a network."""

    def __init__(self, process: Process) -> None:
        self._chain = process
        self._plain = self._made("eps", _network(None))

    def _made(self, prediction: Parameterization, network: Network, **options: Any) -> GaussianDiffusion:
        if prediction not in _OBJECTIVES:
            raise Unsupported(f"GaussianDiffusion has no objective for {prediction}")
        chosen = {"objective": _OBJECTIVES[prediction], "beta_schedule": _SCHEDULES[self._chain]} | options
        return GaussianDiffusion(network, image_size=8, timesteps=chains.N, auto_normalize=False, **chosen)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the buffers."""
        names = {
            "alpha_bar": "alphas_cumprod",
            "alpha": "sqrt_alphas_cumprod",
            "sigma": "sqrt_one_minus_alphas_cumprod",
        }
        return {name: _array(getattr(self._plain, buffer)[_index(t)]) for name, buffer in names.items()}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `q_sample`."""
        return _array(self._plain.q_sample(_tensor(x_0), _index(t), _tensor(eps)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `model_predictions` of a network that answers `value`, and for v `predict_v` of the two predictions."""
        if to == "score" or source == to:
            raise Unsupported(f"GaussianDiffusion has no call that gives {to} from {source}")
        noised, k = to_images(_tensor(x_t)), _index(t)
        predicted = self._made(source, _network(lambda *_: to_images(_tensor(value)))).model_predictions(noised, k)
        results = {"eps": predicted.pred_noise, "x_0": predicted.pred_x_start}
        if to == "v":
            results["v"] = self._plain.predict_v(predicted.pred_x_start, k, predicted.pred_noise)
        return _array(from_images(results[to], x_t.shape[1:]))

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `q_posterior`, which knows adjacent steps."""
        _adjacent(t, s)
        mean, variance, _ = self._plain.q_posterior(_tensor(x_0), _tensor(x_t), _index(t))
        return _array(mean), _array(variance.flatten())

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `random_times`; nothing is weighted."""
        torch.manual_seed(seed)
        return (self._plain.random_times(n) + 1).numpy(), _array(torch.ones(n))


@final
class _Discrete(_Tables):
    """GaussianDiffusion with a network; one object for each objective."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._models = {prediction: self._made(prediction, _network(None)) for prediction in _OBJECTIVES}

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `p_losses`; the network sees x_t and k - 1."""
        if weight == "uniform" and prediction != "eps":
            raise Unsupported(f"GaussianDiffusion has no weight 1 of {prediction}")
        model = self._made(prediction, _asking(denoiser, x_0), **_min_snr(weight))
        images, noise = to_images(_tensor(x_0)), to_images(_tensor(eps))
        return _array(model.p_losses(images, _index(t), noise, loss_reduction="none"))

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `p_sample` for each example, without its clipping, for which it has no option."""
        _adjacent(t, s)
        model = self._models[rule.prediction]

        def one(x: Tensor, y: Tensor, k: int, z: Tensor) -> Tensor:
            model.model = _network(lambda *_: y)
            with unclipped(), replay(normal=[z] if k > 0 else []):
                moved: Tensor = model.p_sample(x, k)[0]
            return moved

        x, y, z = (to_images(_tensor(array)) for array in (x_t, value, noise))
        return _array(from_images(one_by_one(one, x, y, _index(t), z), x_t.shape[1:]))

    def grid(self, n: int) -> Times:
        """Return the k at which `ddim_sample` calls its network, and 0, as its last step returns x_0_hat."""
        network = _network(_silent)
        self._made("eps", network, sampling_timesteps=n).ddim_sample((1, 1, 1, 1))
        return np.array([*(int(k[0]) + 1 for k in network.times), 0])

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `ddim_sample`, without its clipping, its first draw replaced by x; with eta = 0 it draws for nothing."""
        run, n = _RUNS[sampler], len(times) - 1
        if times.tolist() != self.grid(n).tolist():
            raise Unsupported("ddim_sample goes along its own times")
        eta = _ETAS[sampler.removesuffix(f", from {run.prediction}")]
        network, start = _asking(denoiser, x), to_images(_tensor(x))
        model = self._made(run.prediction, network, sampling_timesteps=n, ddim_sampling_eta=eta)
        with unclipped(), replay(normal=_draws(start, n - 1, seed)):
            return _array(from_images(model.ddim_sample(start.shape), x.shape[1:]))


def _asking(denoiser: Denoiser, like: Array) -> Network:
    """Return a network of images and k - 1 that asks the denoiser, whose events are those of `like`."""

    def answer(x: Tensor, k: Tensor, _: None) -> Tensor:
        return to_images(_tensor(denoiser(_array(from_images(x, like.shape[1:])), (k + 1).numpy())))

    return _network(answer)


def _draws(start: Tensor, n: int, seed: int) -> list[Tensor]:
    """Return the start of a run and the noise of its steps."""
    generator = torch.Generator().manual_seed(seed)
    return [start, *(torch.randn(start.shape, generator=generator) for _ in range(n))]


def _adjacent(t: Times, s: Times) -> None:
    if not (t - s == 1).all():
        raise Unsupported("GaussianDiffusion steps over one k")


@final
class _Continuous:
    """A continuous-time class for one of its schedules, without clipping."""

    def __init__(self, process: Process, kind: Any, prediction: Parameterization) -> None:
        self._prediction = prediction
        self._options = {} if prediction == "v" else {"noise_schedule": _CONTINUOUS[process]}
        self._kind = kind
        self._plain = self._made(None)

    def _made(self, answer: Any, **options: Any) -> Any:
        network = _network(answer, learned=True)
        network.register_parameter("device", torch.nn.Parameter(torch.zeros(())))  # the class asks where it is
        return self._kind(network, image_size=8, clip_sample_denoised=False, **self._options, **options)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call `log_snr`."""
        return {"log_snr": _array(self._plain.log_snr(_tensor(t)))}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `q_sample`."""
        return _array(self._plain.q_sample(_tensor(x_0), _tensor(t), _tensor(eps))[0])

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `p_losses`; the network sees x_t and the log-SNR of t."""
        if prediction != self._prediction:
            raise Unsupported(f"{self._kind.__name__} does not predict {prediction}")
        model = self._made(lambda x, _: _tensor(denoiser(_array(x), t)), **_min_snr(weight))
        return _array(model.p_losses(_tensor(x_0), _tensor(t), _tensor(eps), loss_reduction="none"))

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `p_sample` for each example; at s = 0 it returns the mean and draws nothing."""
        del rule

        def one(x: Tensor, y: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Any:
            self._plain.model.forward = lambda *_: y
            with replay(normal=[z] if s > 0 else []):
                return self._plain.p_sample(x, t, s)

        shaped = (to_images(_tensor(array)) for array in (x_t, value))
        times = (_tensor(array) for array in (t, s))
        return _array(from_images(one_by_one(one, *shaped, *times, to_images(_tensor(noise))), x_t.shape[1:]))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `random_times`; nothing is weighted."""
        torch.manual_seed(seed)
        return _array(self._plain.random_times(n)), _array(torch.ones(n))

    def grid(self, n: int) -> Times:
        """Return the times that `p_sample_loop` passes to `p_sample`."""
        return _array(self._looped(lambda x, _: torch.zeros_like(x), torch.zeros(1, 1, 1, 1), n, 0)[1])

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `p_sample_loop`, its first draw replaced by x, and undo its map of [-1, 1] to [0, 1]."""
        del sampler

        def answer(images: Tensor, t: Tensor) -> Tensor:
            given = _array(from_images(images, x.shape[1:])), _array(t.expand(len(images)))
            return to_images(_tensor(denoiser(*given)))

        images, gone = self._looped(answer, to_images(_tensor(x)), len(times) - 1, seed)
        if gone.tolist() != times.tolist():
            raise Unsupported("p_sample_loop goes along its own times")
        return _array(from_images(2 * images - 1, x.shape[1:]))

    def _looped(self, answer: Any, start: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return what a run returns, and its times."""
        steps: list[tuple[Tensor, Tensor]] = []
        model = self._made(lambda x, _: answer(x, steps[-1][0]), num_sample_steps=n)

        def p_sample(x: Tensor, t: Tensor, s: Tensor) -> Any:
            steps.append((t, s))
            return self._kind.p_sample(model, x, t, s)

        model.p_sample = p_sample
        with unclipped(), replay(normal=_draws(start, n - 1, seed)):
            images = model.p_sample_loop(start.shape)
        return images, torch.stack([steps[0][0], *(s for _, s in steps)])
