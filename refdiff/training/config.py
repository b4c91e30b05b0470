"""What a run is made of: frozen, typed, written to TOML and into every checkpoint.

A TOML file names what differs from the defaults, in the tables of `Config`; the command line comes on top of it.
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
from refdiff.sampling import Rule, checked_rule
from refdiff.training.randomness import USES

Precision: TypeAlias = Literal["float32", "bfloat16", "float64"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """How examples are read."""

    held_out: int | None = None
    """Examples kept from training, to judge samples by; by default a sixth, 297 at most."""
    range: tuple[float, float] | None = None
    """What becomes -1 and 1; by default 0 and 255 for bytes, -1 and 1 for floats."""
    pad: int = 0
    """Pixels of -1 added on each side: 2 makes 28 x 28 divisible by 8."""
    size: int | None = None
    """Side to which the images of a folder are cut, in the middle, and resized."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The noise process."""

    kind: Literal["linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain"] = "cosine"
    """A schedule, or DDPM's chain with times k in 1..steps."""
    beta_min: float | None = None
    """Of linear: the rate at t = 0, per unit of time; by default 0.1."""
    beta_max: float | None = None
    """Of linear: the rate at t = 1, per unit of time; by default 20."""
    beta_start: float | None = None
    """Of linear_chain and scaled_linear_chain: beta of step 1; by default 0.1/steps, scaled 0.85/steps."""
    beta_end: float | None = None
    """Of linear_chain and scaled_linear_chain: beta of the last step; by default 20/steps, scaled 12/steps."""
    s: float = 0.008
    """Offset of the cosine."""
    steps: int = 1000
    """N of a chain."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is minimised."""

    prediction: Parameterization = "v"
    """What the network predicts."""
    weight: Literal["uniform", "inverse_snr", "min_snr", "likelihood"] = "uniform"
    """Of the squared error of the prediction (spec chapter 5)."""
    gamma: float = 5.0
    """Of min_snr."""
    clip: float = inf
    """Largest weight of inverse_snr."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Which times are trained at (spec chapter 6)."""

    sampler: Literal["uniform", "stratified", "importance", "second_moment"] = "stratified"
    """How positions are drawn; weights keep every choice unbiased."""
    masses: tuple[float, ...] = ()
    """Of importance: relative probabilities of equal cells of time."""
    cells: int = 64
    """Of second_moment; of a chain, its N."""
    history: int = 10
    """Of second_moment: losses that a cell remembers."""
    t_min: float = 1e-3
    """The first time of a schedule; samples by rk4 end there, all others at 0."""
    t_max: float = 0.999
    """The last; the cosine has no signal at 1."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step is made of. Shards are the unit of randomness: dealt to ranks and passes, they stay the same."""

    size: int = 128
    """Examples of a step, over all ranks and passes."""
    shards: int = 4
    """Equal parts of a batch, each with times and noise of its own."""
    passes: int = 1
    """Micro-batches in which a rank goes through its shards, to save memory."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """The optimizer."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    """Which one."""
    rate: float = 2e-3
    """The learning rate after warm-up."""
    warm_up: int = 100
    """Steps over which the rate rises from 0."""
    decay: Literal["constant", "cosine"] = "cosine"
    """What the rate does then; cosine ends at 0 with the last step."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Of adam and adamw."""
    eps: float = 1e-8
    """Of adam and adamw."""
    weight_decay: float = 0.01
    """Of adamw."""
    clip: float = 1.0
    """Largest norm of the whole gradient; inf for none."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """The moving average of the weights."""

    decay: float = 0.999
    """Share that stays in one step, after warm-up."""
    warm_up: bool = True
    """Begin with min(decay, (1 + k)/(10 + k)): without, the first weights weigh 0.9999^k for long."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What is looked at, and how often, in steps; 0 is never. Nothing here changes the training."""

    log: int = 100
    """A line of metrics."""
    buckets: int = 8
    """Equal parts of time whose losses are shown apart."""
    samples: int = 1000
    """A picture of samples of the average."""
    shown: int = 64
    """Samples in a picture."""
    quality: int = 1000
    """Frechet distance of samples to held-out examples, and at the end."""
    judged: int = 500
    """Samples judged."""
    patience: int = 0
    """Judgements without improvement after which the run ends; 0 is never."""
    save: int = 500
    """A checkpoint."""
    keep: int = 2
    """Newest checkpoints kept."""
    findings: Literal["stop", "warn"] = "stop"
    """What is done about what the checks find before the first step."""
    rule: Rule = "ddim"
    """How samples are made."""
    walk: int = 50
    """Steps of a sample."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and how it is computed."""

    device: str = "auto"
    """cpu, cuda, ...; auto takes cuda where there is one."""
    precision: Precision = "float32"
    """bfloat16 is autocast: weights, average and loss stay float32."""
    compile: bool = False
    """Put the network through torch.compile."""
    channels_last: bool = False
    """Keep images with channels last in memory; not on CPU."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A run."""

    data: str = "digits"
    """digits, fashion-mnist, a folder of images, or a file: .npy, .npz, IDX (.gz too)."""
    steps: int = 1500
    """Optimizer steps."""
    seed: int = 0
    """Decides weights, order, times and noise."""
    network: Architecture = field(default_factory=Architecture)
    """The U-Net, of images."""
    perceptron: Layers = field(default_factory=Layers)
    """The network of examples that are no images."""
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
        """Refuse numbers that no run has; what the core checks itself is left to it."""
        batch, watch, descent = self.batch, self.monitor, self.optimizer
        _need(self.steps >= 1, "steps of 1 at least", self.steps)
        _need(0 <= self.seed < 2**32, "a seed in 0..2^32-1", self.seed)
        _need(
            min(batch.size, batch.shards, batch.passes) >= 1 and batch.size % batch.shards == 0,
            "a batch size that its shards divide, all 1 at least",
            f"{batch.size} in {batch.shards} shards and {batch.passes} passes",
        )
        _need(0.0 < descent.rate < inf, "a learning rate in (0, inf)", descent.rate)
        _need(self.steps * batch.shards <= USES, "steps times shards of 2^29 at most", self.steps * batch.shards)
        _need(descent.clip > 0.0, "a largest gradient norm above 0 (inf for none)", descent.clip)
        _need(all(0.0 <= beta < 1.0 for beta in descent.betas), "betas of the optimizer in [0, 1)", descent.betas)
        _need(0.0 < descent.eps < inf, "an eps of the optimizer in (0, inf)", descent.eps)
        _need(0.0 <= descent.weight_decay < inf, "a weight decay in [0, inf)", descent.weight_decay)
        _need(descent.warm_up >= 0, "warm-up steps of 0 at least", descent.warm_up)
        _need(0.0 <= self.ema.decay < 1.0, "an EMA decay in [0, 1)", self.ema.decay)
        often = (watch.log, watch.samples, watch.quality, watch.patience, watch.save)
        _need(min(often) >= 0, "intervals and patience of 0 at least", watch)
        _need(
            min(watch.buckets, watch.shown, watch.judged - 1, watch.keep, watch.walk) >= 1,
            "buckets, shown, keep and walk of 1 at least, and 2 judged",
            watch,
        )
        _need(not watch.patience or bool(watch.quality), "monitor.quality, for patience to wait for", watch.quality)
        self._readable()
        # What a choice leaves unused is looked at too: a NaN in it is a slip, and waits for the next choice.
        _check_process(self.process)
        _need(self.objective.gamma > 0.0, "a gamma above 0", self.objective.gamma)
        _need(self.objective.clip > 0.0, "a largest weight above 0 (inf for none)", self.objective.clip)
        ends = (self.times.t_min, self.times.t_max)
        _need(0.0 <= ends[0] < ends[1] <= 1.0, "0 <= t_min < t_max <= 1", ends)
        _need(all(0.0 < mass < inf for mass in self.times.masses), "masses in (0, inf)", self.times.masses)

    def _readable(self) -> None:
        how = self.reading
        _need(how.pad >= 0, "a padding of 0 at least", how.pad)
        _need(how.size is None or how.size >= 1, "a size of images of 1 at least", how.size)
        _need(how.held_out is None or how.held_out >= 0, "held-out examples of 0 at least", how.held_out)
        _need(
            how.range is None or -inf < how.range[0] < how.range[1] < inf,
            "a range whose first number is the smaller, both finite",
            how.range,
        )


