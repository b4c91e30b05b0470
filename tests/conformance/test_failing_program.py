"""A program in JavaScript that fails in the middle of a run: one clear finding, and a written report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conformance.programs import plant
from tests.conformance.test_plugin import report, run

SMALL = (
    ('processes: ["Linear", "Cosine", "Chain"],', 'processes: [{ kind: "Linear", beta_min: 0.1, beta_max: 20 }],'),
    ('capabilities: ["schedule", "perturb", "convert", "loss", "step"],', 'capabilities: ["schedule", "perturb"],'),
)
PERTURB = "perturb: (x_0, eps, t) => over("
FAULTS = {
    "is killed": (
        (PERTURB, f'{PERTURB[:26]}process.kill(process.pid, "SIGKILL") && over('),
        "CON-5",
        "perturb ended the target's process, by SIGKILL",
    ),
    "writes garbage": (
        (PERTURB, f'{PERTURB[:26]}fs.writeSync(1, "Loading...\\n") && over('),
        "CON-5",
        "perturb wrote 'Loading...' where an answer is due: no JSON",
    ),
    "sends another length": (
        ("data: Buffer.from(buffer)", "data: Buffer.from(buffer, 4)"),
        "CON-5",
        "has 16 bytes of data",
    ),
    "gives NaN": (("alpha: each(t, (q) => q.alpha)", "alpha: each(t, (q) => NaN)"), "MAR-1", "got nan"),
}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the path")


@pytest.mark.parametrize("name", FAULTS)
def test_failure_is_one_finding_in_a_written_report(name: str, tmp_path: Path) -> None:
    """The report names the fault once, and every other failure refers to it."""
    change, clause, cause = FAULTS[name]
    script = plant(tmp_path, "target.js", *SMALL, change)
    done = run(tmp_path, "--refdiff-target-exec", f"node '{script}'", "--refdiff-chapter", "CON,MAR")
    assert done.returncode == 1, done.stderr
    data = report(tmp_path)
    assert data["verdict"] == "non-conforming"
    failed = [c for c in data["clauses"] if c["status"] in ("fail", "warning")]
    first = [(c["id"], c["status"]) for c in failed if not c["may_follow_from"]]
    assert first == [(clause, "fail")]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"javascript: {clause} "))
    assert cause in line
    assert cause in (tmp_path / "validation-report" / "report.md").read_text(encoding="utf-8")
    assert "Traceback" not in done.stdout + done.stderr


def test_target_without_a_fault_conforms(tmp_path: Path) -> None:
    """The program in which the faults are planted has none of its own."""
    script = plant(tmp_path, "target.js", *SMALL)
    done = run(
        tmp_path, "--refdiff-target-exec", f"node '{script}'", "--refdiff-chapter", "CON,MAR", "--refdiff-strict"
    )
    assert done.returncode == 0, done.stdout
