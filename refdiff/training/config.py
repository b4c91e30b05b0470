"""Settings of a training run: one frozen dataclass per table, each of which checks its own values (TRN-8).

`Config` holds the tables. A TOML file and the command line use the same names, such as `optimizer.lr`; see `parsing`.
A checkpoint stores the settings of its run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias, final

from refdiff.errors import ConfigError
from refdiff.nn import Architecture, Layers
from refdiff.parameterization import Parameterization
from refdiff.samplers import Rule
from refdiff.training.randomness import USES

Precision: TypeAlias = Literal["float32", "bfloat16", "float64"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """Preprocessing of the data, and the held-out split."""

    held_out: int | None = None
    """Number of examples held out for evaluation; by default a sixth, at most 297."""
    range: tuple[float, float] | None = None
    """Data values scaled to -1 and 1; by default 0 and 255 for bytes, -1 and 1 for floats."""
    pad: int = 0
    """Pixels of value -1 added on each side; 2 makes 28 x 28 divisible by 8, for three levels."""
    size: int | None = None
    """Side in pixels to which images of a folder are centre-cropped and resized."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        _need(self.held_out is None or self.held_out >= 0, "preprocess.held_out >= 0", self.held_out)
        _need(
            self.range is None or -inf < self.range[0] < self.range[1] < inf,
            "preprocess.range as two finite numbers, the smaller first",
            self.range,
        )
        _need(self.pad >= 0, "preprocess.pad >= 0", self.pad)
        _need(self.size is None or self.size >= 1, "preprocess.size >= 1", self.size)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionConfig:
    """Condition of the network on the label of an example, its class."""

    labels: bool = False
    """Train with labels: those of the data source, or of the file."""
    file: str | None = None
    """File of labels, .npy, .npz or IDX; by default they are found beside the data."""
    dropout: float = 0.1
    """Probability that a label is replaced by the null label, which guidance needs."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        _need(0.0 <= self.dropout < 1.0, "condition.dropout in [0, 1)", self.dropout)
        _need(self.file is None or self.labels, "condition.labels with condition.file", self.labels)


Kind: TypeAlias = Literal["linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain"]
_ENDS: dict[Kind, tuple[str, ...]] = {
    "linear": ("beta_min", "beta_max"),
    "linear_chain": ("beta_start", "beta_end"),
    "scaled_linear_chain": ("beta_start", "beta_end"),
}
"""Settings of beta that each kind of process uses: rates per unit of time, or variances per step."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessConfig:
    """Noise process."""

    kind: Kind = "cosine"
    """Schedule in continuous time, or discrete chain with timesteps 1..steps."""
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
    """For chains: number of diffusion steps N."""
    zero_terminal_snr: bool = False
    """For chains: rescale to end in pure noise; the prediction is then v or x_0."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values, and for settings of beta that this kind of process does not use.

        Other unused settings are checked too: an invalid value in them would fail only when the kind changes.
        """
        names, used = ("beta_min", "beta_max", "beta_start", "beta_end"), _ENDS.get(self.kind, ())
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        _need(all(0.0 <= value < inf for value in given.values()), "rates and betas in [0, inf)", given)
        unused = [name for name in given if name not in used]
        need = f"process.{' and process.'.join(used)}" if used else "neither rates nor betas"
        _need(not unused, f"{need} for process.kind {self.kind}", ", ".join(f"process.{name}" for name in unused))
        _need(0.0 <= self.s < inf, "process.s in [0, inf)", self.s)
        _need(1 <= self.steps <= 100_000, "process.steps in 1..100,000", self.steps)
        need = "process.kind of a chain with process.zero_terminal_snr (for cosine set times.t_max 1)"
        _need(not self.zero_terminal_snr or self.kind.endswith("chain"), need, self.kind)
        need = "process.steps of at least 2 with process.zero_terminal_snr"
        _need(not self.zero_terminal_snr or self.steps > 1, need, self.steps)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """Training objective."""

    prediction: Parameterization = "v"
    """Quantity that the network predicts."""
    weight: Literal["uniform", "inverse_snr", "min_snr", "likelihood"] = "uniform"
    """Weight on the squared error of the prediction (spec chapter 5)."""
    gamma: float = 5.0
    """For min_snr: gamma."""
    clip: float = inf
    """For inverse_snr: largest weight."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        _need(self.gamma > 0.0, "objective.gamma > 0", self.gamma)
        _need(self.clip > 0.0, "objective.clip > 0 (inf for no limit)", self.clip)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TimesConfig:
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
    """For schedules: smallest training time; sampling with rk4 ends there, with other samplers at 0."""
    t_max: float = 0.999
    """For schedules: largest training time; at 1 the cosine has no signal."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values, except those that the time samplers check themselves."""
        _need(0.0 <= self.t_min < self.t_max <= 1.0, "0 <= times.t_min < times.t_max <= 1", (self.t_min, self.t_max))
        _need(min(self.cells, self.history) >= 1, "times.cells and times.history >= 1", (self.cells, self.history))
        _need(all(0.0 < mass < inf for mass in self.masses), "times.masses in (0, inf)", self.masses)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """Batch of one optimizer step. Each shard has its own random numbers, whichever process computes it."""

    size: int = 128
    """Total batch size: examples per optimizer step, over all processes and micro-batches."""
    shards: int = 4
    """Number of equal parts of a batch, each with its own random times and noise."""
    accumulation: int = 1
    """Gradient accumulation: micro-batches per process and optimizer step, to save memory."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        for name in ("size", "shards", "accumulation"):
            _need(getattr(self, name) >= 1, f"batch.{name} >= 1", getattr(self, name))
        _need(self.size % self.shards == 0, f"batch.shards to divide batch.size, {self.size}", self.shards)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, learning rate schedule and gradient clipping."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    """Optimizer."""
    lr: float = 2e-3
    """Learning rate after warmup."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate schedule after warmup; cosine reaches 0 after the last step."""
    betas: tuple[float, float] = (0.9, 0.99)
    """For adam and adamw: decay rates of the moment estimates."""
    eps: float = 1e-8
    """For adam and adamw: term added to the denominator."""
    weight_decay: float = 0.01
    """For adamw: weight decay."""
    max_grad_norm: float = 1.0
    """Gradient clipping: largest norm of the gradient of all parameters; inf for no clipping."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        # Products of larger ones overflow in float32.
        _need(0.0 < self.lr <= 1e12, "optimizer.lr in (0, 1e12]", self.lr)
        _need(self.warmup >= 0, "optimizer.warmup >= 0", self.warmup)
        _need(all(0.0 <= beta < 1.0 for beta in self.betas), "optimizer.betas in [0, 1)", self.betas)
        _need(0.0 < self.eps <= 1e12, "optimizer.eps in (0, 1e12]", self.eps)
        _need(0.0 <= self.weight_decay <= 1e12, "optimizer.weight_decay in [0, 1e12]", self.weight_decay)
        _need(self.max_grad_norm > 0.0, "optimizer.max_grad_norm > 0 (inf for no clipping)", self.max_grad_norm)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EMAConfig:
    """Exponential moving average (EMA) of the weights."""

    decay: float = 0.999
    """Fraction of the average kept per step, after warmup."""
    warmup: bool = True
    """Use min(decay, (1 + k)/(10 + k)) at step k, so that the initial weights are forgotten soon."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        _need(0.0 <= self.decay < 1.0, "ema.decay in [0, 1)", self.decay)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorConfig:
    """Logging, sample pictures, evaluation and checkpoints. No setting here changes the trained weights.

    Intervals (..._every) are in optimizer steps; 0 disables.
    """

    log_every: int = 100
    """Interval of metrics."""
    buckets: int = 8
    """Number of equal parts of time whose losses are logged separately."""
    picture_every: int = 1000
    """Interval of sample pictures, drawn with the EMA weights."""
    picture_samples: int = 64
    """Number of samples in a picture."""
    eval_every: int = 1000
    """Interval of evaluations: Frechet distance of samples to held-out examples; also after the last step."""
    eval_samples: int = 500
    """Number of samples per evaluation."""
    patience: int = 0
    """Early stopping: number of evaluations without improvement after which training ends; 0 disables."""
    save_every: int = 500
    """Interval of checkpoints; the last step is always saved."""
    keep: int = 2
    """Number of newest checkpoints kept."""
    on_findings: Literal["stop", "warn"] = "stop"
    """If the checks before the first step find a likely mistake: stop, or warn and train."""
    sampler: Rule = "ddim"
    """Sampler of pictures and evaluations."""
    sampling_steps: int = 50
    """Number of sampling steps."""
    guidance: float = 1.0
    """With labels: guidance of pictures and evaluations; 1 samples the conditional distribution."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        for name in ("log_every", "picture_every", "eval_every", "patience", "save_every"):
            _need(getattr(self, name) >= 0, f"monitor.{name} >= 0", getattr(self, name))
        for name in ("buckets", "picture_samples", "keep", "sampling_steps"):
            _need(getattr(self, name) >= 1, f"monitor.{name} >= 1", getattr(self, name))
        _need(self.buckets <= 10_000, "monitor.buckets in 1..10,000", self.buckets)
        _need(self.sampling_steps <= 100_000, "monitor.sampling_steps in 1..100,000", self.sampling_steps)
        _need(self.eval_samples >= 2, "monitor.eval_samples >= 2", self.eval_samples)
        need = "monitor.eval_every > 0, as monitor.patience counts evaluations"
        _need(not self.patience or self.eval_every > 0, need, self.eval_every)
        _need(-inf < self.guidance < inf, "a finite monitor.guidance", self.guidance)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Device, precision and compilation."""

    device: str = "auto"
    """cpu, cuda, ...; auto uses cuda if available, else cpu."""
    precision: Precision = "float32"
    """bfloat16 uses autocast: weights, EMA and loss stay float32."""
    compile: bool = False
    """Compile the network with torch.compile."""
    channels_last: bool = False
    """Use the channels-last memory format for images; not supported on CPU."""
    timeout: float = 600.0
    """With several processes: longest wait for another one, in seconds; rank 0 may evaluate for as long."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        # torch counts milliseconds in 32 bits.
        _need(0.0 < self.timeout <= 2_000_000.0, "runtime.timeout in (0, 2,000,000]", self.timeout)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a training run."""

    data: str = "digits"
    """Training data: digits, fashion-mnist, a folder of images, or a file (.npy, .npz, IDX, IDX with .gz)."""
    steps: int = 2000
    """Number of optimizer steps."""
    seed: int = 0
    """Random seed of initial weights, order of examples, times and noise."""
    network: Architecture = field(default_factory=Architecture)
    """Size of the U-Net, for images."""
    mlp: Layers = field(default_factory=Layers)
    """Size of the multilayer perceptron, for examples that are not images."""
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    times: TimesConfig = field(default_factory=TimesConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values, and for tables that do not fit each other."""
        _need(self.steps >= 1, "steps >= 1", self.steps)
        _need(0 <= self.seed < 2**32, "a seed in 0..2^32-1", self.seed)
        # Larger ones take minutes to be built, before their memory is known.
        layers = self.network.blocks * len(self.network.multipliers)
        _need(layers <= 1000, "network.blocks times levels of at most 1,000", layers)
        _need(self.mlp.depth <= 1000, "mlp.depth of at most 1,000", self.mlp.depth)
        uses = self.steps * self.batch.shards
        _need(uses <= USES, "steps times batch.shards of at most 2^29", uses)
        need = "objective.prediction v or x_0 with process.zero_terminal_snr, as sampling starts where alpha is 0"
        prediction, terminal = self.objective.prediction, self.process.zero_terminal_snr
        _need(not terminal or prediction in ("v", "x_0"), need, prediction)
        guidance, condition = self.monitor.guidance, self.condition
        _need(guidance == 1.0 or condition.labels, "monitor.guidance 1 without condition.labels", guidance)
        need = "monitor.guidance 1 with condition.dropout 0, which does not train the null label"
        _need(guidance == 1.0 or condition.dropout > 0.0, need, guidance)


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {got} (TRN-8)")
