"""Order of failures: which clause a failure may follow from, by the quantities that its checks use.

Most code computes alpha and sigma once and uses them everywhere, so one fault fails many clauses. A failure stays a
failure whatever it may follow from; this only says where to look first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, final

from refdiff.conformance.clauses import Clause
from refdiff.conformance.loss_roots import Losses
from refdiff.conformance.outcome import Result

STATED: Mapping[str, tuple[str, ...]] = {
    "the shape of a batch": ("NOT-2",),
    "beta": ("SCH-2", "SCH-5"),
    "alpha_bar": ("SCH-3", "SCH-4", "DIS-1"),
    "alpha_bar to the last digits": ("SCH-9", "DIS-2"),
    "alpha": ("MAR-1", "DIS-1", "MAR-10", "DIS-2"),
    "sigma": ("MAR-2", "DIS-1", "MAR-10", "DIS-2"),
    "x_t": ("MAR-4", "MAR-11"),
    "the posterior": ("MAR-7",),
    "the drift": ("SDE-1",),
    "the diffusion": ("SDE-2",),
    "x_0 of eps": ("PAR-1",),
    "eps of x_0": ("PAR-2",),
    "v": ("PAR-3",),
    "the score": ("PAR-4",),
    "the reduction": ("LOS-2",),
    "the loss": ("LOS-1",),
    "the times": ("TIM-1",),
    "the average": ("TRN-1",),
    "the trained denoiser": ("TRN-4",),
    "the ddpm step": ("SMP-2",),
    "the ddim step": ("SMP-3",),
}
"""By quantity: the clauses that compare it with its value."""

_SCALES = ("alpha", "sigma")
_CONVERSIONS = ("x_0 of eps", "eps of x_0", "v", "the score")
_LOSS = ("the reduction", "the loss")
_STEPS = ("the ddpm step", "the ddim step")
USED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("SCH-1", "SCH-6", "SCH-7", "MAR-1", "MAR-2"), ("alpha_bar",)),
    "SCH-3": ("beta",),
    "SCH-8": ("alpha_bar", *_SCALES),
    "SCH-9": ("beta", "alpha_bar"),
    "DIS-2": ("alpha_bar",),
    "MAR-3": _SCALES,
    "MAR-4": _SCALES,
    "MAR-5": ("the shape of a batch", "x_t"),
    "MAR-6": (*_SCALES, "x_t"),
    "MAR-7": _SCALES,
    "MAR-8": (*_SCALES, "the posterior"),
    "MAR-10": ("alpha_bar", "alpha_bar to the last digits", *_SCALES),
    "MAR-11": (*_SCALES, "x_t"),
    "DIS-4": ("alpha_bar", "the posterior"),
    **dict.fromkeys(("SDE-1", "SDE-2"), ("beta",)),
    "SDE-3": ("the drift", "the diffusion"),
    "SDE-4": ("alpha_bar", "the diffusion"),
    **dict.fromkeys(("PAR-1", "PAR-2", "PAR-3", "PAR-4"), _SCALES),
    **dict.fromkeys(("PAR-5", "PAR-6", "PAR-7", "PAR-8"), (*_SCALES, *_CONVERSIONS)),
    "LOS-1": (*_SCALES, "x_t", "v", "the score"),
    "LOS-2": (*_SCALES, "x_t", "v", "the score"),
    **dict.fromkeys(("LOS-3", "LOS-5", "LOS-7", "LOS-8", "LOS-9", "LOS-16", "LOS-17"), (*_SCALES, *_LOSS)),
    "LOS-4": ("the shape of a batch", *_LOSS),
    "LOS-6": _LOSS,
    "LOS-10": ("beta", "sigma", *_LOSS),
    **dict.fromkeys(("TIM-2", "TIM-4", "TIM-5", "TIM-7", "TIM-8"), ("the times",)),
    **dict.fromkeys(("TRN-2", "TRN-3"), ("the average",)),
    **dict.fromkeys(("TRN-5", "TRN-6"), ("the trained denoiser",)),
    "SMP-1": ("beta", "sigma"),
    "SMP-2": (*_SCALES, "the posterior"),
    "SMP-3": _SCALES,
    "SMP-4": ("beta", "sigma"),
    **dict.fromkeys(("SMP-5", "SMP-6"), (*_SCALES, *_STEPS)),
    "SMP-7": (*_SCALES, "the ddpm step"),
    **dict.fromkeys(("SMP-11", "SMP-12", "SMP-13"), _SCALES),
    "NUM-3": ("alpha_bar", *_SCALES, "x_t"),
    "NUM-5": ("alpha_bar", "alpha_bar to the last digits", *_SCALES),
}
"""By clause: the quantities that its checks use, and that other clauses state. A clause that is missing uses none.