_ENDS: dict[str, tuple[str, ...]] = {
    "linear": ("beta_min", "beta_max"),
    "linear_chain": ("beta_start", "beta_end"),
    "scaled_linear_chain": ("beta_start", "beta_end"),
}
"""The ends of beta that a kind of process has: rates per unit of time, or variances per step."""


def _check_process(how: Process) -> None:
    """Refuse numbers that no process has, and ends of beta that this kind would not use."""
    names, used = ("beta_min", "beta_max", "beta_start", "beta_end"), _ENDS.get(how.kind, ())
    given = {name: value for name in names if (value := getattr(how, name)) is not None}
    _need(all(0.0 <= value < inf for value in given.values()), "rates and betas in [0, inf)", given)
    unused = [name for name in given if name not in used]
    need = f"process.{' and process.'.join(used)}" if used else "neither rates nor betas"
    _need(not unused, f"{need} for process.kind {how.kind}", ", ".join(f"process.{name}" for name in unused))
    _need(0.0 <= how.s < inf, "an offset of the cosine in [0, inf)", how.s)
    _need(1 <= how.steps <= 100_000, "a chain of 1 to 100,000 steps", how.steps)


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {got} (TRN-8)")


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Return the config that a mapping of names to values spells out. Raises ConfigError on what it does not know."""
    try:
        made: Config = _converter().structure(mapping, Config)
        return made
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of whatever the values raised
        if refused := _refusal(error):
            # cattrs notes where in the mapping it was: a second line.
            vars(refused).pop("__notes__", None)
            raise refused from None
        raise ConfigError(f"expected a config that holds together, got {_told(error)} (TRN-8)") from None


def read(path: Path) -> Config:
    """Return the config of a TOML file. Raises ConfigError."""
    try:
        return from_mapping(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"expected a config to read, got {path}: {error.strerror} (TRN-8)") from None
    except RecursionError:
        raise ConfigError(f"expected TOML, got {path}: nested too deep (TRN-8)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected TOML, got {path}: {error} (TRN-8)") from None


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the config as plain values."""
    plain: dict[str, Any] = _converter().unstructure(config)
    return plain


def differences(one: Config, other: Config) -> list[str]:
    """Return the dotted names of the settings in which they differ."""
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
    """Return what a dataclass itself raised, from within the groups of cattrs."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_refusal, error.exceptions)), None)
    return error if isinstance(error, RefdiffError) else None


def _exactly(kind: type) -> Any:
    """Return a hook that takes a value of this type and no other: cattrs would call bool("false"), which is True."""

    def structure(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return structure


@cache
def _converter() -> Any:
    try:
        from cattrs import Converter  # here: whoever trains without files needs none
    except ModuleNotFoundError:
        raise ConfigError("expected cattrs to read a config: pip install 'refdiff[train]', got none (TRN-8)") from None
    converter = Converter(forbid_extra_keys=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook_func(lambda kind: kind is Rule, lambda value, _: checked_rule(value))
    return converter


def _told(error: Exception) -> str:
    from cattrs import transform_error  # here: as above

    return "; ".join(transform_error(error))
