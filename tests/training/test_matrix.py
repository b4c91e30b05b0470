"""Every pair of settings trains to finite samples, or is refused before the first step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from refdiff.errors import RefdiffError
from refdiff.parameterization import Parameterization
from refdiff.samplers import Rule
from refdiff.training import checks
from refdiff.training.config import Config, Kind, Precision
from refdiff.training.generate import Trained
from refdiff.training.parsing import from_mapping

from . import runs

EVENTS: dict[str, tuple[int, ...]] = {"grey": (1, 8, 8), "colour": (3, 8, 8), "points": (2,), "sequences": (16,)}
"""Kinds of data, and the shape of an example."""
AXES: dict[str, tuple[Any, ...]] = {
    "data": tuple(EVENTS),
    "process.kind": get_args(Kind),
    "monitor.sampler": get_args(Rule),
    "objective.prediction": get_args(Parameterization),
    "objective.weight": ("uniform", "inverse_snr", "min_snr", "likelihood"),
    "times.sampler": ("uniform", "stratified", "importance", "second_moment"),
    "optimizer.kind": ("adam", "adamw", "sgd"),
    "runtime.precision": get_args(Precision),
    "network.dropout": (0.0, 0.2),
    "network.attention": ((), (1, 2)),
    "batch.accumulation": (1, 2),
    "monitor.log_every": (0, 1),
    "condition.labels": (False, True),
    "process.zero_terminal_snr": (False, True),
}
"""Settings, and their values: all pairs of values of two settings occur together in a case."""
SHARED: dict[str, Any] = {
    "steps": 2,
    "network.width": 8,
    "network.groups": 4,
    "network.heads": 2,
    "network.multipliers": (1, 2),
    "mlp.width": 8,
    "batch.size": 8,
    "batch.shards": 2,
    "preprocess.held_out": 6,
    "process.steps": 50,
    "times.cells": 2,
    "optimizer.warmup": 0,
    "monitor.buckets": 2,
    "monitor.picture_every": 2,
    "monitor.picture_samples": 2,
    "monitor.eval_every": 2,
    "monitor.eval_samples": 4,
    "monitor.save_every": 1,
    "monitor.sampling_steps": 3,
}


def pairs_of(case: Mapping[str, Any]) -> set[tuple[str, Any, str, Any]]:
    """Return the pairs of values in a case."""
    return {(a, case[a], b, case[b]) for a, b in itertools.combinations(sorted(case), 2)}


def all_pairs(axes: Mapping[str, Sequence[Any]]) -> set[tuple[str, Any, str, Any]]:
    """Return the pairs of values of two axes."""
    names = itertools.combinations(sorted(axes), 2)
    return {(a, one, b, other) for a, b in names for one in axes[a] for other in axes[b]}


def has_no_meaning(case: Mapping[str, Any]) -> bool:
    """Return whether a case is to be refused.

    A chain has no rate, which three samplers and one weight take. Zero terminal SNR is a setting of chains, and there
    sampling starts where alpha is 0, by which two predictions divide.
    """
    kind, is_zero = case.get("process.kind", ""), case.get("process.zero_terminal_snr", False)
    rated = case.get("monitor.sampler") in ("em", "ode", "rk4") or case.get("objective.weight") == "likelihood"
    is_divided = kind in ("linear", "cosine") or case.get("objective.prediction") in ("eps", "score")
    return ((kind.endswith("chain") or is_zero) and rated) or (is_zero and is_divided)


def covering(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield cases that hold every pair of values of two axes, in a case that trains if the pair itself can train.

    Greedy: each case begins with a pair that is left, and takes the value that adds the most pairs for one axis after
    another, in random order.
    """
    drawn, left = random.Random(0), all_pairs(axes)  # noqa: S311 - cases, not secrets
    while left:
        a, one, b, other = min(left, key=repr)
        case = {a: one, b: other}
        refused = has_no_meaning(case)
        for name in drawn.sample(sorted(axes), len(axes)):
            fitting = [value for value in axes[name] if refused or not has_no_meaning(case | {name: value})]
            gains = [len(pairs_of({name: value} | case) & left) for value in fitting]
            case.setdefault(name, fitting[gains.index(max(gains))])
        held = pairs_of(case)
        # What a refused case holds beside the pair for which it is refused, has not trained.
        left -= {pair for pair in held if has_no_meaning({pair[0]: pair[1], pair[2]: pair[3]})} if refused else held
        yield case


