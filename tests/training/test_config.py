"""refdiff.training.config and .parsing: what is read is what was written, and what is wrong is one sentence."""

from __future__ import annotations

import json
import tomllib
from dataclasses import is_dataclass
from math import inf, nan
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refdiff.errors import ConfigError, RefdiffError
from refdiff.nn import Architecture
from refdiff.parameterization import Parameterization
from refdiff.training import config
from refdiff.training.config import Config
from refdiff.training.parsing import (
    RENAMED,
    differences,
    from_mapping,
    present_name,
    read,
    setting_docs,
    setting_types,
    to_mapping,
)

TABLES: list[Any] = [kind for kind in setting_types(Config).values() if is_dataclass(kind)]

rates = st.floats(1e-12, 1e12)

settings_of = st.fixed_dictionaries(
    {
        "data": st.text(max_size=8),
        "steps": st.integers(1, 2**29 // config.BatchConfig().shards),
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
        "warmup": st.booleans(),
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
        preprocess=config.PreprocessConfig(held_out=some["held_out"], range=some["range"]),
        process=config.ProcessConfig(kind=some["kind"], **first),
        objective=config.ObjectiveConfig(prediction=some["prediction"], clip=some["clip"]),
        times=config.TimesConfig(masses=some["masses"]),
        optimizer=config.OptimizerConfig(betas=some["betas"]),
        ema=config.EMAConfig(warmup=some["warmup"]),
    )


@given(settings_of)
def test_mapping_round_trip(some: dict[str, Any]) -> None:
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
def test_toml_round_trip(some: dict[str, Any]) -> None:
    """TRN-8: so is one written as TOML."""
    one = made(some)
    assert from_mapping(tomllib.loads(toml(to_mapping(one)))) == one


def test_toml_overrides_defaults(tmp_path: Path) -> None:
    """TRN-8: the rest has its defaults; an integer is a number too."""
    file = tmp_path / "a.toml"
    file.write_text("steps = 7\n[optimizer]\nlr = 1\nbetas = [0, 0.5]\n[objective]\nclip = inf\n")
    got = read(file)
    assert differences(got, Config()) == ["steps", "optimizer.lr", "optimizer.betas"]
    assert got.optimizer.betas == (0.0, 0.5)
    assert type(got.optimizer.lr) is float


WRONG = [
    "steps = true", "steps = 1.0", 'steps = "7"', "data = 7", "ema.warmup = 1", 'ema.warmup = "false"',
    "optimizer.lr = true", 'optimizer.lr = "1"', "optimizer.betas = [0.9]", "optimizer.betas = [0.9, 0.9, 0.9]",
    "optimizer.betas = 0.9", 'optimizer.betas = ["a", "b"]', 'optimizer.kind = "adagrad"', "optimizer.kind = 1",
    "optimizer.kind = []", "network.multipliers = 3", 'network.multipliers = "123"', "network.multipliers = [1.5]",
    "optimizer = 3", "optimizer = []", "unknown = 1", "optimizer.unknown = 1.0", "preprocess.range = [1]",
    'preprocess.held_out = "none"', "steps = 0", "seed = -1", "seed = 4294967296", "batch.size = 0", "batch.shards = 3",
    "batch.accumulation = 0", "optimizer.lr = nan", "optimizer.lr = inf", "optimizer.lr = 0.0",
    "optimizer.betas = [0.9, 1.0]", "optimizer.betas = [nan, 0.9]", "optimizer.eps = nan", "optimizer.eps = 0.0",
    "optimizer.weight_decay = nan", "optimizer.weight_decay = -0.1",
    "optimizer.max_grad_norm = nan", "optimizer.max_grad_norm = 0.0",
    "optimizer.warmup = -1", "ema.decay = nan", "ema.decay = 1.0", "monitor.log_every = -1", "monitor.buckets = 0",
    "monitor.eval_samples = 1", "monitor = {patience = 1, eval_every = 0}",
    "monitor.keep = 0", "monitor.sampling_steps = 0", "preprocess.pad = -1",
    "preprocess.size = 0", "preprocess.held_out = -1", "preprocess.range = [1, 1]", "preprocess.range = [nan, 1]",
    "preprocess.range = [0, inf]", "process.beta_min = nan", "process.beta_max = inf", "process.s = nan",
    "process.beta_max = 4.0", "process = {kind = 'linear_chain', beta_min = 0.1}",
    "process = {kind = 'linear', beta_end = 0.02}", "monitor.sampler = 'ancestral'", "monitor.sampler = 3",
    "process.steps = 0", "process.steps = 1000000000000", "objective.gamma = nan", "objective.clip = nan",
    "objective.clip = 0.0", "times.t_min = nan", "times.t_max = nan", "times.t_min = 0.9999", "times.masses = [nan]",
    "times.masses = [0.0]", "network.groups = 0", "network.width = 0", "network.dropout = nan",
    "runtime.precision = 'float16'", "runtime.compile = 'yes'", "steps = ", "a = 1\na = 2", "[[[",
    "steps = 1000000000", f"steps = {'9' * 5000}", f"steps = 0x{'f' * 5000}", f"optimizer.lr = 0x{'f' * 5000}",
    "monitor.keep = 9223372036854775807", f"data = {[1] * 1000}", "monitor.buckets = 10001",
    "monitor.sampling_steps = 100001", "times.cells = 0", "times.history = 0", "mlp.depth = 1001",
    "network.blocks = 600",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_wrong_settings_are_one_error_line(tmp_path: Path, text: str) -> None:
    """TRN-8: a wrong type, an unknown name, a wrong number, NaN: one line that ends with a clause."""
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(RefdiffError, match=r"^expected [^\n]+, got [^\n]+ \([A-Z]{3}-\d+\)$"):
        read(file)


def test_unreadable_files_are_one_error_line(tmp_path: Path) -> None:
    """TRN-8: a folder, no file, bytes, tables without end."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    for name in (".", "none.toml", "bytes.toml", "deep.toml"):
        with pytest.raises(RefdiffError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
            read(tmp_path / name)


@pytest.mark.parametrize(("mapping", "message"), [
    (5, "expected a table of settings, got 5"),
    (None, "expected a table of settings, got None"),
    ("steps", "expected a table of settings, got 'steps'"),
    ({"steps": nan}, "expected an integer for steps, got nan"),
    ({"network": {"width": None}}, "expected an integer for network.width, got None"),
    ({"network": 3}, "expected a table of settings for network, got 3"),
    ({"optimizer": {"lr": True}}, "expected a number for optimizer.lr, got True"),
    ({"optimizer": {"betas": [0.9]}}, "expected 2 values for optimizer.betas, got [0.9]"),
    ({"optimizer": {"kind": "rms"}}, "expected adam, adamw or sgd for optimizer.kind, got 'rms'"),
    ({"ema": {"momentum": 1}}, "expected a setting in ema, one of decay, warmup, got 'ema.momentum'"),
    ({"ema": {"a\nb": 1}}, "expected a setting in ema, one of decay, warmup, got 'ema.a\\nb'"),
    ({3: 1}, "expected a setting, one of " + ", ".join(setting_types(Config)) + ", got '3'"),
])  # fmt: skip
def test_errors_name_the_setting(mapping: Any, message: str) -> None:
    """TRN-8: in one line, whatever a file or a checkpoint holds in place of a config."""
    with pytest.raises(ConfigError) as refused:
        from_mapping(mapping)
    assert str(refused.value) == f"{message} (TRN-8)"


def test_no_table_holds_an_invalid_value() -> None:
    """TRN-8: a table is checked when it is constructed, before it is part of a config."""
    for build in (
        lambda: config.PreprocessConfig(pad=-1),
        lambda: config.ProcessConfig(steps=0),
        lambda: config.ObjectiveConfig(gamma=0.0),
        lambda: config.TimesConfig(t_min=1.0),
        lambda: config.BatchConfig(size=-1),
        lambda: config.OptimizerConfig(lr=0.0),
        lambda: config.EMAConfig(decay=1.0),
        lambda: config.MonitorConfig(patience=1, eval_every=0),
    ):
        with pytest.raises(ConfigError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
            build()


@pytest.mark.parametrize(
    ("process", "prediction", "sentence"),
    [
        (
            {"kind": "cosine"},
            "v",
            "process.kind of a chain with process.zero_terminal_snr .*times.t_max 1., got cosine",
        ),
        ({"kind": "linear"}, "v", "process.kind of a chain with process.zero_terminal_snr .*, got linear"),
        ({"kind": "cosine_chain", "steps": 1}, "v", "process.steps of at least 2 with .*, got 1"),
        ({"kind": "linear_chain"}, "eps", "objective.prediction v or x_0 with process.zero_terminal_snr.*, got eps"),
        (
            {"kind": "linear_chain"},
            "score",
            "objective.prediction v or x_0 with process.zero_terminal_snr.*, got score",
        ),
    ],
)
def test_zero_terminal_snr_is_refused_where_it_cannot_be_sampled(
    process: dict[str, Any], prediction: str, sentence: str
) -> None:
    """TRN-8: of schedules, of one step, and of predictions without a value where alpha is 0."""
    mapping = {"process": {**process, "zero_terminal_snr": True}, "objective": {"prediction": prediction}}
    with pytest.raises(ConfigError, match=rf"^expected {sentence} \(TRN-8\)$"):
        from_mapping(mapping)


def test_no_two_tables_share_a_name_with_another_class() -> None:
    """Each table ends in Config, except the sizes of networks, which belong to `refdiff.nn`."""
    names = [table.__name__ for table in TABLES if table.__module__ == config.__name__]
    assert len(names) == 10
    assert all(name.endswith("Config") for name in names)


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_former_names_are_refused_with_the_present_ones(former: str, present: str) -> None:
    """The error names the present setting, which exists."""
    table, _, setting = former.partition(".")
    with pytest.raises(ConfigError) as refused:
        from_mapping({table: {setting: 1} if setting else {}})
    assert str(refused.value) == f"expected {present}, got its former name {former} (TRN-8)"
    found: Any = Config()
    for name in present.split("."):
        found = getattr(found, name)


def test_former_tables_keep_the_names_of_their_settings() -> None:
    """`reading.pad` is now `preprocess.pad`; a name that was never used has no present name."""
    assert present_name("reading.pad") == "preprocess.pad"
    assert present_name("optimizer.lr") is None
    assert present_name("unknown") is None


def test_every_setting_is_documented() -> None:
    """`--help` has a sentence for each setting and each table."""
    for table in (Config, *TABLES):
        for name, text in setting_docs(table).items():
            assert text.rstrip().endswith("."), name
