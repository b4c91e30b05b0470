"""Whether a saved state fits a network, its optimizer and its samplers, found without changing them (TRN-11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite, isnan
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from refdiff.errors import ConfigError
from refdiff.positions import SecondMoment
from refdiff.training.errors import CheckpointError

_MOMENTS: Final = frozenset({"step", "exp_avg", "exp_avg_sq"})
"""What Adam and AdamW keep of each parameter."""
_INDEX: Final = "n_averaged"
"""Number of updates of an average, which its state has beside the weights."""


def check_keys(state: object, keys: Sequence[str], name: str) -> None:
    """Raise CheckpointError unless a state is a mapping with these keys."""
    _need(isinstance(state, Mapping), f"a mapping for {name}", type(state).__name__)
    assert isinstance(state, Mapping)
    lacking, unknown = [k for k in keys if k not in state], [k for k in state if k not in keys]
    _need(not lacking, f"{lacking[:1]} in {name}", "none")
    _need(not unknown, f"no {unknown[:1]} in {name}", "it")


def check_step(step: object, steps: int) -> int:
    """Return the step. Raises CheckpointError unless it is an integer in 0..steps."""
    _need(type(step) is int and 0 <= step <= steps, f"a step in 0..{steps}", step)
    assert isinstance(step, int)
    return step


def check_weights(state: object, own: Mapping[str, Any], name: str) -> None:
    """Raise CheckpointError unless the tensors have the names, shapes and dtypes of these, and are finite."""
    check_keys(state, list(own), name)
    assert isinstance(state, Mapping)
    for key, value in own.items():
        if isinstance(value, Tensor):
            _check_tensor(state[key], value.shape, value.dtype, f"{name}.{key}")
        else:
            _need(
                type(state[key]) is type(value), f"{type(value).__name__} for {name}.{key}", type(state[key]).__name__
            )


def check_average(state: object, own: Mapping[str, Any], step: int) -> None:
    """Raise CheckpointError unless this is an average of such weights after `step` updates."""
    check_weights(state, own, "ema")
    assert isinstance(state, Mapping)
    _need(int(state[_INDEX]) == step, f"an average of {step} updates", int(state[_INDEX]))


def check_optimizer(state: object, optimizer: Optimizer, step: int) -> None:
    """Raise CheckpointError unless this is the state of such an optimizer after `step` steps."""
    check_keys(state, ["state", "param_groups"], "optimizer")
    assert isinstance(state, Mapping)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kept = state["state"]
    _need(isinstance(kept, Mapping), "a mapping for optimizer.state", type(kept).__name__)
    has_moments = not isinstance(optimizer, SGD)
    _need(not has_moments or bool(kept) == (step > 0), f"the moments of step {step}", f"{len(kept)} of them")
    for index, moments in kept.items():
        is_known = type(index) is int and 0 <= index < len(weights)
        _need(is_known, f"a parameter in 0..{len(weights) - 1}", index)
        _check_moments(moments, weights[index], step, f"optimizer.state.{index}", has_moments=has_moments)
    _check_groups(state["param_groups"], optimizer.state_dict()["param_groups"])


def check_scheduler(state: object, own: Mapping[str, Any], rates: Sequence[float], step: int) -> None:
    """Raise CheckpointError unless this is a learning rate schedule after `step` steps, with these rates."""
    check_keys(state, list(own), "scheduler")
    assert isinstance(state, Mapping)
    expected = dict(own) | {"last_epoch": step, "_step_count": step + 1, "_last_lr": list(rates)}
    for key, value in expected.items():
        _check_same(state[key], value, f"scheduler.{key}")


def check_sampler(state: object, sampler: object) -> None:
    """Raise CheckpointError unless this is the state of such a sampler of times."""
    if not isinstance(sampler, SecondMoment):
        check_keys(state, [], "sampler")
        return
    check_weights(state, sampler.state_dict(), "sampler")
    assert isinstance(state, Mapping)
    try:
        SecondMoment(cells=sampler.cells, history=sampler.history, uniform=sampler.uniform).load_state_dict(state)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def check_early_stopping(state: object, step: int) -> None:
    """Raise CheckpointError unless this is a best distance, its step, and a number of evaluations since."""
    check_keys(state, ["best", "at", "since"], "early_stopping")
    assert isinstance(state, Mapping)
    best, at, since = state["best"], state["at"], state["since"]
    _need(type(best) is float and not isnan(best) and best > -inf, "a distance for early_stopping.best", best)
    _need(type(at) is int and 0 <= at <= step, f"a step in 0..{step} for early_stopping.at", at)
    _need(type(since) is int and since >= 0, "a number of evaluations for early_stopping.since", since)


def is_finite(model: nn.Module) -> bool:
    """Return whether all weights and buffers are finite."""
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values() if isinstance(value, Tensor))


def _check_moments(moments: object, weight: Tensor, step: int, name: str, *, has_moments: bool) -> None:
    if not has_moments:  # SGD without momentum has at most an empty place for it
        _need(isinstance(moments, Mapping) and not any(moments.values()), f"no moments for {name}", "some")
        return
    check_keys(moments, sorted(_MOMENTS), name)
    assert isinstance(moments, Mapping)
    for key in ("exp_avg", "exp_avg_sq"):
        _check_tensor(moments[key], weight.shape, weight.dtype, f"{name}.{key}")
    squares = moments["exp_avg_sq"]
    squares = torch.view_as_real(squares) if squares.is_complex() else squares  # of the two parts of a complex weight
    _need(bool((squares >= 0.0).all()), f"squares for {name}.exp_avg_sq", "a negative number")
    # Of torch's default dtype, which a program may change.
    dtype = torch.float64 if getattr(moments["step"], "dtype", None) is torch.float64 else torch.float32
    _check_tensor(moments["step"], torch.Size(), dtype, f"{name}.step")
    done = float(moments["step"])
    _need(done.is_integer() and 1.0 <= done <= step, f"a step in 1..{step} for {name}", done)


def _check_groups(groups: object, own: Sequence[Mapping[str, Any]]) -> None:
    _need(isinstance(groups, list) and len(groups) == len(own), f"{len(own)} groups of parameters", "others")
    assert isinstance(groups, list)
    for group, mine in zip(groups, own, strict=True):
        check_keys(group, list(mine), "optimizer.param_groups")
        rate, largest = group["lr"], mine["initial_lr"]
        is_rate = type(rate) is float and isfinite(rate) and 0.0 <= rate <= largest
        _need(is_rate, f"a learning rate in [0, {largest:g}]", rate)
        for key in mine.keys() - {"lr"}:
            _check_same(group[key], mine[key], f"optimizer.param_groups.{key}")


def _check_same(got: object, need: object, name: str) -> None:
    """Raise CheckpointError unless two plain values, and the entries of lists and tuples, are of one type and equal."""
    _need(type(got) is type(need), f"{type(need).__name__} for {name}", type(got).__name__)
    if isinstance(need, list | tuple):
        assert isinstance(got, list | tuple)
        _need(len(got) == len(need), f"{len(need)} values for {name}", len(got))
        for one, other in zip(got, need, strict=True):
            _check_same(one, other, name)
    else:
        _need(got == need, f"{need!r:.80} for {name}", got)


def _check_tensor(got: object, shape: torch.Size, dtype: torch.dtype, name: str) -> None:
    want = f"{dtype} of shape {tuple(shape)} for {name}"
    _need(isinstance(got, Tensor), want, type(got).__name__)
    assert isinstance(got, Tensor)
    _need(got.layout is torch.strided and got.device.type == "cpu", f"numbers for {name}", f"{got.layout}")
    _need(got.dtype is dtype and got.shape == shape, want, f"{got.dtype} of shape {tuple(got.shape)}")
    _need(bool(torch.isfinite(got).all()), f"finite values for {name}", "others")


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise CheckpointError(f"expected a state that fits this run: {need}, got {_shortened(str(got))} (TRN-11)")
