"""Settings of a training run, as frozen dataclasses; stored in every checkpoint.

A TOML file holds the settings that differ from the defaults, in the tables of `Config`; options on the command line
override it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from refdiff.errors import ConfigError, RefdiffError
from refdiff.nn import Architecture, Layers
from refdiff.parameterization import Parameterization
from refdiff.samplers import Rule
from refdiff.sampling import checked_rule
from refdiff.training.randomness import USES

Precision: TypeAlias = Literal["float32", "bfloat16", "float64"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Reading and scaling of the data."""

    held_out: int | None = None
    """Number of examples held out to evaluate samples; by default a sixth, at most 297."""
    range: tuple[float, float] | None = None
    """Data values mapped to -1 and 1; by default 0 and 255 for bytes, -1 and 1 for floats."""
    pad: int = 0
    """Pixels of value -1 added on each side; 2 makes 28 x 28 divisible by 8."""
    size: int | None = None
    """Side in pixels to which the images of a folder are centre-cropped and resized."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The noise process."""

    kind: Literal["linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain"] = "cosine"
    """Schedule in continuous time, or discrete chain with times k in 1..steps."""
    beta_min: float | None = None
    """For linear: noise rate at t = 0, per unit of time; by default 0.1."""
    beta_max: float | None = None
    """For linear: noise rate at t = 1, per unit of time; by default 20."""
    beta_start: float | None = None
    """For linear_chain and scaled_linear_chain: beta of step 1; by default 0.1/steps, scaled 0.85/steps."""
    beta_end: float | None = None
    """For linear_chain and scaled_linear_chain: beta of the last step; by default 20/steps, scaled 12/steps."""
    s: float = 0.008
    """For cosine and cosine_chain: offset s."""
    steps: int = 1000
    """For chains: number of steps N."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Training objective."""

    prediction: Parameterization = "v"
    """Quantity that the network predicts."""
    weight: Literal["uniform", "inverse_snr", "min_snr", "likelihood"] = "uniform"
    """Weight on the squared error of the prediction (spec chapter 5)."""
    gamma: float = 5.0
    """For min_snr: gamma."""
    clip: float = inf
    """For inverse_snr: largest weight."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Distribution of training times (spec chapter 6)."""

    sampler: Literal["uniform", "stratified", "importance", "second_moment"] = "stratified"
    """Time sampler; its importance weights keep the loss unbiased."""
    masses: tuple[float, ...] = ()
    """For importance: relative probabilities of equal cells of time."""
    cells: int = 64
    """For second_moment: number of cells of time (for a chain, always N)."""
    history: int = 10
    """For second_moment: number of last losses stored per cell."""
    t_min: float = 1e-3
    """For schedules: smallest training time; sampling by rk4 ends there, by other samplers at 0."""
    t_max: float = 0.999
    """For schedules: largest training time; at 1 the cosine has no signal."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Batch of one optimizer step. Each shard has its own random numbers, on whichever rank or pass it is computed."""

    size: int = 128
    """Examples per step, over all ranks and passes."""
    shards: int = 4
    """Number of equal parts of a batch, each with its own random times and noise."""
    passes: int = 1
    """Gradient accumulation: micro-batches per rank and step, to save memory."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """The optimizer."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    """Algorithm."""
    rate: float = 2e-3
    """Learning rate after warm-up."""
    warm_up: int = 100
    """Steps over which the learning rate rises from 0."""
    decay: Literal["constant", "cosine"] = "cosine"
    """Learning rate schedule after warm-up; cosine reaches 0 after the last step."""
    betas: tuple[float, float] = (0.9, 0.99)
    """For adam and adamw: decay rates of the moment estimates."""
    eps: float = 1e-8
    """For adam and adamw: term added to the denominator."""
    weight_decay: float = 0.01
    """For adamw: weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient of all parameters; inf for no clipping."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """Exponential moving average of the weights."""

    decay: float = 0.999
    """Fraction of the average kept per step, after warm-up."""
    warm_up: bool = True
    """Use min(decay, (1 + k)/(10 + k)) at step k, so that the initial weights are forgotten soon."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Logging, evaluation and checkpoints. Intervals are in steps; 0 disables. Nothing here changes the training."""

    log: int = 100
    """Interval of metrics."""
    buckets: int = 8
    """Number of equal parts of time whose losses are logged separately."""
    samples: int = 1000
    """Interval of pictures of samples, drawn with the averaged weights."""
    shown: int = 64
    """Number of samples in a picture."""
    quality: int = 1000
    """Interval of evaluations: Frechet distance of samples to held-out examples; also at the end of the run."""
    judged: int = 500
    """Number of samples per evaluation."""
    patience: int = 0
    """Early stopping: number of evaluations without improvement after which the run ends; 0 disables."""
    save: int = 500
    """Interval of checkpoints."""
    keep: int = 2
    """Number of newest checkpoints kept."""
    findings: Literal["stop", "warn"] = "stop"
    """Reaction to findings of the checks before the first step: stop the run, or warn and train."""
    rule: Rule = "ddim"
    """Sampler."""
    walk: int = 50
    """Number of sampling steps."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Device and precision of the computation."""

    device: str = "auto"
    """cpu, cuda, ...; auto uses cuda if available, else cpu."""
    precision: Precision = "float32"
    """bfloat16 uses autocast: weights, average and loss stay float32."""
    compile: bool = False
    """Compile the network with torch.compile."""
    channels_last: bool = False
    """Store images in channels-last memory format; not supported on CPU."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a training run."""

    data: str = "digits"
    """Data source: digits, fashion-mnist, a folder of images, or a file (.npy, .npz, IDX, IDX with .gz)."""
    steps: int = 1500
    """Number of optimizer steps."""
    seed: int = 0
    """Random seed of initial weights, order of examples, times and noise."""
    network: Architecture = field(default_factory=Architecture)
    """U-Net, for images."""
    perceptron: Layers = field(default_factory=Layers)
    """Multilayer perceptron, for examples that are not images."""
    reading: Data = field(default_factory=Data)
    process: Process = field(default_factory=Process)
    objective: Goal = field(default_factory=Goal)
    times: Times = field(default_factory=Times)
    batch: Batch = field(default_factory=Batch)
    optimizer: Descent = field(default_factory=Descent)
    ema: Average = field(default_factory=Average)
    monitor: Monitor = field(default_factory=Monitor)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid numbers, except those that the classes of the core check themselves."""
        batch, watch, descent = self.batch, self.monitor, self.optimizer
        _need(self.steps >= 1, "steps >= 1", self.steps)
        _need(0 <= self.seed < 2**32, "a seed in 0..2^32-1", self.seed)
        _need(
            min(batch.size, batch.shards, batch.passes) >= 1 and batch.size % batch.shards == 0,
            "batch size, shards and passes of at least 1, with shards that divide the size",
            f"{batch.size} in {batch.shards} shards and {batch.passes} passes",
        )
        _need(0.0 < descent.rate < inf, "a learning rate in (0, inf)", descent.rate)
        _need(self.steps * batch.shards <= USES, "steps times shards of at most 2^29", self.steps * batch.shards)
        _need(descent.clip > 0.0, "optimizer.clip > 0 (inf for no clipping)", descent.clip)
        _need(all(0.0 <= beta < 1.0 for beta in descent.betas), "optimizer.betas in [0, 1)", descent.betas)
        _need(0.0 < descent.eps < inf, "optimizer.eps in (0, inf)", descent.eps)
        _need(0.0 <= descent.weight_decay < inf, "optimizer.weight_decay in [0, inf)", descent.weight_decay)
        _need(descent.warm_up >= 0, "optimizer.warm_up >= 0", descent.warm_up)
        _need(0.0 <= self.ema.decay < 1.0, "ema.decay in [0, 1)", self.ema.decay)
        often = (watch.log, watch.samples, watch.quality, watch.patience, watch.save)
        _need(min(often) >= 0, "intervals and patience >= 0 in monitor", watch)
        _need(
            min(watch.buckets, watch.shown, watch.judged - 1, watch.keep, watch.walk) >= 1,
            "at least 1 for buckets, shown, keep and walk, and 2 for judged, in monitor",
            watch,
        )
        _need(
            not watch.patience or bool(watch.quality),
            "monitor.quality > 0, as monitor.patience counts evaluations",
            watch.quality,
        )
        self._readable()
        # Unused settings are checked too: an invalid value in them would fail only when the choice changes.
        _check_process(self.process)
        _need(self.objective.gamma > 0.0, "objective.gamma > 0", self.objective.gamma)
        _need(self.objective.clip > 0.0, "objective.clip > 0 (inf for no limit)", self.objective.clip)
        ends = (self.times.t_min, self.times.t_max)
        _need(0.0 <= ends[0] < ends[1] <= 1.0, "0 <= t_min < t_max <= 1", ends)
        _need(all(0.0 < mass < inf for mass in self.times.masses), "masses in (0, inf)", self.times.masses)

    def _readable(self) -> None:
        how = self.reading
        _need(how.pad >= 0, "reading.pad >= 0", how.pad)
        _need(how.size is None or how.size >= 1, "reading.size >= 1", how.size)
        _need(how.held_out is None or how.held_out >= 0, "reading.held_out >= 0", how.held_out)
        _need(
            how.range is None or -inf < how.range[0] < how.range[1] < inf,
            "reading.range as two finite numbers, the smaller first",
            how.range,
        )


_ENDS: dict[str, tuple[str, ...]] = {
    "linear": ("beta_min", "beta_max"),
    "linear_chain": ("beta_start", "beta_end"),
    "scaled_linear_chain": ("beta_start", "beta_end"),
}
"""Settings of beta that each kind of process uses: rates per unit of time, or variances per step."""


def _check_process(how: Process) -> None:
    """Raise ConfigError for invalid numbers, and for settings of beta that this kind of process does not use."""
    names, used = ("beta_min", "beta_max", "beta_start", "beta_end"), _ENDS.get(how.kind, ())
    given = {name: value for name in names if (value := getattr(how, name)) is not None}
    _need(all(0.0 <= value < inf for value in given.values()), "rates and betas in [0, inf)", given)
    unused = [name for name in given if name not in used]
    need = f"process.{' and process.'.join(used)}" if used else "neither rates nor betas"
    _need(not unused, f"{need} for process.kind {how.kind}", ", ".join(f"process.{name}" for name in unused))
    _need(0.0 <= how.s < inf, "process.s in [0, inf)", how.s)
    _need(1 <= how.steps <= 100_000, "process.steps in 1..100,000", how.steps)


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {got} (TRN-8)")


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Return the config of a mapping of names to values. Raises ConfigError for unknown names and invalid values."""
    try:
        made: Config = _converter().structure(mapping, Config)
        return made
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of whatever the values raised
        if refused := _refusal(error):
            # cattrs adds a note with the place in the mapping, which would be a second line.
            vars(refused).pop("__notes__", None)
            raise refused from None
        raise ConfigError(f"expected a valid config, got {_told(error)} (TRN-8)") from None


