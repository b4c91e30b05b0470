"""Never green unjudged: whatever keeps a check from running to its end, the run fails and says *incomplete*."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.test_plugin import BAD, ROOT, report, run

TARGET = ("--refdiff-target", f"{BAD}:right")
ONLY = ("--refdiff-chapter", "CON,NOT")
"""Chapters that are judged in seconds."""


def incomplete(folder: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the report says is missing; hold exit status, terminal and report to the word."""
    assert done.returncode not in (0, pytest.ExitCode.USAGE_ERROR), done.stdout
    assert "is incomplete" in done.stdout
    data = report(folder)
    assert data["verdict"] == "incomplete"
    assert not data["environment"]["complete"]
    assert data["missing"]
    assert "incomplete" in (folder / "validation-report" / "report.md").read_text()
    missing: list[str] = data["missing"]
    return missing


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-k", "not test_shapes"], "NOT-2: test_times_by_themselves: was deselected"),
        (["-k", "nothing_has_this_name"], "CON-1: test_methods_are_there: was deselected"),
        (["-m", "not refdiff_check"], "was deselected"),
        (["--deselect", "validation/checks/test_shapes.py"], "NOT-2: test_times_by_themselves: was deselected"),
        (["--ignore", "checks/test_shapes.py"], "NOT-2: test_times_by_themselves: did not run"),
        (["--setup-only"], "did not run"),
        (["--setup-plan"], "did not run"),
        (["--collect-only"], "did not run"),
    ],
)
def test_options(tmp_path: Path, options: list[str], why: str) -> None:
    """Of pytest's own options, any that leaves a check out; one of four checks of a clause is enough."""
    suite = str(ROOT / "validation")
    options = [f"{suite}/{option}" if option.startswith("checks/") else option for option in options]
    missing = incomplete(tmp_path, run(tmp_path, *TARGET, *ONLY, *options))
    assert any(why in line for line in missing), missing


@pytest.mark.parametrize("target", [TARGET, ()])
def test_part_of_the_default_target_too(tmp_path: Path, target: tuple[str, ...]) -> None:
    """One file of the suite is a part of the suite, whoever is judged."""
    missing = incomplete(
        tmp_path, run(tmp_path, *target, *ONLY, suite=str(ROOT / "validation" / "checks" / "test_shapes.py"))
    )
    assert any(line.startswith("CON-1") for line in missing)


def test_last_failed(tmp_path: Path) -> None:
    """--lf after a red run judges what was red, and not the rest."""
    where = ("-o", f"cache_dir={tmp_path}/cache", *ONLY)
    assert run(tmp_path, "--refdiff-target", f"{BAD}:raises", *where, cache=True).returncode == 1
    incomplete(tmp_path, run(tmp_path, *TARGET, *where, "--lf", cache=True))


def test_first_failure(tmp_path: Path) -> None:
    """-x leaves the rest, and says why."""
    missing = incomplete(tmp_path, run(tmp_path, "--refdiff-target", f"{BAD}:raises", *ONLY, "-x"))
    assert any("stopping after 1 failures" in line for line in missing)


CONFTESTS = {
    "drops": "def pytest_collection_modifyitems(items):\n    items[:] = items[:2]\n",
    "drops early": (
        "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_collection_modifyitems(items):\n    items.clear()\n"
    ),
    "skips": (
        "import pytest\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items: item.add_marker(pytest.mark.skip(reason='not today'))\n"
    ),
    "skips in a fixture": "import pytest\n@pytest.fixture(autouse=True)\ndef theirs():\n    pytest.skip('no GPU')\n",
    "replaces": ("def pytest_collection_modifyitems(items):\n    for item in items: item.obj = lambda case: None\n"),
    "takes the call": (
        "import pytest\nclass Late:\n    @pytest.hookimpl(tryfirst=True)\n"
        "    def pytest_pyfunc_call(self, pyfuncitem):\n        return True\n"
        "def pytest_sessionstart(session):\n    session.config.pluginmanager.register(Late())\n"
    ),
    "takes the protocol": (
        "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_protocol(item):\n    return True\n"
    ),
    "ignores": "def pytest_ignore_collect(collection_path):\n    return collection_path.suffix == '.py' or None\n",
    "interrupts": "def pytest_runtest_setup(item):\n    if 'shapes' in item.nodeid: raise KeyboardInterrupt\n",
    "stops": "def pytest_runtest_logfinish(nodeid, location):\n    STOP.shouldstop = 'enough'\n"
    "def pytest_sessionstart(session):\n    global STOP\n    STOP = session\n",
    "claims success": "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish(session):\n"
    "    session.exitstatus = 0\ndef pytest_collection_modifyitems(items):\n    items[:] = items[:2]\n",
}


