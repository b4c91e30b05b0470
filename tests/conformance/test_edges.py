"""refdiff conforms on processes at the edges of their domain, in every chapter that does not train (NUM-3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Cosine, DType, Linear, Process
from refdiff.conformance.reference import Reference, target
from tests.conformance.refusing import MADE, musts, outcomes

EDGES: tuple[Process, ...] = (
    *(Linear(beta_min=a, beta_max=b) for a, b in ((1e-8, 1e-8), (0.0, 1e-8), (0.0, 1e4), (1e4, 1e4), (500.0, 1000.0))),
    *(Cosine(s=s) for s in (0.0, 1e-8, 1.0, 1e3)),
    *(Chain(betas=betas) for betas in ((0.5,), (1e-8,), (0.999,), (0.5, 0.5), (1e-8, 0.999), (0.999,) * 300)),
    Chain(betas=tuple(np.geomspace(1e-8, 0.3, 64).tolist())),
    Chain(betas=tuple(np.linspace(2.5e-5, 0.005, 4000).tolist())),
)
CHAPTERS = ("NOT", "SCH", "MAR", "SDE", "PAR", "LOS", "DIS", "NUM", "CON", "TIM")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("process", EDGES, ids=repr)
def test_edge_of_the_domain(process: Process, dtype: DType) -> None:
    """No MUST clause fails, and none stands at an error of the suite."""
    right = target(dtype)
    claim = replace(right.claim, processes=(process,), capabilities=right.claim.capabilities - {*MADE, "step"})
    assert musts(outcomes(Reference(claim), CHAPTERS)) == {}