What a loss uses of LOS-1, LOS-2 and the weights depends on what failed of them: `Losses` says."""


@final
@dataclass(frozen=True, slots=True)
class Cause:
    """A clause that failed, and from which another failure may follow."""

    clause: str
    uses: str
    """The quantity of it that the other clause's checks use; empty if it is a rule of the contract, broken in them."""


class Failed(Protocol):
    """What `find_causes` reads of a row of the report."""

    @property
    def clause(self) -> Clause:
        """The clause."""

    @property
    def status(self) -> str:
        """Its status."""

    def results_with(self, status: Literal["pass", "fail"], /) -> list[Result]:
        """Return the results on single processes that have a status."""


def find_causes(rows: Iterable[Failed]) -> dict[str, tuple[Cause, ...]]:
    """Return by clause what its failure may follow from; a clause that is missing failed by itself, or not at all.

    A failure may follow from others only if they account for every process on which it is seen, and a MUST only from
    a MUST.
    """
    failed = [row for row in rows if row.status in ("fail", "known_failure")]
    where = {row.clause.id: {r.process for r in row.results_with("fail") if _is_compared(r)} for row in failed}
    losses = Losses.of(
        {row.clause.id: [r.failures[-1] for r in row.results_with("fail") if _is_compared(r)] for row in failed}
    )
    musts = {row.clause.id for row in failed if row.clause.level == "MUST"}
    found = {}
    for row in failed:
        able = musts if row.clause.level == "MUST" else where.keys()
        others = {clause: where[clause] for clause in able if clause != row.clause.id}
        found[row.clause.id] = _causes(row, others, losses)
    return {clause: _first(causes, found) for clause, causes in found.items() if causes}


def _first(causes: tuple[Cause, ...], found: Mapping[str, tuple[Cause, ...]]) -> tuple[Cause, ...]:
    """Return the causes that follow from none of the others."""
    ids = {cause.clause for cause in causes}
    return tuple(cause for cause in causes if not ids & {before.clause for before in found.get(cause.clause, ())})


def _causes(row: Failed, where: Mapping[str, Collection[str]], losses: Losses) -> tuple[Cause, ...]:
    """Return the causes of one failure, or none if they leave a process unexplained.

    where: by clause, the processes on which a comparison failed.
    """
    if row.clause.id.startswith("CON-"):
        return ()
    causes: dict[Cause, None] = {}
    for result in row.results_with("fail"):
        causes |= dict.fromkeys(Cause(rule, "") for rule in result.broken)
        stated = [
            Cause(clause, quantity)
            for quantity, clause in _used(row.clause.id, result, losses)
            if result.process in where.get(clause, ())
        ]
        if _is_compared(result):
            if not stated:
                return ()
            causes |= dict.fromkeys(stated)
    return tuple(causes)


def _used(clause: str, result: Result, losses: Losses) -> list[tuple[str, str]]:
    """Return the quantities that a failing check uses, each with a clause that states it."""
    used = [(quantity, stating) for quantity in USED.get(clause, ()) for stating in STATED[quantity]]
    weights = losses.weights_of(clause, result.failures[-1]) if clause.startswith("LOS-") and result.failures else []
    return [*(pair for pair in used if losses.may_cause(pair[1])), *weights]


def _is_compared(result: Result) -> bool:
    """Return whether a comparison failed, and not only a rule of the contract."""
    return len(result.failures) > len(result.broken)
