"""The plugin in real pytest sessions: options, exit codes, the report, xdist, and other people's sessions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET  # only reads what pytest wrote a moment ago
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "spec" / "report.schema.json").read_text())
BAD = "tests.meta.targets.bad"
QUICK = ["--refdiff-chapter", "MAR,CON"]


def run(
    folder: Path, *options: str, suite: str = str(ROOT / "validation"), cache: bool = False, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest as an adopter would, in a folder of theirs and outside of CI, where pytest prints more."""
    foreign = ("PYTEST", "REFDIFF", "GITHUB", "CI", "BUILD_NUMBER")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    more = () if cache else ("-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", suite, "-q", *more, *options],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def report(folder: Path) -> dict[str, Any]:
    """Return the report, held to its schema."""
    data: dict[str, Any] = json.loads((folder / "validation-report" / "report.json").read_text())
    Draft202012Validator(SCHEMA).validate(data)
    return data


def status(data: dict[str, Any]) -> dict[str, str]:
    """Return the status of each clause."""
    return {clause["id"]: clause["status"] for clause in data["clauses"]}


def test_right_target(tmp_path: Path) -> None:
    """A conforming target: exit 0, a table, and a report in which what was not claimed is shown."""
    summary = tmp_path / "summary.md"
    done = run(tmp_path, "--refdiff-target", f"{BAD}:right", *QUICK, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stdout
    data = report(tmp_path)
    assert data["verdict"] == "conforming"
    assert data["target"]["name"] == "plain"
    assert {status(data)[clause] for clause in ("MAR-1", "MAR-2", "MAR-4", "CON-1")} == {"pass"}
    assert (status(data)["MAR-7"], status(data)["PAR-1"]) == ("not_claimed", "not_run")
    assert not data["environment"]["evidence_run"]
    assert "MAR-4" in done.stdout
    assert "plain conforms (MAR, CON only): 12 of 15 clauses judged, 3 not claimed" in done.stdout
    assert data["chapters"] == ["MAR", "CON"]
    assert (tmp_path / "validation-report" / "report.md").read_text() == summary.read_text()


@pytest.mark.parametrize(
    ("name", "clause", "cause"),
    [
        ("no_such_module:target", "CON-1", "No module named 'no_such_module'"),
        (f"{BAD}:nothing", "CON-1", "has no attribute 'nothing'"),
        (f"{BAD}:missing_method", "CON-1", "the claim lists 'perturb'"),
        (f"{BAD}:wrong_shape", "CON-2", "expected perturb of shape"),
        (f"{BAD}:wrong_dtype", "CON-2", "expected perturb of dtype float32"),
        (f"{BAD}:gives_nan", "MAR-4", "got nan"),
        (f"{BAD}:raises", "CON-5", "perturb raised KeyError"),
        (f"{BAD}:mutates", "CON-3", "changed its argument"),
        (f"{BAD}:hangs", "CON-5", "did not return within 0.3 s"),
    ],
)
def test_bad_target(tmp_path: Path, name: str, clause: str, cause: str) -> None:
    """One plain line naming target, clause and cause; the report is written; the exit code is 1."""
    done = run(tmp_path, "--refdiff-target", name, "--refdiff-timeout", "0.3", *QUICK)
    assert done.returncode == 1
    data = report(tmp_path)
    assert data["verdict"] == "non-conforming"
    assert status(data)[clause] == "fail"
    label = name if ":nothing" in name or "no_such" in name else name.partition(":")[2]
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{label}: {clause}") and cause in line]
    assert lines, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    others = {status for other, status in status(data).items() if other in ("MAR-1", "MAR-10")}
    assert others <= {"pass", "fail", "warning", "not_run"}
    assert ("not_run" in others) == (label == name)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--refdiff-target", "nonsense"], "expected --refdiff-target to be package.module:factory, got 'nonsense'"),
        (["--refdiff-target", ""], "expected some text, got ''"),
        (["--refdiff-target", "a:b", "--refdiff-target", "c:d"], "expected the option once, got it twice"),
        (["--refdiff-seed", "1", "--refdiff-seed", "2"], "expected the option once, got it twice"),
        (["--refdiff-seed", "-1"], "expected a whole number from 0, got '-1'"),
        (["--refdiff-timeout", "nan"], "expected seconds above 0"),
        (["--refdiff-timeout", "inf"], "expected seconds above 0"),
        (["--refdiff-timeout", "1e300"], "expected seconds above 0"),
        (["--refdiff-timeout", "0"], "expected seconds above 0"),
        (["--refdiff-timeout", "-1"], "expected seconds above 0"),
        (["--refdiff-require", ","], "expected names with commas between them, got ','"),
        (["--refdiff-require", "MAR,XYZ"], "expected --refdiff-require to name clauses or chapters, got 'XYZ'"),
        (["--refdiff-chapter", "MAR-1"], "expected --refdiff-chapter to name chapters of"),
        (["--refdiff-known-failures", ""], "expected some text, got ''"),
        (["--refdiff-report", ""], "expected some text, got ''"),
    ],
)
def test_options_that_mean_nothing(tmp_path: Path, options: list[str], says: str) -> None:
    """Refused before anything runs, in one sentence."""
    done = run(tmp_path, *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "validation-report").exists()


