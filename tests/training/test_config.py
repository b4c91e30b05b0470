"""refdiff.training.config: what is read is what was written, and what is wrong is one sentence."""

from __future__ import annotations

import json
import tomllib
from math import inf, nan
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refdiff.errors import RefdiffError
from refdiff.nn import Architecture
from refdiff.parameterization import Parameterization
from refdiff.training import config
from refdiff.training.config import Config, differences, from_mapping, read, to_mapping

rates = st.floats(1e-12, 1e12)

settings_of = st.fixed_dictionaries(
    {
        "data": st.text(max_size=8),
        "steps": st.integers(1, 2**29 // config.Batch().shards),
        "seed": st.integers(0, 2**32 - 1),
        "multipliers": st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
        "attention": st.sampled_from([(), (0,), (1, 0)]),
        "held_out": st.none() | st.integers(0, 99),
        "range": st.none() | st.just((-0.25, 7.0)),
        "kind": st.sampled_from(["linear", "linear_chain"]),
        "first": st.none() | rates,
        "prediction": st.sampled_from(get_args(Parameterization)),
        "clip": rates | st.just(inf),
        "masses": st.lists(rates, max_size=3).map(tuple),
        "betas": st.tuples(st.floats(0.0, 0.99), st.floats(0.0, 0.99)),
        "warm_up": st.booleans(),
    }
)


def made(some: dict[str, Any]) -> Config:
    """Return the config with these settings."""
    first = {"beta_min" if some["kind"] == "linear" else "beta_start": some["first"]}
    return Config(
        data=some["data"],
        steps=some["steps"],
        seed=some["seed"],
        network=Architecture(multipliers=some["multipliers"], attention=some["attention"]),
        reading=config.Data(held_out=some["held_out"], range=some["range"]),
        process=config.Process(kind=some["kind"], **first),
        objective=config.Goal(prediction=some["prediction"], clip=some["clip"]),
        times=config.Times(masses=some["masses"]),
        optimizer=config.Descent(betas=some["betas"]),
        ema=config.Average(warm_up=some["warm_up"]),
    )


@given(settings_of)
def test_a_mapping_comes_back(some: dict[str, Any]) -> None:
    """TRN-8: a config is what its mapping says, after a trip through JSON too, infinity included."""
    one = made(some)
    assert from_mapping(to_mapping(one)) == one
    assert from_mapping(json.loads(json.dumps(to_mapping(one)))) == one


def toml(mapping: dict[str, Any]) -> str:
    """Return the mapping as TOML, leaving out what is None."""
    plain = {name: value for name, value in mapping.items() if not isinstance(value, dict) and value is not None}
    tables = {name: value for name, value in mapping.items() if isinstance(value, dict)}
    lines = [f"{name} = {_value(value)}" for name, value in plain.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(settings_of)
def test_toml_comes_back(some: dict[str, Any]) -> None:
    """TRN-8: so is one written as TOML."""
    one = made(some)
    assert from_mapping(tomllib.loads(toml(to_mapping(one)))) == one


def test_toml_names_what_differs(tmp_path: Path) -> None:
    """TRN-8: the rest has its defaults; an integer is a number too."""
    file = tmp_path / "a.toml"
    file.write_text("steps = 7\n[optimizer]\nrate = 1\nbetas = [0, 0.5]\n[objective]\nclip = inf\n")
    got = read(file)
    assert differences(got, Config()) == ["steps", "optimizer.rate", "optimizer.betas"]
    assert got.optimizer.betas == (0.0, 0.5)
    assert type(got.optimizer.rate) is float


WRONG = [
    "steps = true", "steps = 1.0", 'steps = "7"', "data = 7", "ema.warm_up = 1", 'ema.warm_up = "false"',
    "optimizer.rate = true", 'optimizer.rate = "1"', "optimizer.betas = [0.9]", "optimizer.betas = [0.9, 0.9, 0.9]",
    "optimizer.betas = 0.9", 'optimizer.betas = ["a", "b"]', 'optimizer.kind = "adagrad"', "optimizer.kind = 1",
    "optimizer.kind = []", "network.multipliers = 3", 'network.multipliers = "123"', "network.multipliers = [1.5]",
    "optimizer = 3", "optimizer = []", "unknown = 1", "optimizer.lr = 1.0", "reading.range = [1]",
    'reading.held_out = "none"', "steps = 0", "seed = -1", "seed = 4294967296", "batch.size = 0", "batch.shards = 3",
    "batch.passes = 0", "optimizer.rate = nan", "optimizer.rate = inf", "optimizer.rate = 0.0",
    "optimizer.betas = [0.9, 1.0]", "optimizer.betas = [nan, 0.9]", "optimizer.eps = nan", "optimizer.eps = 0.0",
    "optimizer.weight_decay = nan", "optimizer.weight_decay = -0.1", "optimizer.clip = nan", "optimizer.clip = 0.0",
    "optimizer.warm_up = -1", "ema.decay = nan", "ema.decay = 1.0", "monitor.log = -1", "monitor.buckets = 0",
    "monitor.judged = 1", "monitor = {patience = 1, quality = 0}",
    "monitor.keep = 0", "monitor.walk = 0", "reading.pad = -1",
    "reading.size = 0", "reading.held_out = -1", "reading.range = [1, 1]", "reading.range = [nan, 1]",
    "reading.range = [0, inf]", "process.beta_min = nan", "process.beta_max = inf", "process.s = nan",
    "process.beta_max = 4.0", "process = {kind = 'linear_chain', beta_min = 0.1}",
    "process = {kind = 'linear', beta_end = 0.02}", "monitor.rule = 'ancestral'", "monitor.rule = 3",
    "process.steps = 0", "process.steps = 1000000000000", "objective.gamma = nan", "objective.clip = nan",
    "objective.clip = 0.0", "times.t_min = nan", "times.t_max = nan", "times.t_min = 0.9999", "times.masses = [nan]",
    "times.masses = [0.0]", "network.groups = 0", "network.width = 0", "network.dropout = nan",
    "machine.precision = 'float16'", "machine.compile = 'yes'", "steps = ", "a = 1\na = 2", "[[[",
    "steps = 1000000000",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str) -> None:
    """TRN-8: a wrong type, an unknown name, a wrong number, NaN: one line that ends with a clause."""
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(RefdiffError, match=r"^expected [^\n]+, got [^\n]+ \([A-Z]{3}-\d+\)$"):
        read(file)


def test_files_that_are_no_toml_are_one_sentence(tmp_path: Path) -> None:
    """TRN-8: a folder, no file, bytes, tables without end."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    for name in (".", "none.toml", "bytes.toml", "deep.toml"):
        with pytest.raises(RefdiffError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
            read(tmp_path / name)


@pytest.mark.parametrize("mapping", [5, None, "steps", {"steps": nan}, {"network": {"width": None}}])
def test_mappings_that_are_none_are_one_sentence(mapping: Any) -> None:
    """TRN-8: what a checkpoint may hold in place of a config."""
    with pytest.raises(RefdiffError, match=r"^expected a valid config, got [^\n]+ \(TRN-8\)$"):
        from_mapping(mapping)
