"""Averages of weights of five libraries as targets, `validation.targets.averages:FACTORY`.

| factory | calls | decay |
|---|---|---|
| `torch_swa` | `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn` | constant |
| `torch_mean` | `AveragedModel` as it is | of the mean of all weights |
| `ema_pytorch` | `ema_pytorch.EMA` with `update_after_step=-1`, `min_value=beta` | constant |
| `ema_pytorch_warm` | `EMA` as it is, but updated after every step | a copy for 100 steps, then a power |
| `torch_ema` | `torch_ema.ExponentialMovingAverage` with `use_num_updates=False` | constant |
| `torch_ema_warm` | `ExponentialMovingAverage` as it is | a ratio |
| `diffusers_ema` | `diffusers.training_utils.EMAModel` with `min_decay=decay` | constant |
| `diffusers_ema_warm` | `EMAModel` as it is | a ratio |
| `diffusers_ema_power` | `EMAModel` with `use_ema_warmup` | a power |
| `optax_ema` | `optax.incremental_update`, in JAX | constant |

Not claimed: `optax.ema`, whose debiased averages of the first steps lose their digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeAlias, final

from torch import Tensor, nn

from refdiff.conformance.adapters import Library, averages, from_jax, from_torch, to_jax, to_torch
from refdiff.conformance.averaging import Equal, Power, Ratio, WarmUp
from refdiff.conformance.interface import Array, Claim, NoProcess, Process, Target

Begun: TypeAlias = tuple[Callable[[], object], Callable[[], Iterable[Tensor]]]
Begin: TypeAlias = Callable[[nn.Module, float], Begun]


def torch_swa() -> Target:
    """Return torch's AveragedModel."""
    return _target("torch", "AveragedModel", _torch_swa)


def torch_mean() -> Target:
    """Return torch's AveragedModel with its own function, which takes the mean."""
    return _target("torch", "AveragedModel, of all weights", _torch_mean, Equal())


def ema_pytorch() -> Target:
    """Return ema-pytorch's EMA."""
    return _target("ema-pytorch", "EMA", partial(_ema_pytorch, update_after_step=-1, constant=True))


def ema_pytorch_warm() -> Target:
    """Return ema-pytorch's EMA with its own warm-up."""
    return _target("ema-pytorch", "EMA, warming up", _ema_pytorch, Power(power=2 / 3, after=100))


def torch_ema() -> Target:
    """Return torch-ema's ExponentialMovingAverage."""
    return _target("torch-ema", "ExponentialMovingAverage", partial(_torch_ema, use_num_updates=False))


def torch_ema_warm() -> Target:
    """Return torch-ema's ExponentialMovingAverage with its own warm-up."""
    return _target("torch-ema", "ExponentialMovingAverage, warming up", _torch_ema, Ratio())


def diffusers_ema() -> Target:
    """Return diffusers' EMAModel."""
    return _target("diffusers", "EMAModel", partial(_diffusers_ema, constant=True))


def diffusers_ema_warm() -> Target:
    """Return diffusers' EMAModel with its own warm-up."""
    return _target("diffusers", "EMAModel, warming up", _diffusers_ema, Ratio())


def diffusers_ema_power() -> Target:
    """Return diffusers' EMAModel with the warm-up that is an option."""
    return _target("diffusers", "EMAModel, by a power", partial(_diffusers_ema, use_ema_warmup=True), Power())


def optax_ema() -> Target:
    """Return optax's incremental_update."""
    return Library(_claim("optax", "incremental_update"), _Optax)


def _target(package: str, name: str, begin: Begin, warm_up: WarmUp | None = None) -> Target:
    return Library(_claim(package, name, warm_up), lambda process: _Average(process, begin))


def _claim(package: str, name: str, warm_up: WarmUp | None = None) -> Claim:
    return Claim(
        name=f"{package} {name}",
        version=version(package),
        dtype="float32",
        processes=(NoProcess(),),
        capabilities=frozenset({"ema"}),
        warm_up=warm_up,
        contract=2,
    )


@final
class _Average:
    """An average of a torch model's weights."""

    def __init__(self, process: Process, begin: Begin) -> None:
        del process
        self._begin = begin

    def ema(self, decay: float, history: Array) -> Array:
        """Let the library average a model whose weights take the rows of the history."""
        rows = averages(to_torch(history, "float32"), lambda model: self._begin(model, decay))
        return from_torch(rows, "float32")


@final
class _Optax:
    """optax's average of a tree of arrays, here one array."""

    def __init__(self, process: Process) -> None:
        del process

    def ema(self, decay: float, history: Array) -> Array:
        """Call `incremental_update` with the step size 1 - decay for each row after the first."""
        import jax.numpy as jnp
        import optax

        rows = list(to_jax(history, "float32"))
        kept = rows[:1]
        for row in rows[1:]:
            kept.append(optax.incremental_update(row, kept[-1], 1 - decay))
        return from_jax(jnp.stack(kept), "float32")


def _torch_swa(model: nn.Module, decay: float) -> Begun:
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    return _averaged(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]  # torch has no types there


def _torch_mean(model: nn.Module, decay: float) -> Begun:
    del decay
    return _averaged(model)


def _averaged(model: nn.Module, **options: Any) -> Begun:
    from torch.optim.swa_utils import AveragedModel

    average = AveragedModel(model, **options)
    average.update_parameters(model)  # the first call copies
    return lambda: average.update_parameters(model), average.module.parameters


def _ema_pytorch(model: nn.Module, decay: float, *, constant: bool = False, **options: Any) -> Begun:
    from ema_pytorch import EMA

    average = EMA(model, beta=decay, update_every=1, min_value=decay if constant else 0.0, **options)
    average.update()  # the first call copies
    return average.update, average.ema_model.parameters


def _torch_ema(model: nn.Module, decay: float, **options: Any) -> Begun:
    from torch_ema import ExponentialMovingAverage

    average = ExponentialMovingAverage(model.parameters(), decay=decay, **options)
    return average.update, lambda: average.shadow_params


def _diffusers_ema(model: nn.Module, decay: float, *, constant: bool = False, **options: Any) -> Begun:
    from diffusers.training_utils import EMAModel

    average = EMAModel(list(model.parameters()), decay=decay, min_decay=decay if constant else 0.0, **options)
    average.step(model.parameters())  # the first call copies
    return lambda: average.step(model.parameters()), lambda: average.shadow_params