@pytest.mark.parametrize("name", CONFTESTS)
def test_conftest(tmp_path: Path, name: str) -> None:
    """A conftest or plugin of the adopter's that drops, skips, replaces or stops."""
    (tmp_path / "theirs.py").write_text(CONFTESTS[name])
    done = run(tmp_path, *TARGET, *ONLY, "-p", "theirs", PYTHONPATH=f"{ROOT}:{tmp_path}")
    incomplete(tmp_path, done)


def test_ini_file(tmp_path: Path) -> None:
    """An option in the adopter's own pytest.ini counts as one on the command line."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -k test_shapes\n")
    incomplete(tmp_path, run(tmp_path, *TARGET, *ONLY, "-c", "pytest.ini"))


def test_dead_worker(tmp_path: Path) -> None:
    """A worker of xdist's that dies takes its checks with it; the controller says which."""
    (tmp_path / "theirs.py").write_text(
        "import os\ndef pytest_runtest_setup(item):\n    if 'NOT' in str(item.user_properties): os._exit(0)\n"
    )
    options = ("-n", "1", "--max-worker-restart", "0", "-p", "theirs")
    missing = incomplete(tmp_path, run(tmp_path, *TARGET, *ONLY, *options, PYTHONPATH=f"{ROOT}:{tmp_path}"))
    assert any(line.startswith("NOT-2") for line in missing)


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_old_report_survives_a_dead_run(tmp_path: Path, end: str) -> None:
    """The folder says *incomplete* from before the first check on, whatever it said before."""
    assert run(tmp_path, *TARGET, *ONLY).returncode == 0
    assert report(tmp_path)["verdict"] == "conforming"
    (tmp_path / "theirs.py").write_text(f"def pytest_runtest_setup(item):\n    {end}\n")
    run(tmp_path, *TARGET, *ONLY, "-p", "theirs", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert report(tmp_path)["verdict"] == "incomplete"
    assert "is incomplete" in (tmp_path / "validation-report" / "report.md").read_text()


def test_interrupted_from_outside(tmp_path: Path) -> None:
    """Ctrl-C in the middle: a report, and no success."""
    (tmp_path / "theirs.py").write_text(
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with SIGINT ignored\n"
        "def pytest_runtest_setup(item):\n    pathlib.Path('began').touch(); time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "pytest", str(ROOT / "validation"), "-q", "-p", "no:cacheprovider", "-p", "theirs"]
    process = subprocess.Popen(
        [*command, *TARGET, *ONLY],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60.0
    while not (tmp_path / "began").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "is incomplete" in out
    assert any("the run was interrupted before it" in line for line in report(tmp_path)["missing"])


def test_work_on_the_evidence_is_no_judgement(tmp_path: Path) -> None:
    """Without a check and without a target nothing is judged: no report, and a line that says so."""
    done = run(tmp_path, suite=str(ROOT / "validation" / "evidence" / "test_network.py"))
    assert done.returncode == 0, done.stdout
    assert "no check was run and no target was named: this is no judgement" in done.stdout
    assert not (tmp_path / "validation-report").exists()


def test_a_fault_of_the_suite_is_a_verdict_of_its_own(tmp_path: Path) -> None:
    """An exception in a check is a suite error: it fails the run, with its traceback, and blames nobody else."""
    (tmp_path / "theirs.py").write_text(
        "import validation.oracles.certified as certified\n"
        "def broken(*arguments): raise ZeroDivisionError('oh')\n"
        "certified.column = broken\n"
    )
    done = run(tmp_path, *TARGET, "--refdiff-chapter", "MAR", "-p", "theirs", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 1
    data = report(tmp_path)
    assert data["verdict"] == "suite-error"
    assert "is not judged, for a suite error" in done.stdout
    assert any("ZeroDivisionError: oh" in trace and "Traceback" in trace for trace in data["suite_errors"])
    assert "fail" not in {clause["status"] for clause in data["clauses"]}


def test_plan_is_that_of_the_suite() -> None:
    """spec/checks.json is what the suite has: then `python -m validation.checks.suite > spec/checks.json`."""
    from validation.checks.suite import listed

    assert (ROOT / "spec" / "checks.json").read_text(encoding="utf-8") == listed()
    assert len(json.loads(listed())) >= 87
