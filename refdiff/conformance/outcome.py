"""Outcome of a check: a status for each process and the worst comparison, with their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite, isinf, isnan
from typing import Any, Literal, TypeAlias, final

from refdiff.conformance.portable import number
from refdiff.conformance.series import Series

Status: TypeAlias = Literal["pass", "fail", "suite_error", "unsupported", "not_claimed", "not_run"]
"""suite_error: the suite itself failed, which says nothing of the target."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The comparison that came closest to its bound, or went furthest beyond it."""

    quantity: str
    """Quantity compared, by its name in chapter 0."""
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
        return f"{self.quantity} at {where} of {self.process}: {self._compared()}{more}"

    def _compared(self) -> str:
        """Say what came and what was expected; an error in ulp of 0, or of no number, would say nothing."""
        if isnan(self.got):
            return "got nan, expected a number" if isnan(self.want) else f"got nan, expected {self.want:.9g}"
        if isnan(self.want) or isnan(self.bound):
            return f"got {self.got:.9g}, which is outside what is allowed"
        if isinf(self.error):
            return f"got {self.got:.9g}, expected {self.want:.9g} (bound {self.bound:.3g})"
        ulps = f", {self.ulps:.3g} ulp" if self.want != 0.0 and isfinite(self.ulps) else ""
        off = f"off by {self.error:.3g} (bound {self.bound:.3g}{ulps})"
        return f"got {self.got:.9g}, expected {self.want:.9g}, {off}"

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        numbers = {name: number(getattr(self, name)) for name in ("got", "error", "bound", "ulps", "ratio")}
        at = {name: number(value) for name, value in self.at.items()}
        return {
            "quantity": self.quantity,
            "process": self.process,
            "at": at,
            "expected": number(self.want),
            **numbers,
            "beyond": self.beyond,
            "of": self.of,
            "span": [number(x) for x in self.span],
            "reproducer": self.reproducer,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Worst:
        """Return what `as_json` came from."""
        floats = {name: float(data[name]) for name in ("got", "error", "bound", "ulps")}
        at = {name: float(value) for name, value in data["at"].items()}
        low, high = map(float, data["span"])
        return Worst(
            quantity=data["quantity"],
            process=data["process"],
            at=at,
            want=float(data["expected"]),
            beyond=data["beyond"],
            of=data["of"],
            span=(low, high),
            reproducer=data["reproducer"],
            **floats,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of one check on one process."""

    process: str
    """As the report prints it."""
    status: Status
    failures: tuple[str, ...] = ()
    """One line each, the worst comparison last."""
    refusals: tuple[str, ...] = ()
    """Calls that the target did not serve, and parts that the clause does not speak about, one line each."""
    traceback: str = ""
    """Of the suite's own failure."""
    broken: tuple[str, ...] = ()
    """Clauses of the contract that were broken, one for each failure that is no comparison."""
    methods: tuple[str, ...] = ()
    """The methods whose calls broke them, one for each."""
    unclaimed: tuple[str, ...] = ()
    """What the claim lacks for a part of the clause, one line each; the part that is claimed is judged whole."""

    @property
    def in_part(self) -> bool:
        """Say whether the process was judged, but for calls that the target refused."""
        return self.status in ("pass", "fail") and bool(self.refusals)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Result:
        """Return what `asdict` made of one."""
        # A report of an older version lacks the last.
        lists = ("failures", "refusals", "broken", "methods", "unclaimed")
        return Result(**{**data, **{name: tuple(data.get(name, ())) for name in lists}})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of one check of one clause."""

    clause: str
    check: str
    """Name of the check."""
    status: Status
    reason: str = ""
    """One line: why it failed, or was not judged."""
    worst: Worst | None = None
    reproducer: str = ""
    """Python that repeats the call that broke a rule of the contract, if one did."""
    results: tuple[Result, ...] = ()
    """One for each process that the check ran on, or that could not be built."""
    calls: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By method: how many calls the target served, and how many it refused."""
    by_way: bool = False
    """Whether it is a rule of the contract, broken on the way of a check of another clause."""
    series: tuple[Series, ...] = ()
    """Points that report.html draws."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Return what the target did not serve, one line each."""
        return tuple(f"{result.process}: {line}" for result in self.results for line in result.refusals)

    @property
    def in_part(self) -> bool:
        """Say whether something was judged, and something left out because the target refused it."""
        judged = [result for result in self.results if result.status in ("pass", "fail")]
        return bool(judged) and any(r.in_part or r.status == "unsupported" for r in self.results)

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return {
            **asdict(replace(self, series=())),
            "worst": self.worst.as_json() if self.worst else None,
            "results": [asdict(result) for result in self.results],
            "calls": {method: list(counts) for method, counts in self.calls.items()},
            "series": [series.as_json() for series in self.series],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Outcome:
        """Return what `as_json` came from."""
        more = {
            "worst": Worst.from_json(data["worst"]) if data["worst"] else None,
            "results": tuple(map(Result.from_json, data["results"])),
            "calls": {method: (served, refused) for method, (served, refused) in data["calls"].items()},
            "series": tuple(map(Series.from_json, data.get("series", ()))),
        }
        return Outcome(**{**data, **more})
