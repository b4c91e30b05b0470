"""The test vectors, read in JavaScript without Python: right functions obey all of them, and a wrong one does not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.programs import EXAMPLES, plant

VECTORS = EXAMPLES.parent / "vectors"
FILES = ("schedules", "marginal", "parameterizations")
CALLS = ("log_alpha_bar", "alpha_bar", "alpha", "sigma", "log_snr", "perturb", "convert")
FAULTS = {
    "MAR-2/": ("sigma: Math.sqrt(q.rest) }", "sigma: q.rest }"),
    "PAR-4/": ("score: -eps / sigma }", "score: eps / sigma }"),
    "DIS-1/": ("betas.slice(0, k)", "betas.slice(0, k - 1)"),
}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the path")


def run(script: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of Node on the vectors."""
    command = [str(shutil.which("node")), str(script), str(VECTORS)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_right_functions_obey() -> None:
    """Every vector of these calls that has a MUST tolerance in float64 is asked, and none is beyond it."""
    done = run(EXAMPLES / "vectors.js")
    vectors = [v for name in FILES for v in json.loads((VECTORS / f"{name}.json").read_text())["vectors"]]
    asked = sum(v["call"] in CALLS and bool(v["tolerance"].get("float64", {}).get("must")) for v in vectors)
    assert (done.returncode, done.stdout) == (0, f"{asked} vectors, 0 beyond their tolerance\n"), done.stderr
    assert asked > 300


@pytest.mark.parametrize("clause", FAULTS)
def test_wrong_function_fails(clause: str, tmp_path: Path) -> None:
    """One wrong formula: exit status 1, and lines that name vectors of its clause."""
    done = run(plant(tmp_path, "vectors.js", FAULTS[clause]))
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith(clause)], done.stdout
