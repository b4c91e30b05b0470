"""lucidrains' denoising-diffusion-pytorch as targets, `validation.targets.denoising_diffusion:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `discrete` | `GaussianDiffusion` | `q_sample`, `p_losses`, `p_sample`, `random_times`, and those below |
| `continuous` | `ContinuousTimeGaussianDiffusion` | `log_snr`, `q_sample`, `p_losses`, `p_sample`, `random_times` |
| `v` | `VParamContinuousTimeGaussianDiffusion` | the same |

`GaussianDiffusion` also has `model_predictions` and `predict_v` for conversions, and `q_posterior`.
The losses are asked for without reduction, which gives means over the event; the adapter multiplies them by its size.

Not claimed: the weights SNR of x_0 and SNR/(SNR + 1) of v, which are the defaults; `ddim_sample`, which owns its grid;
steps over more than one k, as `p_sample` has none; the learned schedule.
"""

from __future__ import annotations

from importlib.metadata import version
from math import sin, sqrt
from typing import Any, final

import torch
from denoising_diffusion_pytorch import GaussianDiffusion
from denoising_diffusion_pytorch.continuous_time_gaussian_diffusion import ContinuousTimeGaussianDiffusion
from denoising_diffusion_pytorch.v_param_continuous_time_gaussian_diffusion import VParamContinuousTimeGaussianDiffusion
from torch import Tensor

from refdiff.conformance.adapters import (
    Library,
    Network,
    from_images,
    one_by_one,
    per_example,
    replay,
    to_images,
    unclipped,
)
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Denoiser,
    Own,
    Parameterization,
    Process,
    Rule,
    Target,
    Times,
    Unsupported,
    Weighting,
)
from validation.targets import chains
from validation.targets.arrays import array as _array
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, str] = {chains.LINEAR: "linear", chains.COSINE: "cosine"}
_OBJECTIVES: dict[str, str] = {"eps": "pred_noise", "x_0": "pred_x0", "v": "pred_v"}
_COSINE = Own(label="cosine", sigma_min=sin(torch.pi / 2 * 0.008 / 1.008))
_CONTINUOUS: dict[Process, str] = {
    Own(label="linear", sigma_min=sqrt(-torch.expm1(torch.tensor(-1e-4)).item())): "linear"
}
_CONTINUOUS[_COSINE] = "cosine"


def discrete() -> Target:
    """Return GaussianDiffusion."""
    capabilities: tuple[Capability, ...] = ("schedule", "perturb", "convert", "loss", "posterior", "step", "times")
    return Library(_claim("GaussianDiffusion", tuple(_SCHEDULES), *capabilities), _Discrete)


def continuous() -> Target:
    """Return ContinuousTimeGaussianDiffusion, which predicts eps."""
    claim = _claim("ContinuousTimeGaussianDiffusion", tuple(_CONTINUOUS), *_CAPABILITIES)
    return Library(claim, lambda process: _Continuous(process, ContinuousTimeGaussianDiffusion, "eps"))


def v() -> Target:
    """Return VParamContinuousTimeGaussianDiffusion, which predicts v."""
    claim = _claim("VParamContinuousTimeGaussianDiffusion", (_COSINE,), *_CAPABILITIES)
    return Library(claim, lambda process: _Continuous(process, VParamContinuousTimeGaussianDiffusion, "v"))


_CAPABILITIES: tuple[Capability, ...] = ("schedule", "perturb", "loss", "step", "times")


def _claim(name: str, processes: tuple[Process, ...], *capabilities: Capability) -> Claim:
    return Claim(
        name=f"denoising-diffusion-pytorch {name}",
        version=version("denoising-diffusion-pytorch"),
        dtype="float32",
        processes=processes,
        capabilities=frozenset(capabilities),
    )


def _network(answer: Any, learned: bool = False) -> Network:
    return Network(answer, channels=1, out_dim=1, self_condition=False, random_or_learned_sinusoidal_cond=learned)


def _answering(value: Array) -> Network:
    return _network(lambda *_: to_images(_tensor(value)))