CASES = list(covering(AXES))


def config_of(case: Mapping[str, Any], data: Mapping[str, str]) -> Config:
    """Return the config of a case."""
    masses = (1.0, 2.0) if case["times.sampler"] == "importance" else ()
    mapping: dict[str, Any] = {}
    for name, value in {**SHARED, "times.masses": masses, **case, "data": data[case["data"]]}.items():
        table, _, setting = name.rpartition(".")
        (mapping.setdefault(table, {}) if table else mapping)[setting] = value
    return from_mapping(mapping)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a file of each kind of data: bytes for images, floats for the rest."""
    drawn, files = np.random.default_rng(0), {}
    for name, shape in EVENTS.items():
        path = tmp_path_factory.mktemp("data") / f"{name}.npy"
        if len(shape) == 3:
            # Colours last, as most files of images have them.
            np.save(path, np.moveaxis(drawn.integers(0, 256, (24, *shape), dtype=np.uint8), 1, -1))
        else:
            np.save(path, drawn.uniform(-1.0, 1.0, (24, *shape)))
        np.save(path.with_suffix(".labels.npy"), np.arange(24) % 3)
        files[name] = str(path)
    return files


def test_design_covers_all_pairs() -> None:
    """Every pair of values occurs in a case that trains, or can never train; cases are far fewer than combinations."""
    trained = set().union(*(pairs_of(case) for case in CASES if not has_no_meaning(case)))
    never = {pair for pair in all_pairs(AXES) if has_no_meaning({pair[0]: pair[1], pair[2]: pair[3]})}
    assert trained | never == all_pairs(AXES)
    assert never <= set().union(*(pairs_of(case) for case in CASES if has_no_meaning(case)))
    assert len(CASES) < 60


@pytest.mark.parametrize("case", CASES, ids=map(str, range(len(CASES))))
def test_case_trains_or_is_refused_before_its_first_step(
    data: dict[str, str], tmp_path: Path, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRN-8: a case ends with finite samples of the saved weights, or its refusal leaves the output folder empty."""
    out = tmp_path / "run"
    monkeypatch.setattr(checks, "ROUNDS", 2)  # a third of the time, for one number of the log
    if has_no_meaning(case):
        with pytest.raises(RefdiffError, match=r"\A[^\n]*\([A-Z]{3}-\d+\)\Z"):
            runs.run(config_of(case, data), out)
        assert not list(out.glob("*"))
        return
    assert runs.run(config_of(case, data), out).state.step == SHARED["steps"]
    logged = case["monitor.log_every"] > 0
    expected = ["train", "train", "evaluation", "held_out"] if logged else ["evaluation"]
    assert [row["kind"] for row in runs.rows(out)] == expected
    assert (out / "samples.png").exists() == (len(EVENTS[case["data"]]) == 3)
    assert (out / "run.png").exists() == (out / "run.html").exists() == logged
    made = Trained(out).samples(2, seed=1, sampler=case["monitor.sampler"], steps=3)
    assert made.shape == (2, *EVENTS[case["data"]])
    assert bool(made.isfinite().all())


COMPILED: dict[str, dict[str, Any]] = {
    "images": {"network.attention": (1, 2), "network.dropout": 0.2, "condition.labels": True, "batch.accumulation": 2},
    "points": {"data": "points", "optimizer.kind": "sgd"},
}


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_case_ends_with_the_same_weights(
    data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """TRN-8: runtime.compile takes the network through the compiler, and changes neither draws nor weights.

    The graphs run as they were traced: to make machine code of them takes half a minute.
    """
    graphs = []

    def traced(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=traced))
    case = {axis: values[0] for axis, values in AXES.items()} | COMPILED[name] | {"runtime.precision": "float64"}
    case |= {"monitor.picture_every": 0, "monitor.eval_every": 0}
    for folder, compiled in (("plain", False), ("compiled", True)):
        runs.run(config_of(case | {"runtime.compile": compiled}, data), tmp_path / folder)
        assert bool(graphs) == compiled
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("plain", "compiled"))
    assert runs.distance(one, other) <= 1e-12
