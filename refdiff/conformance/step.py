"""One kind of sampling step (chapter 10): what a claim lists in `steps`, and the last argument of a target's `step`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from refdiff.errors import ConfigError

Parameterization: TypeAlias = Literal["eps", "x_0", "v", "score"]
Rule: TypeAlias = Literal["em", "ddpm", "ddim", "ode"]
Variance: TypeAlias = Literal["posterior", "beta"]


@final
@dataclass(frozen=True, kw_only=True)
class Step:
    """A sampling rule, the prediction that it is given, and the noise that it adds.

    Example:
        >>> from refdiff.conformance import Step
        >>> str(Step(kind="ddim", prediction="v", eta=0.5))
        'ddim of v with eta 0.5'
    """

    kind: Rule
    """The rule: SMP-1 (em), SMP-2 (ddpm), SMP-3 (ddim) or SMP-4 (ode)."""
    prediction: Parameterization = "eps"
    """What the value passed to `step` predicts."""
    variance: Variance = "posterior"
    """Variance of the noise of ddpm: of the posterior ("fixed small"), or of the transition ("fixed large", beta_k)."""
    eta: float = 0.0
    """Fraction of the posterior's standard deviation that ddim adds, in [0, 1]."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown name, and for a variance or an eta of a rule that has none."""
        for name, kinds in (("kind", Rule), ("prediction", Parameterization), ("variance", Variance)):
            if (value := getattr(self, name)) not in get_args(kinds):
                raise ConfigError(
                    f"expected {name} of a step as one of {', '.join(get_args(kinds))}, got {value!r} (CON-1)"
                )
        object.__setattr__(self, "eta", float(self.eta))
        if not 0.0 <= self.eta <= 1.0:
            raise ConfigError(f"expected eta of a step in [0, 1], got {self.eta} (CON-1)")
        if self.variance != "posterior" and self.kind != "ddpm":
            raise ConfigError(
                f"expected a variance other than 'posterior' for ddpm only, got it for {self.kind} (CON-1)"
            )
        if self.eta > 0.0 and self.kind != "ddim":
            raise ConfigError(f"expected an eta above 0 for ddim only, got it for {self.kind} (CON-1)")

    def __str__(self) -> str:
        """Name the step, as reports do; defaults are left out."""
        of = "" if self.prediction == "eps" else f" of {self.prediction}"
        variance = "" if self.variance == "posterior" else f" with variance {self.variance}"
        return f"{self.kind}{of}{variance}" + (f" with eta {self.eta:g}" if self.eta else "")


STEPS: tuple[Step, ...] = tuple(Step(kind=kind) for kind in get_args(Rule))
"""The steps of contract version 1: each rule, given eps."""
