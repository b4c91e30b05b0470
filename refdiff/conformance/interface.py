"""The contract between the suite and what it judges (spec chapter 12).

Arrays cross as NumPy in the target's declared dtype, read-only, so that any framework can be a
target; the suite sends only values that the dtype represents. Noise and time are inputs.

    def target() -> Target: ...            named on the command line as package.module:target

What `build(process)` returns has the methods of the capabilities that the claim names:

| capability | method |
|---|---|
| schedule  | `coefficients(t)` -> mapping of the names in `Quantity` that the library has, each shaped as t |
| perturb   | `perturb(x_0, eps, t)` -> x_t |
| sde       | `drift(x, t)`, `diffusion(t)` |
| convert   | `convert(value, x_t, t, source, to)` -> value; source and to are of `Parameterization` |
| loss      | `loss(denoiser, prediction, x_0, eps, t, weight)` -> as `reduction` says; weight is one of `weights` |
| times     | `times(n, seed)` -> (t, weight), both (n,); `density(t)` -> shaped as t, if the claim declares one |
| step      | `step(x_t, value, t, s, noise, rule)` -> x_s; rule is a `Step` of the claim's `steps` |
| posterior | `posterior(x_t, x_0, t, s)` -> (mean, variance); variance is shaped as t |
| ema       | `ema(decay, history)` -> averages, shaped as history (steps, p); `decays(decay, n)` -> (n,), if declared |
| guide     | `guide(conditional, unconditional, scale)` -> the guided prediction; scale 1 is the conditional one |
| fit       | `fit(data, seed, seconds)` -> denoiser |
| grid      | `grid(n)` -> times of a sampling run of n steps, (n + 1,), falling |
| sample    | `sample(denoiser, x, times, seed, sampler)` -> x at the last of the times, (n + 1,), falling |

Data is (batch, *event); t and s are (batch,): floats in [0, 1], or for a `Chain`, and `Own` with steps, int64 k in 1..N
(s may be 0). A method that cannot serve one process, one pair of parameterisations, one weighting or one rule,
raises `Unsupported`. Arguments are passed by position. A claim may narrow the predictions, the times, the shapes of
events and the law of the times that are drawn: the suite keeps to what is claimed.

`denoiser(x_t, t)` maps arrays of the claimed dtype, (batch, *event) and (batch,), to a prediction shaped as x_t; `loss`
calls it once. Weights and what they multiply: the table of spec chapter 5. A weight is a string, or `MinSNR(gamma)` if
the claim lists one; the string min_snr has gamma = 5.

In a claim of contract version 1, `step` takes (x_t, eps_hat, t, s, noise, rule), and rule is a name of `Rule`.

`history` holds the weights after each step. Row k of the averages is the average after row k, row 0 is row 0, and the
decay is constant unless the claim has a `warm_up`. `fit` trains on data (n, *event), of the claimed dtype and used as
it is, for about so many seconds, and returns a denoiser that predicts eps, as `loss` has it, at any t of the process;
thirty times as long is no hang yet.

`sample` is given the name of one of the claim's `samplers`, a denoiser of its prediction, and x at the first of the
times, (batch, *event). One that is not stochastic ignores the seed.

A library that has averages, a sampler of times or guidance, and no noise process, claims `NoProcess()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, Protocol, TypeAlias, final, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from refdiff.conformance.averaging import Equal, Power, Ratio, WarmUp
from refdiff.conformance.predictions import Conversion, checked_conversions, checked_predictions
from refdiff.conformance.runs import Grid as Grid
from refdiff.conformance.runs import Sampler as Sampler
from refdiff.conformance.runs import checked_samplers
from refdiff.conformance.step import STEPS, Step
from refdiff.conformance.step import Parameterization as Parameterization
from refdiff.conformance.step import Rule as Rule
from refdiff.conformance.weightings import FIRST, Weights, checked_weights
from refdiff.conformance.weightings import MinSNR as MinSNR
from refdiff.conformance.weightings import Weight as Weight
from refdiff.conformance.weightings import Weighting as Weighting
from refdiff.errors import ConfigError, RefdiffError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Times: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.int64]
Capability: TypeAlias = Literal[
    "schedule",
    "perturb",
    "sde",
    "convert",
    "loss",
    "times",
    "step",
    "posterior",
    "ema",
    "fit",
    "grid",
    "sample",
    "guide",
]
Quantity: TypeAlias = Literal["alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr", "beta"]
DType: TypeAlias = Literal["float16", "bfloat16", "float32", "float64"]
Reduction: TypeAlias = Literal["none", "example_mean", "batch_mean", "all_mean"]
"""none: sums over the event, (batch,), or squares, (batch, *event); example_mean: means over the event, (batch,);
batch_mean: mean of the sums; all_mean: of all."""
Denoiser: TypeAlias = Callable[[Array, Times], Array]

METHODS: Mapping[Capability, tuple[str, ...]] = {
    "schedule": ("coefficients",),
    "perturb": ("perturb",),
    "sde": ("drift", "diffusion"),
    "convert": ("convert",),
    "loss": ("loss",),
    "times": ("times",),
    "step": ("step",),
    "posterior": ("posterior",),
    "ema": ("ema",),
    "fit": ("fit",),
    "grid": ("grid",),
    "sample": ("sample",),
    "guide": ("guide",),
}
"""Methods that each capability requires of the object that `build` returns."""
BARE: frozenset[Capability] = frozenset({"times", "ema", "guide"})
"""Capabilities that need no noise process."""


@final
class Unsupported(RefdiffError):
    """Raised by a target for a call that it does not support, with the reason. The report counts and shows it."""


@final
@dataclass(frozen=True, kw_only=True)
class Linear:
    """The linear schedule (SCH-2)."""

    beta_min: float
    """Noise rate at t = 0, per unit of time."""
    beta_max: float
    """Noise rate at t = 1, per unit of time."""

    def __post_init__(self) -> None:
        """Convert the numbers to binary64. Raises ConfigError for rates outside SCH-2."""
        object.__setattr__(self, "beta_min", float(self.beta_min))
        object.__setattr__(self, "beta_max", float(self.beta_max))
        if not (0.0 <= self.beta_min <= self.beta_max < inf and self.beta_max > 0.0):
            raise ConfigError(f"expected 0 <= beta_min <= beta_max, finite, and beta_max > 0, got {self} (SCH-2)")


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """The cosine schedule, uncapped (SCH-4)."""

    s: float
    """Offset, in units of time."""

    def __post_init__(self) -> None:
        """Convert the number to binary64. Raises ConfigError for an offset outside SCH-4."""
        object.__setattr__(self, "s", float(self.s))
        if not 0.0 <= self.s < inf:
            raise ConfigError(f"expected 0 <= s, finite, got {self} (SCH-4)")


@final
@dataclass(frozen=True, kw_only=True)
class Chain:
    """A discrete chain (DIS-1): time is k in 1..N, int64."""

    betas: tuple[float, ...]
    """Per-step variances, k = 1..N, in (0, 1); the last of several may be 1, and then alpha_bar_N = 0 (DIS-6)."""

    def __post_init__(self) -> None:
        """Convert the numbers to a tuple of binary64. Raises ConfigError for betas outside DIS-1."""
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        noisy = self.betas[:-1] if len(self.betas) > 1 and self.betas[-1] == 1.0 else self.betas
        wrong = [f"beta_{k} = {beta}" for k, beta in enumerate(noisy, start=1) if not 0.0 < beta < 1.0]
        if wrong or not self.betas:
            need = "at least one beta, all in (0, 1), but the last of several, which may be 1"
            raise ConfigError(f"expected {need}, got {wrong[0] if wrong else 'none'} (DIS-1)")

    @property
    def last_signal(self) -> int:
        """The last index at which alpha_bar is above 0: N, or N - 1 if the last beta is 1."""
        return len(self.betas) - (self.betas[-1] == 1.0)

    @staticmethod
    def linear(steps: int, *, beta_start: float, beta_end: float) -> Chain:
        """Return the chain of DDPM: betas at equal distances, from that of the first step to that of the last."""
        return Chain(betas=tuple(np.linspace(beta_start, beta_end, steps).tolist()))

    def __repr__(self) -> str:
        """Abbreviate a long chain to its ends, for reports."""
        if len(self.betas) <= 4:
            return f"Chain(betas={self.betas})"
        return f"Chain(N={len(self.betas)}, betas={self.betas[0]:.6g}..{self.betas[-1]:.6g})"


@final
@dataclass(frozen=True, kw_only=True)
class Own:
    """A process with the library's own constants, judged by identities only, as its exact values are unknown."""

    label: str
    """Name in the report."""
    sigma_min: float = 0.0
    """Standard deviation of the noise at t = 0; above 0 if x_t at t = 0 is not the data."""
    steps: int = 0
    """Number N of steps of a chain, whose time is int64 k in 1..N; 0: time is continuous, in [0, 1]."""

    def __post_init__(self) -> None:
        """Raise ConfigError unless 0 <= sigma_min < 1, and steps >= 0; a chain starts at the data."""
        object.__setattr__(self, "sigma_min", float(self.sigma_min))
        if not 0.0 <= self.sigma_min < 1.0:
            raise ConfigError(f"expected 0 <= sigma_min < 1, got {self.sigma_min} (CON-1)")
        if type(self.steps) is not int or self.steps < 0:
            raise ConfigError(f"expected steps as a whole number from 0, got {self.steps!r} (CON-1)")
        if self.steps and self.sigma_min:
            raise ConfigError(f"expected sigma_min = 0 of a chain, got {self.sigma_min} (CON-1)")

    def __repr__(self) -> str:
        """Name the steps of a chain only."""
        steps = f", steps={self.steps}" if self.steps else ""
        return f"Own(label={self.label!r}, sigma_min={self.sigma_min}{steps})"


