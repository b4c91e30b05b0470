"""Judge refdiff on processes at the edges of their domain: `python -m tests.meta.edges float32`.

This is a program of its own, since the import hook of the tests makes refdiff several times slower.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import cast
from unittest.mock import patch

import numpy as np
from hypothesis import settings

from refdiff.conformance import case
from refdiff.conformance.interface import Chain, Cosine, DType, Linear, Process
from refdiff.conformance.reference import Reference, target
from tests.meta.targets.refusing import MADE, musts, outcomes

EDGES: tuple[Process, ...] = (
    *(Linear(beta_min=a, beta_max=b) for a, b in ((1e-8, 1e-8), (0.0, 1e4), (1e4, 1e4), (500.0, 1000.0))),
    *(Cosine(s=s) for s in (0.0, 1.0, 1e3)),
    *(Chain(betas=betas) for betas in ((0.5,), (1e-8,), (0.999,), (1e-8, 0.999), (0.999,) * 300)),
    Chain(betas=tuple(np.geomspace(1e-8, 0.3, 64).tolist())),
    Chain(betas=tuple(np.linspace(2.5e-5, 0.005, 4000).tolist())),
)
EXAMPLES = 8
"""Number of examples of each law and process, a third of the usual: here the processes matter, and there are 14."""
CHAPTERS = ("NOT", "SCH", "MAR", "SDE", "PAR", "LOS", "DIS", "NUM", "CON")


def failures(dtype: DType) -> list[str]:
    """Return the failures of MUST clauses, one line each."""
    right, found = target(dtype), []
    for process in EDGES:
        claim = replace(right.claim, processes=(process,), capabilities=right.claim.capabilities - {*MADE, "step"})
        with patch.object(case, "_LAW", settings(case._LAW, max_examples=EXAMPLES)):
            failed = musts(outcomes(Reference(claim), CHAPTERS))
        found += [f"{clause}: {reason}" for clause, reason in failed.items()]
    return found


if __name__ == "__main__":
    print("\n".join([*failures(cast("DType", sys.argv[1])), "judged"]))
