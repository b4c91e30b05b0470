"""Faults of calls that train and sample: shapes, dtypes, inputs, state (chapter 12)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Denoiser, NoProcess, Parameterization, Times, Unsupported, Weight
from refdiff.conformance.step import Step

from .clean.runs import SAMPLERS, Ask, Noise
from .clean.scales import wide
from .clean.target import Clean
from .fault import DDPM, LINEAR, SHORT, Chapter

FAULTS = Chapter("call")
ANCESTRAL: dict[str, Any] = {"samplers": tuple(one for one in SAMPLERS if one.name == "ancestral")}
PLAIN: dict[str, Any] = {"weights": ("uniform",)}
DDIM: dict[str, Any] = {"steps": (Step(kind="ddim"),)}


def _other(array: Array) -> Array:
    """Return an array in another dtype than the claim's: that of a default that was not changed."""
    return array.astype(np.float64 if array.dtype == np.float32 else np.float32)


# Shapes and dtypes.


@FAULTS.plant("reduced", breaks="CON-2", claims=("loss",), **PLAIN)
def loss_reduced_silently(self: Clean, squares: Any) -> Any:
    """One number for the batch, where the claim has one for each example.

    Meant: the reduction of the claim.

    Seen: plausible, as `F.mse_loss` without `reduction="none"`.
    """
    return squares.mean()


@FAULTS.plant("loss", breaks="CON-2", claims=("loss",), **PLAIN)
def loss_in_another_dtype(
    self: Clean, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
) -> Array:
    """Losses in float64 under a claim of float32, and the other way round.

    Meant: the dtype of the claim.

    Seen: plausible, as weights in NumPy's default dtype.
    """
    return _other(Clean.loss(self, denoiser, prediction, x_0, eps, t, weight))


