"""refdiff conforms on processes at the edges of their domain, in every chapter that neither trains nor samples."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges_of_the_domains(dtype: str) -> None:
    """No MUST clause fails for rates in [1e-8, 1e4], offsets in [0, 1e3], N up to 4000, betas in [1e-8, 0.999]."""
    command = [sys.executable, "-m", "tests.meta.edges", dtype]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == ["judged"], found.stderr[-2000:]
