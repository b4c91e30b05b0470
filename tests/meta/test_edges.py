"""refdiff conforms on processes at the edges of their domain, in every chapter that neither trains nor samples."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges_of_the_domains(dtype: str) -> None:
    """Rates 1e-8 to 1e4, offsets 0 to 1e3, N from 1 to 4000, betas 1e-8 to 0.999: no MUST clause fails."""
    command = [sys.executable, "-m", "tests.meta.edges", dtype]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == ["judged"], found.stderr[-2000:]
