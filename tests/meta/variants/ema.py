"""Averages of weights, a_k = d a_{k-1} + (1 - d) w_k, as optimisers and trainers keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from refdiff.conformance.interface import DType, Process
from tests.meta.variants.variant import LINEAR, Family, Methods

FAMILY = Family("ema")
Step = Callable[[float, Any, Any], Any]


def recursion(dtype: DType = "float32", wide: Any = None) -> Callable[[Step], Step]:
    """Add a step (decay, average, weights) as a variant in NumPy; wide: the dtype that the average is kept in."""

    def add(step: Step) -> Step:
        def ema(decay: float, history: Any) -> Any:
            average = history[0].astype(wide or dtype)
            rows = [average]
            for row in history[1:]:
                average = step(decay, average, row)
                rows.append(average)
            return np.stack(rows).astype(dtype)

        FAMILY.add(
            lambda p: {"ema": ema},
            "ema",
            on=LINEAR,
            name=f"{step.__name__.replace('_', ' ')}, {dtype}",
            form=(step.__doc__ or "").strip(),
            dtype=dtype,
        )
        return step

    return add


@recursion()
def both_sides_weighed(decay: float, average: Any, row: Any) -> Any:
    """d a + (1 - d) w."""
    return decay * average + (1.0 - decay) * row


@recursion()
def difference_taken_off(decay: float, average: Any, row: Any) -> Any:
    """a - (1 - d) (a - w), TensorFlow's."""
    return average - (1.0 - decay) * (average - row)


@recursion()
def difference_added(decay: float, average: Any, row: Any) -> Any:
    """a + (1 - d) (w - a)."""
    return average + (1.0 - decay) * (row - average)


@recursion()
def rest_of_a_rounded_decay(decay: float, average: Any, row: Any) -> Any:
    """d a + (1 - d) w, with d and 1 - d in float32."""
    d = np.float32(decay)
    return d * average + (np.float32(1) - d) * row


@recursion(wide=np.float64)
def kept_in_float64(decay: float, average: Any, row: Any) -> Any:
    """A float64 average of float32 weights, rounded when it is read."""
    return decay * average + (1.0 - decay) * row


@recursion(dtype="float64")
def in_float64(decay: float, average: Any, row: Any) -> Any:
    """a + (1 - d) (w - a), in float64."""
    return average + (1.0 - decay) * (row - average)


@recursion()
def towards_the_weights(decay: float, average: Any, row: Any) -> Any:
    """w + d (a - w)."""
    return row + np.float32(decay) * (average - row)


@FAMILY.of("ema")
def closed_form(p: Process) -> Methods:
    """d^k w_0 + (1 - d) sum d^(k - i) w_i, in float64."""

    def ema(decay: float, history: Any) -> Any:
        k = np.arange(len(history))
        powers = np.where(k[:, None] >= k[None, :], decay ** np.maximum(k[:, None] - k[None, :], 0).astype(float), 0.0)
        weights = powers * np.where(k == 0, 1.0, 1.0 - decay)
        return (weights @ history.astype(np.float64)).astype(np.float32)

    return {"ema": ema}


def _by_torch(update: Callable[[Any, Any, float], Any]) -> Callable[[Process], Methods]:
    def ema(decay: float, history: Any) -> Any:
        rows = torch.tensor(history)
        average = rows[0].clone()
        kept = [average.clone()]
        for row in rows[1:]:
            update(average, row, decay)
            kept.append(average.clone())
        return torch.stack(kept).numpy()

    return lambda p: {"ema": ema}


FAMILY.add(_by_torch(lambda a, w, d: a.lerp_(w, 1.0 - d)), "ema", name="torch lerp in place", form="a.lerp_(w, 1 - d).")
FAMILY.add(
    _by_torch(lambda a, w, d: a.mul_(d).add_(w, alpha=1.0 - d)),
    "ema",
    name="torch mul and add in place",
    form="a.mul_(d).add_(w, alpha=1 - d), guided-diffusion's.",
)
FAMILY.add(
    _by_torch(lambda a, w, d: a.copy_(torch.lerp(w, a, d))),
    "ema",
    name="torch lerp from the weights",
    form="lerp(w, a, d).",
)


@FAMILY.of("ema")
def torch_averaged_model(p: Process) -> Methods:
    """torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn."""

    def ema(decay: float, history: Any) -> Any:
        module = torch.nn.Linear(history.shape[1], 1, bias=False)
        kept = []
        model: Any = None
        for row in history:
            with torch.no_grad():
                module.weight.copy_(torch.tensor(row)[None])
            if model is None:
                averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # of torch
                model = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=averaging)
            model.update_parameters(module)
            kept.append(model.module.weight.detach().numpy()[0].copy())
        return np.stack(kept)

    return {"ema": ema}


@FAMILY.of("ema")
def jax_scan(p: Process) -> Methods:
    """A scan over the rows, compiled; one column at a time."""

    @jax.jit
    def scanned(decay: Any, column: Any) -> Any:
        def one(average: Any, row: Any) -> Any:
            average = decay * average + (1 - decay) * row
            return average, average

        _, kept = jax.lax.scan(one, column[0], column[1:])
        return jnp.concatenate([column[:1], kept])

    def ema(decay: float, history: Any) -> Any:
        n = len(history)
        size = next(size for size in (16, 512, 1024, 2048) if size >= n)
        padded = np.concatenate([history, np.repeat(history[-1:], size - n, axis=0)])
        return np.asarray(scanned(np.float32(decay), padded))[:n]

    return {"ema": ema}


@FAMILY.of("ema")
def bias_corrected(p: Process) -> Methods:
    """Adam's: b_k = d b_{k-1} + (1 - d) (w_k - w_0) from 0, and a = w_0 + b: no correction is needed from w_0 on."""

    def ema(decay: float, history: Any) -> Any:
        start, moved = history[0].astype(np.float64), np.zeros(history.shape[1])
        kept = [history[0]]
        for row in history[1:]:
            moved = decay * moved + (1.0 - decay) * (row - start)
            kept.append((start + moved).astype(np.float32))
        return np.stack(kept)

    return {"ema": ema}