@pytest.mark.parametrize("name", ["", "nonsense"])
def test_variable_that_names_no_target(tmp_path: Path, name: str) -> None:
    """A pipeline whose variable is unset is told so, and refdiff is not judged instead; other sessions go on."""
    done = run(tmp_path, REFDIFF_TARGET=name)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"expected REFDIFF_TARGET to be package.module:factory, got {name!r}" in done.stderr
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    assert run(tmp_path, suite="test_theirs.py", REFDIFF_TARGET=name).returncode == 0


def test_target_beside_the_session(tmp_path: Path) -> None:
    """Bare pytest finds a module in the folder it was started in; the environment may name it."""
    (tmp_path / "mine.py").write_text(f"from {BAD} import right as target\n")
    done = run(tmp_path, *QUICK, REFDIFF_TARGET="mine:target")
    assert done.returncode == 0, done.stdout
    assert report(tmp_path)["target"]["origin"] == "mine:target"


def test_require(tmp_path: Path) -> None:
    """A required clause fails if it is not claimed or did not run."""
    target = ("--refdiff-target", f"{BAD}:right")
    done = run(tmp_path, *target, "--refdiff-require", "MAR-3,PAR-1", "--refdiff-chapter", "MAR,PAR")
    assert done.returncode == 1
    data = report(tmp_path)
    assert (status(data)["PAR-1"], status(data)["MAR-3"]) == ("fail", "pass")
    assert "required, but not claimed" in next(c["reason"] for c in data["clauses"] if c["id"] == "PAR-1")
    done = run(tmp_path, *target, "--refdiff-require", "MAR", "-k", "test_conformance")
    assert done.returncode == 1
    assert "required, but not run" in next(c["reason"] for c in report(tmp_path)["clauses"] if c["id"] == "MAR-1")


@pytest.mark.parametrize(
    ("listed", "code", "says"),
    [
        (
            '[MAR-4]\nreason = "NaN for now"\nlink = "https://example.org/1"\n[MAR-1]\nreason = "r"\nlink = "l"',
            1,
            "CON-1",
        ),
        ('[MAR-99]\nreason = "r"\nlink = "l"', 4, "got 'MAR-99'"),
        ('[MAR-4]\nreason = ""\nlink = "l"', 4, "a reason and a link with text"),
        ("not toml", 4, "to name a TOML file"),
    ],
)
def test_known_failures(tmp_path: Path, listed: str, code: int, says: str) -> None:
    """An invalid file is refused before anything runs."""
    (tmp_path / "known.toml").write_text(listed)
    options = ("--refdiff-known-failures", "known.toml", "--refdiff-target", f"{BAD}:gives_nan", *QUICK)
    done = run(tmp_path, *options)
    assert done.returncode == code, done.stdout
    assert says in done.stdout + done.stderr


def test_known_failures_are_strict(tmp_path: Path) -> None:
    """All known: exit 0, and said so. One that passes: an error."""
    failing = run(tmp_path, "--refdiff-target", f"{BAD}:gives_nan", *QUICK)
    assert failing.returncode == 1
    ids = [clause for clause, found in status(report(tmp_path)).items() if found in ("fail", "warning")]
    assert "MAR-4" in ids
    entry = '[{}]\nreason = "perturb gives NaN"\nlink = "https://example.org/1"\n'
    known = tmp_path / "known.toml"
    options = ("--refdiff-known-failures", "known.toml", "--refdiff-target", f"{BAD}:gives_nan", *QUICK)
    known.write_text("".join(map(entry.format, ids)))
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout
    assert f"gives_nan conforms but for {len(ids)} known failures (MAR, CON only)" in done.stdout
    assert report(tmp_path)["verdict"] == "conforming-with-known-failures"
    assert status(report(tmp_path))["MAR-4"] == "known_failure"
    known.write_text("".join(map(entry.format, [*ids, "CON-1"])))
    done = run(tmp_path, *options)
    assert done.returncode == 1
    assert "CON-1 is listed as a known failure, and passes: take it off the list" in done.stdout


