"""Which tests, and which checks of refdiff, should kill the mutants of a module: the fastest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Tests and checks for the mutants of one module."""

    tests: tuple[tuple[str, ...], ...] = ()
    """Groups of test files, run in this order until one fails."""
    clauses: tuple[str, ...] = ()
    """Prefixes of the clauses whose checks then judge refdiff in float32."""
    variants: tuple[str, ...] = ()
    """Prefixes of the clauses whose checks then judge the right and wrong variants of the tests of the suite."""

    @property
    def files(self) -> tuple[str, ...]:
        """All test files."""
        return tuple(file for group in self.tests for file in group)


def _own(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/test_{name}.py" for name in names)


def _expected(laws: str, *clauses: str, evidence: str = "") -> Plan:
    """Return the plan of expected values: laws, evidence, and checks with them on refdiff and on the variants."""
    files = (f"validation/evidence/test_{evidence}.py",) if evidence else ()
    return Plan(((f"tests/meta/test_expected_{laws}.py",), *((files,) if files else ())), clauses, clauses)


_STEPS = ("steps", "ranges", "sampling", "run_findings", "spec_examples")
PLANS: dict[str, Plan] = {
    "refdiff/schedule.py": Plan((_own("schedule"), _own("accuracy", "marginal", "sde")), ("SCH", "MAR-1", "SDE")),
    "refdiff/derived.py": Plan(
        (_own("schedule", "ranges"), _own("marginal", "scales", "accuracy", "sde")), ("SCH", "MAR-1")
    ),
    "refdiff/marginal.py": Plan(
        (_own("marginal", "slopes"), _own("scales", "loss", "variational", "steps")), ("MAR", "NUM")
    ),
    "refdiff/sde.py": Plan((_own("sde"), _own("steps")), ("SDE",)),
    "refdiff/parameterization.py": Plan((_own("parameterization"), _own("loss")), ("PAR",)),
    "refdiff/weighting.py": Plan((_own("weighting"), _own("loss")), ("LOS",)),
    "refdiff/loss.py": Plan((_own("loss"), _own("weighting")), ("LOS",)),
    "refdiff/variational.py": Plan((_own("variational"), ("validation/evidence/test_variational.py",)), ()),
    "refdiff/times.py": Plan((_own("times", "ranges"), _own("draws", "sampling")), ("TIM",)),
    "refdiff/positions.py": Plan((_own("positions", "times"), _own("draws")), ("TIM",)),
    "refdiff/chain.py": Plan((_own("chain"), _own("errata", "scales", "spec_examples")), ("DIS", "MAR-6", "MAR-7")),
    "refdiff/steps.py": Plan((_own("steps"), _own(*_STEPS[1:])), ("SMP",)),
    "refdiff/samplers.py": Plan((_own("steps"), _own(*_STEPS[1:])), ("SMP",)),
    "refdiff/sampling.py": Plan((_own("sampling"), _own("steps")), ("SMP-6", "SMP-10")),
    "refdiff/ema.py": Plan((_own("ema"),), ("TRN-1", "TRN-2", "TRN-3")),
    "refdiff/guidance.py": Plan((_own("guidance"),), ("SMP-9",)),
    "refdiff/numerics.py": Plan((_own("numerics"), _own("schedule", "variational", "chain")), ("SCH-9",)),
    "validation/expected/averages.py": _expected("averages", "TRN-1", "TRN-2", "TRN-3"),
    "validation/expected/convergence.py": _expected("averages", "SMP-11", evidence="runs"),
    "validation/expected/conversions.py": _expected("conversions", "PAR", "LOS-1", "SMP-3"),
    "validation/expected/denoiser.py": _expected("denoiser", "TRN-4", "TRN-5", "TRN-6"),
    "validation/expected/guided.py": _expected("bounds", "SMP-9", evidence="guidance"),
    "validation/expected/integral.py": _expected("averages", "SCH-3", "SDE-4"),
    "validation/expected/losses.py": _expected("losses", "LOS"),
    "validation/expected/marginal.py": _expected("bounds", "MAR-4", "LOS-1"),
    "validation/expected/posteriors.py": _expected("bounds", "MAR-7", "MAR-8", "DIS-4", "SMP-2"),
    "validation/expected/propagation.py": _expected("bounds", "SMP-1", "SMP-4"),
    "validation/expected/steps.py": _expected("steps", "SMP-1", "SMP-2", "SMP-3", "SMP-4", "SMP-5", "SMP-6"),
    "validation/expected/tiers.py": _expected("tiers", "MAR-1", "MAR-2", "MAR-10", "SCH", "DIS", "SDE"),
}
"""Path of a mathematical module -> its plan."""