def read(path: Path) -> Config:
    """Return the config of a TOML file. Raises ConfigError."""
    try:
        return from_mapping(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"expected a readable config file, got {path}: {error.strerror} (TRN-8)") from None
    except RecursionError:
        raise ConfigError(f"expected TOML, got {path}: nested too deep (TRN-8)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected TOML, got {path}: {error} (TRN-8)") from None


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the config as plain values."""
    plain: dict[str, Any] = _converter().unstructure(config)
    return plain


def differences(one: Config, other: Config) -> list[str]:
    """Return the dotted names of the settings in which two configs differ."""
    return list(_differing(one, other, ""))


def _differing(one: Any, other: Any, prefix: str) -> list[str]:
    if not is_dataclass(one):
        return [] if one == other else [prefix.removesuffix(".")]
    return [
        name
        for item in fields(one)
        for name in _differing(getattr(one, item.name), getattr(other, item.name), f"{prefix}{item.name}.")
    ]


def _refusal(error: BaseException) -> RefdiffError | None:
    """Return the first RefdiffError inside the exception groups of cattrs."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_refusal, error.exceptions)), None)
    return error if isinstance(error, RefdiffError) else None


def _exactly(kind: type) -> Any:
    """Return a cattrs hook that accepts only values of this type; by default bool("false") would give True."""

    def structure(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"{value!r} is not of type {kind.__name__}")
        return value

    return structure


@cache
def _converter() -> Any:
    try:
        from cattrs import Converter  # lazy import: only needed to read or write config files
    except ModuleNotFoundError:
        raise ConfigError("expected cattrs to read a config: pip install 'refdiff[train]', got none (TRN-8)") from None
    converter = Converter(forbid_extra_keys=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook_func(lambda kind: kind is Rule, lambda value, _: checked_rule(value))
    return converter


def _told(error: Exception) -> str:
    from cattrs import transform_error  # lazy import, as above

    return "; ".join(transform_error(error))