@FAULTS.plant("times", breaks="CON-2", claims=("times",), on=SHORT)
def indices_in_int32(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Indices in int32.

    Meant: indices in int64.

    Seen: plausible, as NumPy's default on an older Windows.
    """
    k, weight = Clean.times(self, n, seed)
    return k.astype(np.int32), weight  # type: ignore[return-value]  # the fault


@FAULTS.plant("times", breaks="CON-2", claims=("times",), on=NoProcess())
def times_of_a_column(self: Clean, n: int, seed: int) -> tuple[Times, Array]:
    """Times of shape (n, 1).

    Meant: times of shape (n,).

    Seen: plausible, as `torch.rand(n, 1)`, which broadcasts later.
    """
    t, weight = Clean.times(self, n, seed)
    return t[:, None], weight


@FAULTS.plant("weights_of", breaks="CON-2", claims=("times",), on=NoProcess())
def one_weight_for_all(self: Clean, share: Any) -> Any:
    """One weight for the batch.

    Meant: a weight for each time.

    Seen: plausible, as the number 1 for no weights.
    """
    return np.float64(1.0)


@FAULTS.plant("grid", breaks="CON-2", claims=("grid",), on=DDPM)
def indices_as_floats(self: Clean, n: int) -> Any:
    """The indices of a grid are floats.

    Meant: indices in int64.

    Seen: plausible, as `linspace` without a cast.
    """
    return self.rounded(self.grid_of(n))


@FAULTS.plant("grid", breaks="CON-2", claims=("grid",))
def list_for_an_array(self: Clean, n: int) -> Any:
    """The times of a grid are a list.

    Meant: an array of the dtype of the claim.

    Seen: plausible.
    """
    return self.grid_of(n).tolist()


@FAULTS.plant("ema", breaks="CON-2", claims=("ema",))
def last_average_alone(self: Clean, decay: float, history: Array) -> Array:
    """The average after the last step.

    Meant: the average after every step.

    Seen: plausible.
    """
    last: Array = Clean.ema(self, decay, history)[-1]
    return last


@FAULTS.plant("fit", breaks="TRN-4 CON-2", claims=("fit",))
def denoiser_squeezes(self: Clean, data: Array, seed: int, seconds: float) -> Denoiser:
    """The denoiser returned drops the axis of the event.

    Meant: a prediction shaped as x_t.

    Seen: plausible, as `net(x).squeeze()`.
    """
    right = Clean.fit(self, data, seed, seconds)
    return lambda x_t, t: right(x_t, t)[:, 0]


# Inputs and state.


@FAULTS.plant("ema", breaks="CON-3 TRN-1", claims=("ema",))
def average_in_place(self: Clean, decay: float, history: Array) -> Array:
    """The averages overwrite the weights.

    Meant: a call leaves its inputs as they were.

    Seen: https://github.com/huggingface/diffusers/issues/2321, live weights that are not restored after evaluation.
    """
    found = Clean.ema(self, decay, history)
    history.flags.writeable = True
    history[:] = found
    return found


@FAULTS.plant("loss", breaks="CON-3", claims=("loss",), **PLAIN)
def noise_edited_in_place(
    self: Clean, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
) -> Array:
    """eps is multiplied by sigma in place.

    Meant: a call leaves its inputs as they were.

    Seen: https://github.com/lucidrains/denoising-diffusion-pytorch, whose offset noise edits the argument.
    """
    found = Clean.loss(self, denoiser, prediction, x_0, eps, t, weight)
    eps.flags.writeable = True
    eps *= self.rounded(self.over(t, eps)[1])
    return found


@FAULTS.plant("step", breaks="CON-3", claims=("step",), **DDIM)
def x_t_overwritten(self: Clean, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
    """x_s is written over x_t.

    Meant: a call leaves its inputs as they were.

    Seen: plausible, as `x.mul_(...)`.
    """
    found = Clean.step(self, x_t, value, t, s, noise, rule)
    x_t.flags.writeable = True
    x_t[...] = found
    return found


@FAULTS.plant("guide", breaks="CON-3", claims=("guide",), on=NoProcess())
def unconditional_overwritten(self: Clean, conditional: Array, unconditional: Array, scale: float) -> Array:
    """The guided prediction is written over the unconditional one.

    Meant: a call leaves its inputs as they were.

    Seen: plausible, as `u.lerp_(c, w)`.
    """
    found = Clean.guide(self, conditional, unconditional, scale)
    unconditional.flags.writeable = True
    unconditional[...] = found
    return found


@FAULTS.plant("generator", breaks="CON-4", claims=("times",), on=NoProcess())
def seed_of_the_clock(self: Clean, seed: int) -> np.random.Generator:
    """The seed is ignored, and the generator is seeded by the system.

    Meant: the same seed gives the same times.

    Seen: plausible, as a global generator.
    """
    return np.random.default_rng()


@FAULTS.plant("draw", breaks="CON-4", claims=("sample",), **ANCESTRAL)
def noise_of_the_clock(self: Clean, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """The noise of a run does not come from its seed.

    Meant: the same seed gives the same run.

    Seen: plausible, as `randn_like(x)` beside a generator that is passed.
    """
    return np.random.default_rng().standard_normal(shape)


@FAULTS.plant("ddim", breaks="CON-4 NOT-2", claims=("step",), on=LINEAR, **DDIM)
def step_remembers_the_last(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """eps is that of the call before, if that was of the same shape.

    Meant: a step that depends on its arguments alone.

    Seen: `PNDMScheduler` of https://github.com/Project-MONAI/MONAI keeps counts and predictions between calls.
    """
    before = getattr(self, "before", eps)
    self.before = eps  # type: ignore[attr-defined]  # the fault
    return Clean.ddim(self, x_0, before if before.shape == eps.shape else eps, z, t, s, eta)


# Refusals and exceptions.


@FAULTS.plant("run_ancestral", breaks="CON-5", claims=("sample",), **ANCESTRAL)
def run_of_one_step_raises(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """A run of one step raises IndexError.

    Meant: runs of any number of steps.

    Seen: two SDE samplers of https://github.com/crowsonkb/k-diffusion.
    """
    if len(times) < 3:
        raise IndexError("list index out of range")
    return Clean.run_ancestral(self, x, times, ask, noise)


@FAULTS.plant("index", breaks="CON-5", claims=("times",), on=SHORT)
def name_that_is_gone(self: Clean, share: Any) -> Any:
    """`np.int` raises AttributeError.

    Meant: `np.int64`.

    Seen: https://github.com/openai/guided-diffusion and improved-diffusion, in their resampler, since NumPy 1.24.
    """
    raise AttributeError("module 'numpy' has no attribute 'int'")


@FAULTS.plant("guided", breaks="CON-5", claims=("guide",), on=NoProcess())
def failure_called_a_refusal(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """A TypeError is called unsupported.

    Meant: `Unsupported` is for calls that the library does not have.

    Seen: plausible, as an adapter that catches every exception.
    """
    try:
        return unconditional + scale * (conditional - None)
    except TypeError as error:
        raise Unsupported("no guidance") from error


@FAULTS.plant("guided", breaks="SMP-9", claims=("guide",), on=NoProcess())
def guidance_of_nan(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """(u^2 + w (c - u) u)/u, which is NaN at u = 0.

    Meant: u + w (c - u).

    Seen: plausible, as a ratio of norms that is not guarded.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return (unconditional**2 + scale * (conditional - unconditional) * unconditional) / wide(unconditional)
