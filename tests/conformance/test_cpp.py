"""A target in C++, written from the page of the protocol and compiled by one plain command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refdiff.conformance.calls import ContractViolation
from refdiff.conformance.interface import Chain, Own, Unsupported
from refdiff.conformance.judge import Judge
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.remote import Launch, Remote
from tests.conformance.programs import EXAMPLES, plant
from validation.checks.suite import checks

COMPILER = shutil.which("c++")
CLAUSES = ("SCH", "MAR", "PAR", "DIS", "CON", "NOT", "NUM")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler on the path")


def build(source: Path, folder: Path, *options: str) -> Path:
    """Compile a program, and return it."""
    program = folder / "target"
    subprocess.run([str(COMPILER), "-std=c++17", *options, "-o", program, source], check=True, timeout=600)
    return program


def judged(program: Path, *clauses: str) -> list[Outcome]:
    """Return what the checks of these clauses find of a program."""
    judge = Judge.of("", launch=Launch(command=f"'{program}'"))
    assert judge.load_failure is None
    return judge.judge((check, body) for check, body in checks() if check.clause.startswith(clauses))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example, compiled as it says itself."""
    return build(EXAMPLES / "target.cpp", tmp_path_factory.mktemp("c++"), "-O2")


def test_right_target_conforms(program: Path) -> None:
    """Every clause that the claim calls for passes in double precision, those of accuracy too."""
    outcomes = judged(program, *CLAUSES)
    assert {o.clause: o.reason for o in outcomes if o.status not in ("pass", "not_claimed")} == {}
    assert {o.clause for o in outcomes if o.status == "pass"} >= {"SCH-3", "SCH-4", "DIS-1", "MAR-10", "PAR-4", "PAR-8"}


def test_wrong_target_fails(tmp_path: Path) -> None:
    """One wrong formula, one clause."""
    source = plant(tmp_path, "target.cpp", ("return std::sqrt(rest);", "return rest;"))
    outcomes = judged(build(source, tmp_path), "MAR-2")
    assert [o.status for o in outcomes if o.check == "test_sigma"] == ["fail"]


def test_refusals_errors_and_values(program: Path) -> None:
    """What the program does not serve it refuses, what it does not know is an error, and both leave it alive."""
    target = Remote(Launch(command=f"'{program}'"))
    with pytest.raises(Unsupported, match="no process of the kind Own"):
        target.build(Own(label='say "x" \\ \u00e9\n'))
    chain = target.build(Chain(betas=(0.75, 0.5)))
    with pytest.raises(ContractViolation, match="no such method"):
        target.ask({"do": "call", "object": 1, "method": "drift", "arguments": []}, "drift", 20.0)
    for n in range(4):  # every length of base64's last group
        x = np.arange(1.0, 2.0 * n + 1.0).reshape(2, n)
        got = chain.perturb(x, np.zeros_like(x), np.array([0, 1]))
        assert np.allclose(got, x * [[1.0], [0.5]], rtol=1e-15, atol=0.0), n
    target.close()


def test_program_ends_with_its_input(program: Path) -> None:
    """It writes its claim, and ends."""
    done = subprocess.run([str(program)], input="", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