@final
@dataclass(frozen=True, kw_only=True)
class NoProcess:
    """No noise process: only averages, times in [0, 1] and guidance are asked of what is built for it."""


Process: TypeAlias = Linear | Cosine | Chain | Own | NoProcess


def steps_of(process: Process) -> int:
    """Return the number of steps of a process whose times are indices, or 0."""
    if isinstance(process, Chain):
        return len(process.betas)
    return process.steps if isinstance(process, Own) else 0


def kind_of(process: Process) -> str:
    """Return the name of the kind of a process; a chain of the library's own is an OwnChain."""
    return "OwnChain" if isinstance(process, Own) and process.steps else type(process).__name__


@final
@dataclass(frozen=True, kw_only=True)
class Draws:
    """Range and density of the times that `times` draws, and the meaning of their weights (chapter 6)."""

    t_min: float | None = None
    """Smallest time drawn; by default the claim's t_min. A chain draws 1..N."""
    t_max: float | None = None
    """Upper end of the range; by default the claim's t_max."""
    density: Literal["uniform", "declared"] = "uniform"
    """declared: the built object has `density(t)`, the density of the times up to a constant factor."""
    weights: Literal["undo", "free"] = "undo"
    """undo: a weight is the reciprocal of the density of its time, so that weighted means are means over the range;
    free: the density is part of the objective, and weights are unrelated to it."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid range, density or weights."""
        low, high = (end if end is None else float(end) for end in (self.t_min, self.t_max))
        object.__setattr__(self, "t_min", low)
        object.__setattr__(self, "t_max", high)
        if not 0.0 <= (low or 0.0) < (1.0 if high is None else high) <= 1.0:
            raise ConfigError(f"expected 0 <= t_min < t_max <= 1, got {self} (CON-1)")
        if self.density not in ("uniform", "declared"):
            raise ConfigError(f"expected a density of 'uniform' or 'declared', got {self.density!r} (CON-1)")
        if self.weights not in ("undo", "free"):
            raise ConfigError(f"expected weights that are 'undo' or 'free', got {self.weights!r} (CON-1)")


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """Description of a target: its processes, capabilities, dtype. Raises ConfigError if it is invalid."""

    name: str
    """Name of the target in the report."""
    version: str
    """Version of the library under test."""
    dtype: DType
    """Dtype of all arrays passed and returned; bfloat16 is passed as float32."""
    processes: tuple[Process | type[Process], ...]
    """Processes, as instances or types; a type claims all of its instances."""
    capabilities: frozenset[Capability]
    """Capabilities of the objects that `build` returns."""
    reduction: Reduction = "none"
    """Reduction of `loss`."""
    weights: Weights = FIRST
    """Weights that `loss` is called with; the type `MinSNR` stands for any gamma."""
    predictions: tuple[Parameterization, ...] | None = None
    """Predictions that `loss` is asked for; None: all. They say too what `convert` is asked for, unless
    `conversions` does: from each of them to the others, x_0 and eps. Steps and samplers name their own."""
    conversions: tuple[Conversion, ...] | None = None
    """Pairs (source, to) that `convert` is asked for; None: those of `predictions`."""
    loss_factor: float = 1.0
    """Constant by which the library multiplies every loss, such as 1/2."""
    t_min: float = 0.0
    """Smallest time that the target supports; a chain supports every k."""
    t_max: float = 1.0
    """Largest time that the target supports."""
    events: tuple[tuple[int, ...], ...] | None = None
    """Shapes of one example that the target supports, such as ((3, 8, 8),); None: any shape of any rank."""
    draws: Draws = Draws()
    """Distribution of the times that `times` draws."""
    grid: Grid = field(default_factory=Grid)
    """Range of the times that `grid` returns."""
    samplers: tuple[Sampler, ...] = ()
    """Samplers that `sample` runs."""
    warm_up: WarmUp | None = None
    """Rule of the decays of `ema`; declared: the built object has `decays(decay, n)`; None: the decay is constant."""
    refusals: tuple[type[Exception], ...] = (NotImplementedError,)
    """Exceptions by which the library itself refuses a call; `Unsupported` may be raised from these only."""
    contract: int = 1
    """Version of the contract, 1 or 2: what `step` takes."""
    steps: tuple[Step, ...] = STEPS
    """Steps that the target serves; with contract=2, each of them on at least one process."""

    def __post_init__(self) -> None:
        """Raise ConfigError for names outside the contract."""
        object.__setattr__(self, "name", " ".join(str(self.name).split()))
        object.__setattr__(self, "version", " ".join(str(self.version).split()))
        object.__setattr__(self, "processes", tuple(NoProcess() if p is NoProcess else p for p in self.processes))
        object.__setattr__(self, "capabilities", frozenset(self.capabilities))
        if self.dtype not in get_args(DType):
            raise ConfigError(f"expected dtype as one of {', '.join(get_args(DType))}, got {self.dtype!r} (CON-1)")
        if unknown := sorted(map(str, set(self.capabilities) - set(METHODS))):
            raise ConfigError(f"expected capabilities among {', '.join(METHODS)}, got {', '.join(unknown)} (CON-1)")
        if not self.processes:
            raise ConfigError("expected at least one process in the claim, got none (CON-1)")
        kinds = get_args(Process)
        for process in self.processes:
            if process not in (Linear, Cosine, Chain) and not isinstance(process, kinds):
                raise ConfigError(
                    f"expected processes of type Linear, Cosine, Chain, Own or NoProcess, got {process!r} (CON-1)"
                )
        bare = all(isinstance(process, NoProcess) for process in self.processes)
        if bare and (more := sorted(self.capabilities - BARE)):
            raise ConfigError(
                f"expected no capability but {', '.join(sorted(BARE))} without a process, got {more[0]} (CON-1)"
            )
        if self.reduction not in get_args(Reduction):
            raise ConfigError(
                f"expected reduction as one of {', '.join(get_args(Reduction))}, got {self.reduction!r} (CON-1)"
            )
        object.__setattr__(self, "weights", checked_weights(self.weights))
        object.__setattr__(self, "predictions", checked_predictions(self.predictions))
        object.__setattr__(self, "conversions", checked_conversions(self.conversions))
        object.__setattr__(self, "loss_factor", float(self.loss_factor))
        if not 0.0 < self.loss_factor < inf:
            raise ConfigError(f"expected loss_factor in (0, inf), got {self.loss_factor} (CON-1)")
        self._narrowing()
        self._stepping()

    def _stepping(self) -> None:
        """Check the version of the contract and the steps."""
        if type(self.contract) is not int or self.contract not in (1, 2):
            raise ConfigError(f"expected contract as 1 or 2, got {self.contract!r} (CON-1)")
        object.__setattr__(self, "steps", tuple(self.steps))
        kinds: tuple[object, ...] = self.steps
        if not kinds or not all(isinstance(step, Step) for step in kinds) or len(set(kinds)) < len(kinds):
            raise ConfigError(f"expected steps as different objects of type Step, got {self.steps!r} (CON-1)")
        if self.contract == 1 and self.steps != STEPS:
            raise ConfigError("expected contract=2 in a claim that lists steps, got contract=1 (CON-1)")

    def _narrowing(self) -> None:
        """Check the fields that narrow the claim: times, events, draws and refusals."""
        object.__setattr__(self, "t_min", float(self.t_min))
        object.__setattr__(self, "t_max", float(self.t_max))
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise ConfigError(f"expected 0 <= t_min < t_max <= 1, got t_min={self.t_min}, t_max={self.t_max} (CON-1)")
        if not isinstance(self.draws, Draws):
            raise ConfigError(f"expected draws to be a Draws, got {self.draws!r} (CON-1)")
        if not isinstance(self.grid, Grid):
            raise ConfigError(f"expected grid to be a Grid, got {self.grid!r} (CON-1)")
        object.__setattr__(self, "samplers", checked_samplers(self.samplers, self.capabilities))
        if not (self.warm_up in (None, "declared") or isinstance(self.warm_up, (Ratio, Power, Equal))):
            raise ConfigError(f"expected warm_up as Ratio, Power, Equal or 'declared', got {self.warm_up!r} (CON-1)")
        if self.events is not None:
            events = tuple(tuple(int(size) for size in event) for event in self.events)
            object.__setattr__(self, "events", events)
            if not events or any(size < 1 for event in events for size in event):
                raise ConfigError(f"expected shapes of events, sizes from 1, got {self.events!r} (CON-1)")
        object.__setattr__(self, "refusals", tuple(self.refusals))
        kinds: tuple[object, ...] = self.refusals
        if wrong := [kind for kind in kinds if not (isinstance(kind, type) and issubclass(kind, Exception))]:
            raise ConfigError(f"expected refusals to be exception types, got {wrong[0]!r} (CON-1)")


@runtime_checkable
class Target(Protocol):
    """Interface of the object that the suite judges."""

    @property
    def claim(self) -> Claim:
        """The claim; an attribute or a property."""

    def build(self, process: Process, /) -> object:
        """Return an object with the methods of the claimed capabilities. May raise Unsupported."""
