"""refdiff.training.fitting: a state that does not fit is refused, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from math import nan
from typing import Any

import pytest
import torch
from torch import Tensor

from refdiff.errors import RefdiffError
from refdiff.positions import PositionSampler, SecondMoment, Stratified
from refdiff.times import Continuous
from refdiff.training.config import EMAConfig, OptimizerConfig
from refdiff.training.errors import CheckpointError, TrainingError
from refdiff.training.state import State

from . import runs

State_ = dict[str, Any]
STEPS = 9


def made(kind: Any = "adamw", sampler: PositionSampler | None = None, *, steps: int = 3) -> State:
    """Return a small state after some steps."""
    torch.manual_seed(0)
    times = Continuous(sampler=sampler or SecondMoment(cells=3, history=2), t_min=0.1)
    state = State.new(runs.Affine((2,)), times, optimizer=OptimizerConfig(kind=kind), ema=EMAConfig(), steps=STEPS)
    for _ in range(steps):
        state.optimizer.zero_grad()
        state.model(torch.randn(4, 2), torch.rand(4)).square().sum().backward()
        state.optimizer.step()
        state.scheduler.step()
        state.ema.update_parameters(state.model)
        if isinstance(moment := state.times.sampler, SecondMoment):
            moment.update(torch.rand(4), torch.rand(4))
        state.step += 1
    return state


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize(
    "sampler", [SecondMoment(cells=3, history=2), Stratified()], ids=["second_moment", "stratified"]
)
@pytest.mark.parametrize("steps", [0, 1, STEPS])
def test_a_saved_state_fits(kind: str, sampler: PositionSampler, steps: int) -> None:
    """TRN-11: at every step of a run, the first and the last among them, all of it comes back."""
    saved = deepcopy(made(kind, deepcopy(sampler), steps=steps).state_dict())
    fresh = made(kind, deepcopy(sampler) if steps == 0 else type(sampler)(**_sizes(sampler)), steps=0)
    fresh.load_state_dict(saved, steps=STEPS)
    assert same(fresh.state_dict(), saved)


def _sizes(sampler: PositionSampler) -> dict[str, int]:
    return {"cells": sampler.cells, "history": sampler.history} if isinstance(sampler, SecondMoment) else {}


def _set(*path: Any, to: Any) -> Callable[[State_], None]:
    def change(state: State_) -> None:
        inner: Any = state
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to(inner[path[-1]]) if callable(to) else to

    return change


def _without(*path: Any) -> Callable[[State_], None]:
    def change(state: State_) -> None:
        inner: Any = state
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def _spoilt(value: Tensor) -> Tensor:
    spoilt = value.clone()
    spoilt.view(-1)[-1] = nan
    return spoilt


MOMENT = ("optimizer", "state", 0)
GROUP = ("optimizer", "param_groups", 0)
WRONG: dict[str, Callable[[State_], None]] = {
    **{f"no {key}": _without(key) for key in ("step", "model", "ema", "optimizer", "scheduler", "sampler")},
    **{
        f"{key} of 3": _set(key, to=3)
        for key in ("model", "ema", "optimizer", "scheduler", "sampler", "early_stopping")
    },
    "more": _set("model", to=lambda value: value | {"more": torch.zeros(1)}),
    "unknown": lambda state: state.update(unknown=1),
    **{f"step {step!r}": _set("step", to=step) for step in (-3, 3.7, 10**18, True, "3", STEPS + 1, torch.tensor(3), 2)},
    "less": _without("model", "inner.bias"),
    "shape": _set("model", "inner.bias", to=torch.zeros(3)),
    "dtype": _set("model", "inner.bias", to=torch.zeros(2, dtype=torch.float64)),
    "number": _set("model", "inner.bias", to=3.0),
    "sparse": _set("model", "inner.weight", to=lambda value: value.to_sparse()),
    "nan": _set("model", "inner.weight", to=_spoilt),
    "nan average": _set("ema", "module.inner.weight", to=_spoilt),
    "infinite": _set("model", "inner.weight", to=lambda value: value / 0.0),
    "updates": _set("ema", "n_averaged", to=torch.tensor(77)),
    "moment's shape": _set(*MOMENT, "exp_avg", to=torch.zeros(7)),
    "moment's dtype": _set(*MOMENT, "exp_avg", to=lambda value: value.double()),
    "moment's sign": _set(*MOMENT, "exp_avg_sq", to=lambda value: -1.0 - value),
    "moment's value": _set(*MOMENT, "exp_avg_sq", to=_spoilt),
    "moment's step": _set(*MOMENT, "step", to=torch.tensor(1e9)),
    "moment's half step": _set(*MOMENT, "step", to=torch.tensor(0.5)),
    "no moment": _without(*MOMENT, "exp_avg"),
    "no moments": _set("optimizer", "state", to={}),
    "moments of nothing": _set("optimizer", "state", to=lambda value: value | {99: value[0]}),
    "moments by name": _set("optimizer", "state", to=lambda value: value | {"0": value[0]}),
    "lr of text": _set(*GROUP, "lr", to="x"),
    "lr nan": _set(*GROUP, "lr", to=nan),
    "lr negative": _set(*GROUP, "lr", to=-1.0),
    "lr large": _set(*GROUP, "lr", to=1e9),
    "lr of a tensor": _set(*GROUP, "lr", to=torch.tensor(0.1)),
    "betas": _set(*GROUP, "betas", to=(0.1, 0.2)),
    "beta of text": _set(*GROUP, "betas", to=(0.9, "x")),
    "eps": _set(*GROUP, "eps", to=1.0),
    "parameters": _set(*GROUP, "params", to=[0]),
    "no group": _set("optimizer", "param_groups", to=[]),
    "groups": _set("optimizer", "param_groups", to={}),
    "group": _set(*GROUP, to=3),
    "scheduler's step": _set("scheduler", "last_epoch", to=99),
    "scheduler's fraction": _set("scheduler", "last_epoch", to=3.0),
    "scheduler's count": _set("scheduler", "_step_count", to=99),
    "scheduler's rate": _set("scheduler", "_last_lr", to=[1.0]),
    "scheduler's base": _set("scheduler", "base_lrs", to=["x"]),
    "scheduler's function": _set("scheduler", "lr_lambdas", to=[{"a": 1}]),
    "sampler's shape": _set("sampler", "losses", to=torch.zeros(2, 2, dtype=torch.float64)),
    "sampler's loss": _set("sampler", "losses", to=lambda value: -1.0 - value),
    "sampler's count": _set("sampler", "counts", to=lambda value: value - 99),
    "sampler's number": _set("sampler", "counts", to=3),
    "sampler's sparse": _set("sampler", "counts", to=lambda value: value.to_sparse()),
    "no sampler": _set("sampler", to={}),
    **{f"best {best!r}": _set("early_stopping", "best", to=best) for best in (nan, "x", None, float("-inf"))},
    **{f"at {at!r}": _set("early_stopping", "at", to=at) for at in (-1, 99, 1.0)},
    **{f"since {since!r}": _set("early_stopping", "since", to=since) for since in (-1, 1.5)},
    "no best": _without("early_stopping", "best"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_state_that_does_not_fit_changes_nothing(wrong: str) -> None:
    """TRN-11: one sentence, before anything is changed."""
    saved = deepcopy(made().state_dict())
    WRONG[wrong](saved)
    fresh = made(steps=1)
    before = deepcopy(fresh.state_dict())
    with pytest.raises(CheckpointError, match=r"^expected [^\n]+ \(T[A-Z]{2}-\d+\)$"):
        fresh.load_state_dict(saved, steps=STEPS)
    assert same(fresh.state_dict(), before)


def test_state_of_another_kind_is_refused() -> None:
    """TRN-11: of another optimizer, sampler or network."""
    for one, other in (("adamw", "sgd"), ("sgd", "adamw")):
        for steps in (0, 3):  # before the first step neither has moments, and the settings tell
            with pytest.raises(CheckpointError, match=r"^expected a state that fits"):
                made(one, steps=0).load_state_dict(made(other, steps=steps).state_dict(), steps=STEPS)
    with pytest.raises(RefdiffError, match=r"sampler"):
        made(sampler=Stratified(), steps=0).load_state_dict(made().state_dict(), steps=STEPS)


def test_weights_that_are_not_finite_are_not_saved() -> None:
    """TRN-12: neither of the network nor of its average."""
    for name in ("model", "ema"):
        state = made()
        state.check_finite()
        next(getattr(state, name).parameters()).data.view(-1)[0] = nan
        with pytest.raises(TrainingError, match=r"^expected finite weights, got others at step 3; [^\n]+ \(TRN-12\)$"):
            state.check_finite()