@final
class _Discrete:
    """GaussianDiffusion for one of its chains; one object for each objective and network."""

    def __init__(self, process: Process) -> None:
        self._chain = process
        self._plain = self._made("eps", _network(None))

    def _made(self, prediction: str, network: Network, **options: Any) -> GaussianDiffusion:
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
        predicted = self._made(source, _answering(value)).model_predictions(noised, k)
        results = {"eps": predicted.pred_noise, "x_0": predicted.pred_x_start}
        if to == "v":
            results["v"] = self._plain.predict_v(predicted.pred_x_start, k, predicted.pred_noise)
        return _array(from_images(results[to], x_t.shape[1:]))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call `p_losses`; the network sees x_t and k - 1."""
        if weight != "min_snr" and (prediction, weight) != ("eps", "uniform"):
            raise Unsupported(f"GaussianDiffusion has no weight {weight} of {prediction}")

        def answer(x: Tensor, k: Tensor, _: None) -> Tensor:
            return to_images(_tensor(denoiser(_array(from_images(x, x_0.shape[1:])), (k + 1).numpy())))

        model = self._made(prediction, _network(answer), min_snr_loss_weight=weight == "min_snr")
        images, noise = to_images(_tensor(x_0)), to_images(_tensor(eps))
        return _array(model.p_losses(images, _index(t), noise, loss_reduction="none") * images[0].numel())

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `q_posterior`, which knows adjacent steps."""
        _adjacent(t, s)
        mean, variance, _ = self._plain.q_posterior(_tensor(x_0), _tensor(x_t), _index(t))
        return _array(mean), _array(variance.flatten())

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `p_sample` for each example, without its clipping, for which it has no option."""
        _adjacent(t, s)
        if rule != "ddpm":
            raise Unsupported(f"GaussianDiffusion has no single step of {rule}")

        def one(x: Tensor, e: Tensor, k: int, z: Tensor) -> Tensor:
            self._plain.model = _network(lambda *_: e)
            with unclipped(), replay(normal=[z] if k > 0 else []):
                moved: Tensor = self._plain.p_sample(x, k)[0]
            return moved

        x, e, z = (to_images(_tensor(array)) for array in (x_t, eps_hat, noise))
        return _array(from_images(one_by_one(one, x, e, _index(t), z), x_t.shape[1:]))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `random_times`; nothing is weighted."""
        torch.manual_seed(seed)
        return (self._plain.random_times(n) + 1).numpy(), _array(torch.ones(n))


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
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call `p_losses`; the network sees x_t and the log-SNR of t."""
        options = {"min_snr_loss_weight": True} if weight == "min_snr" else {}
        if prediction != self._prediction or (weight, prediction) not in _SERVED:
            raise Unsupported(f"{self._kind.__name__} has no weight {weight} of {prediction}")
        model = self._made(lambda x, _: _tensor(denoiser(_array(x), t)), **options)
        losses = model.p_losses(_tensor(x_0), _tensor(t), _tensor(eps), loss_reduction="none")
        return _array(losses * x_0[0].size)

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `p_sample` for each example; at s = 0 it returns the mean and draws nothing."""
        if rule != "ddpm":
            raise Unsupported(f"{self._kind.__name__} has no step of {rule}")
        given = _tensor(eps_hat if self._prediction == "eps" else self._v(x_t, eps_hat, t))

        def one(x: Tensor, e: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
            self._plain.model.forward = lambda *_: e
            with replay(normal=[z] if s > 0 else []):
                moved: Tensor = self._plain.p_sample(x, t, s)
            return moved

        shaped = (to_images(array) for array in (_tensor(x_t), given))
        times = (_tensor(array) for array in (t, s))
        return _array(from_images(one_by_one(one, *shaped, *times, to_images(_tensor(noise))), x_t.shape[1:]))

    def _v(self, x_t: Array, eps_hat: Array, t: Times) -> Array:
        """Return (eps - sigma x_t)/alpha, in float64 from the library's log-SNR: what a network for v would say."""
        snr = self._plain.log_snr(_tensor(t)).double()
        alpha, sigma = (per_example(square.sqrt().numpy(), x_t) for square in (snr.sigmoid(), (-snr).sigmoid()))
        v: Array = ((eps_hat - sigma * x_t) / alpha).astype("float32")
        return v

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Call `random_times`; nothing is weighted."""
        torch.manual_seed(seed)
        return _array(self._plain.random_times(n)), _array(torch.ones(n))


_SERVED = {("uniform", "eps"), ("min_snr", "eps"), ("uniform", "v")}


def _adjacent(t: Times, s: Times) -> None:
    if not (t - s == 1).all():
        raise Unsupported("GaussianDiffusion steps over one k")
