"""What a check found: statuses, the worst comparison, and how both travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, isnan
from typing import Any, Literal, TypeAlias, final

Status: TypeAlias = Literal["pass", "fail", "unsupported", "not_claimed", "not_run"]
Number: TypeAlias = float | str
"""JSON has no infinity and no NaN: these three travel as "inf", "-inf" and "nan"."""


def number(value: float) -> Number:
    """Return what stands for a float in JSON."""
    return value if isfinite(value) else str(value)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The comparison that came closest to its bound, or went furthest beyond it."""

    quantity: str
    """What was compared, in the names of chapter 0."""
    process: str
    """Of which process."""
    at: Mapping[str, float]
    """Where: t, or s and t, or k; and the inputs where there are such."""
    got: float
    want: float
    error: float
    bound: float
    """The largest error that the clause allows here."""
    ulps: float
    """The error in ulp of the exact value, in the target's format."""
    beyond: int = 0
    """How many of the numbers compared with this one were beyond their bounds."""
    of: int = 1
    """How many were compared."""
    span: tuple[float, float] = (0.0, 0.0)
    """The first and the last time, or index, at which one was beyond its bound."""
    reproducer: str = ""
    """Python that repeats the call."""

    @property
    def ratio(self) -> float:
        """Return error over bound; above 1 is a violation, and so is a NaN."""
        if isnan(self.error) or isnan(self.bound):
            return inf
        if self.error <= self.bound:
            return self.error / self.bound if 0.0 < self.bound < inf else 0.0
        return self.error / self.bound if self.bound > 0.0 else inf

    def sentence(self) -> str:
        """Say it in one line."""
        where = ", ".join(f"{name}={value:.9g}" for name, value in self.at.items())
        more = ""
        if self.beyond > 1:
            name = next(iter(self.at), "t")
            first, last = self.span
            more = f"; {self.beyond} of {self.of} beyond their bounds, {name} from {first:.4g} to {last:.4g}"
        return (
            f"{self.quantity} at {where} of {self.process}: got {self.got:.9g}, want {self.want:.9g}, "
            f"off by {self.error:.3g} (bound {self.bound:.3g}, {self.ulps:.3g} ulp){more}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        numbers = {name: number(getattr(self, name)) for name in ("got", "want", "error", "bound", "ulps", "ratio")}
        at = {name: number(value) for name, value in self.at.items()}
        return {
            "quantity": self.quantity,
            "process": self.process,
            "at": at,
            **numbers,
            "beyond": self.beyond,
            "of": self.of,
            "span": [number(x) for x in self.span],
            "reproducer": self.reproducer,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Worst:
        """Return what `as_json` came from."""
        floats = {name: float(data[name]) for name in ("got", "want", "error", "bound", "ulps")}
        at = {name: float(value) for name, value in data["at"].items()}
        low, high = map(float, data["span"])
        return Worst(
            quantity=data["quantity"],
            process=data["process"],
            at=at,
            beyond=data["beyond"],
            of=data["of"],
            span=(low, high),
            reproducer=data["reproducer"],
            **floats,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check found about one clause."""

    clause: str
    check: str
    """Name of the check."""
    status: Status
    reason: str = ""
    """One line: why it failed, or was not judged."""
    worst: Worst | None = None
    reproducer: str = ""
    """Python that repeats the call that broke a rule of the contract, if one did."""
    skipped: tuple[str, ...] = field(default=())
    """Processes that the target did not serve, each with its reason."""

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return {**asdict(self), "skipped": list(self.skipped), "worst": self.worst.as_json() if self.worst else None}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Outcome:
        """Return what `as_json` came from."""
        worst = Worst.from_json(data["worst"]) if data["worst"] else None
        return Outcome(**{**data, "worst": worst, "skipped": tuple(data["skipped"])})