def test_first_run_writes_its_known_failures(tmp_path: Path) -> None:
    """The file that a failing run writes excuses the next run, and is never overwritten."""
    failing = run(
        tmp_path, "--refdiff-write-known-failures", "known.toml", "--refdiff-target", f"{BAD}:gives_nan", *QUICK
    )
    assert failing.returncode == 1, failing.stdout
    excused = run(tmp_path, "--refdiff-known-failures", "known.toml", "--refdiff-target", f"{BAD}:gives_nan", *QUICK)
    assert excused.returncode == 0, excused.stdout
    assert report(tmp_path)["verdict"] == "conforming-with-known-failures"
    again = run(
        tmp_path, "--refdiff-write-known-failures", "known.toml", "--refdiff-target", f"{BAD}:gives_nan", *QUICK
    )
    assert again.returncode == 4
    assert "expected --refdiff-write-known-failures to name a new file, got known.toml" in again.stderr


def test_xdist_says_the_same(tmp_path: Path) -> None:
    """Two workers, one report."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, options in ((alone, []), (together, ["-n", "2"])):
        folder.mkdir()
        done = run(folder, "--refdiff-target", f"{BAD}:gives_nan", *QUICK, *options)
        assert done.returncode == 1
    one, two = report(alone), report(together)
    assert status(one) == status(two)
    assert one["target"] == two["target"]
    assert {c["id"]: c["worst"] for c in one["clauses"]} == {c["id"]: c["worst"] for c in two["clauses"]}
    assert {c["id"]: c["evidence"] for c in one["clauses"]} == {c["id"]: c["evidence"] for c in two["clauses"]}


def test_sessions_of_others_are_left_alone(tmp_path: Path) -> None:
    """Where no check is collected: no torch, no report; options of theirs named --seed and --target work."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--seed'); parser.addoption('--target')\n"
    )
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_theirs(pytestconfig):\n"
        "    assert pytestconfig.getoption('--seed') == '3'\n"
        "    assert 'torch' not in sys.modules and 'refdiff.conformance.judge' not in sys.modules\n"
    )
    done = run(tmp_path, "--seed", "3", "--target", "x", suite="test_theirs.py")
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "validation-report").exists()


def test_junit_counts_what_the_terminal_counts(tmp_path: Path) -> None:
    """JUnit comes from pytest's own option, and agrees; each check has its clause and its status, in a few words."""
    wanted = ["--refdiff-target", f"{BAD}:wrong_dtype", *QUICK, "--junitxml", "junit.xml"]
    done = run(tmp_path, *wanted, GITHUB_ACTIONS="true")
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314  # written by the line above
    assert f"{suite.get('failures')} failed" in done.stdout
    cases = [
        {one.get("name"): one.get("value", "") for one in case.iter("property")} for case in suite.iter("testcase")
    ]
    found = {one["refdiff_clause"]: one for one in cases if "refdiff_clause" in one}
    assert {one["refdiff"] for one in found.values()} == {"fail", "pass", "not_claimed"}
    assert found["MAR-1"]["refdiff_level"] == "MUST"
    assert found["MAR-1"]["refdiff_title"]
    assert max(len(value) for one in cases for value in one.values()) < 2000
    # The same run, for those who read it on GitHub, or as a page.
    assert re.search(r"^::error title=CON-2%3A .*::.*expected .*float32", done.stdout, re.M)
    assert "does NOT conform" in (tmp_path / "validation-report" / "report.html").read_text(encoding="utf-8")
    assert "to read in a browser: validation-report/report.html" in done.stdout


def test_report_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be: one sentence, and the run fails."""
    (tmp_path / "taken").write_text("")
    done = run(tmp_path, "--refdiff-target", f"{BAD}:right", "--refdiff-report", "taken", *QUICK)
    assert done.returncode != 0
    assert "expected --refdiff-report to name a folder that can be written" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
