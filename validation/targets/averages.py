"""Averages of weights of five libraries as targets, `validation.targets.averages:FACTORY`, without warm-up.

| factory | calls |
|---|---|
| `torch_swa` | `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn` |
| `ema_pytorch` | `ema_pytorch.EMA`, its warm-up switched off by `update_after_step=-1` and `min_value=beta` |
| `torch_ema` | `torch_ema.ExponentialMovingAverage` with `use_num_updates=False` |
| `diffusers_ema` | `diffusers.training_utils.EMAModel` with `min_decay=decay` |
| `optax_ema` | `optax.incremental_update`, in JAX |

Not claimed: the warm-ups, which are the defaults of ema-pytorch, torch-ema and diffusers. The process is a
placeholder, as the contract asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TypeAlias, final

from torch import Tensor, nn

from refdiff.conformance.adapters import Library, averages, from_jax, from_torch, to_jax, to_torch
from refdiff.conformance.interface import Array, Claim, Linear, Process, Target

Begun: TypeAlias = tuple[Callable[[], object], Callable[[], Iterable[Tensor]]]
Begin: TypeAlias = Callable[[nn.Module, float], Begun]


def torch_swa() -> Target:
    """Return torch's AveragedModel."""
    return _target("torch", "AveragedModel", _torch_swa)


def ema_pytorch() -> Target:
    """Return ema-pytorch's EMA."""
    return _target("ema-pytorch", "EMA", _ema_pytorch)


def torch_ema() -> Target:
    """Return torch-ema's ExponentialMovingAverage."""
    return _target("torch-ema", "ExponentialMovingAverage", _torch_ema)


def diffusers_ema() -> Target:
    """Return diffusers' EMAModel."""
    return _target("diffusers", "EMAModel", _diffusers_ema)


def optax_ema() -> Target:
    """Return optax's incremental_update."""
    return Library(_claim("optax", "incremental_update"), _Optax)


def _target(package: str, name: str, begin: Begin) -> Target:
    return Library(_claim(package, name), lambda process: _Average(process, begin))


def _claim(package: str, name: str) -> Claim:
    return Claim(
        name=f"{package} {name}",
        version=version(package),
        dtype="float32",
        processes=(Linear(beta_min=0.1, beta_max=20.0),),
        capabilities=frozenset({"ema"}),
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
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]  # torch has no types there
    average.update_parameters(model)  # the first call copies
    return lambda: average.update_parameters(model), average.module.parameters


def _ema_pytorch(model: nn.Module, decay: float) -> Begun:
    from ema_pytorch import EMA

    average = EMA(model, beta=decay, update_after_step=-1, update_every=1, min_value=decay)
    average.update()  # the first call copies
    return average.update, average.ema_model.parameters


def _torch_ema(model: nn.Module, decay: float) -> Begun:
    from torch_ema import ExponentialMovingAverage

    average = ExponentialMovingAverage(model.parameters(), decay=decay, use_num_updates=False)
    return average.update, lambda: average.shadow_params


def _diffusers_ema(model: nn.Module, decay: float) -> Begun:
    from diffusers.training_utils import EMAModel

    average = EMAModel(list(model.parameters()), decay=decay, min_decay=decay)
    average.step(model.parameters())  # the first call copies
    return lambda: average.step(model.parameters()), lambda: average.shadow_params
