"""The pytest plugin: options, the run of each check, and the report at the end.

Installed as an entry point, so it is loaded in every pytest session of whoever installs refdiff: it
imports nothing heavy, and does nothing until a test marked by `refdiff.conformance.check` is collected.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from refdiff.conformance.check import Check, Standing
    from refdiff.conformance.judge import Judge
    from refdiff.conformance.known import KnownFailure
    from refdiff.conformance.outcome import Outcome
    from refdiff.conformance.remote import Launch
    from refdiff.conformance.report import Report

DEFAULT_TARGET = "refdiff.conformance.reference:target"


@final
@dataclass(slots=True)
class Session:
    """What one pytest process knows of the run."""

    origin: str
    known: Mapping[str, KnownFailure] = field(default_factory=dict)
    active: bool = False
    """Whether a check was collected, here or in a worker."""
    judge: Judge | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    declared: dict[str, set[str]] = field(default_factory=dict)
    """Kinds of standing by clause id: what tests that were left out say they show."""
    stood: dict[str, set[str]] = field(default_factory=dict)
    """The same, of tests that ran and passed."""
    broken: list[str] = field(default_factory=list)
    workers: list[Mapping[str, Any]] = field(default_factory=list)
    """What xdist's workers sent."""
    report: Report | None = None
    unwritten: str = ""
    """Why the report could not be written."""


_SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, all prefixed: a session of somebody else's has options of its own."""
    group = parser.getgroup("refdiff", "refdiff: conformance of diffusion code")
    group.addoption(
        "--refdiff-target",
        metavar="MODULE:FACTORY",
        help="what to judge: a function that returns a target (env REFDIFF_TARGET; default: refdiff itself)",
    )
    group.addoption(
        "--refdiff-require", metavar="IDS", default="", help="clauses or chapters (MAR,LOS) that must be claimed"
    )
    group.addoption("--refdiff-known-failures", metavar="FILE", help="TOML: clauses that fail for a reason, strict")
    group.addoption(
        "--refdiff-report", metavar="DIR", default="validation-report", help="folder for report.json and .md"
    )
    group.addoption("--refdiff-seed", metavar="N", type=int, default=0, help="seed of every random draw (default 0)")
    group.addoption(
        "--refdiff-full", action="store_true", help="every float32, every index: minutes instead of seconds"
    )
    group.addoption("--refdiff-strict", action="store_true", help="a SHOULD clause that fails, fails the run")
    group.addoption("--refdiff-timeout", metavar="S", type=float, default=20.0, help="limit on one call of the target")
    group.addoption(
        "--refdiff-target-exec", metavar="COMMAND", help="judge a program that speaks the protocol of spec chapter 12"
    )
    group.addoption(
        "--refdiff-target-python", metavar="PATH", help="the interpreter in whose environment --refdiff-target is run"
    )
    group.addoption(
        "--refdiff-memory", metavar="SIZE", help="most memory of the target's process, such as 8GiB (default: ample)"
    )
    group.addoption(
        "--refdiff-in-process", action="store_true", help="run the target in pytest's own process, for a debugger"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; read what the options name, if they name anything."""
    config.addinivalue_line("markers", "refdiff_check(check): judges a target on a clause; set by refdiff")
    config.addinivalue_line("markers", "refdiff_standing(standing): evidence that a clause is true; set by refdiff")
    origin = config.getoption("refdiff_target") or os.environ.get("REFDIFF_TARGET") or DEFAULT_TARGET
    session = config.stash[_SESSION] = Session(origin)
    if command := config.getoption("refdiff_target_exec"):
        session.origin = f"$ {command}"
    if any(config.getoption(f"refdiff_{name}") not in (None, False) for name in _LAUNCHING):
        _launch(config)  # A usage error now, and not in the middle of the run.
    if config.getoption("refdiff_seed") < 0:
        raise pytest.UsageError(f"--refdiff-seed wants a number from 0, got {config.getoption('refdiff_seed')}")
    if not session.origin.startswith("$ ") and not all(origin.partition(":")):
        raise pytest.UsageError(f"--refdiff-target wants package.module:factory, got {origin!r}")
    if path := config.getoption("refdiff_known_failures"):
        from refdiff.conformance import known
        from refdiff.conformance.clauses import clauses
        from refdiff.errors import ConfigError

        try:
            session.known = known.read(config.invocation_params.dir / path, clauses())
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the standing of clauses when somebody else's code is judged, without importing it: it needs torch."""
    suite = collection_path.parent
    if suite.name != "standing" or suite.parent.name not in ("validation", "refdiff_validation"):
        return None
    session = config.stash[_SESSION]
    if session.origin == DEFAULT_TARGET or collection_path.suffix != ".py":
        return None
    from refdiff.conformance.check import declared

    for clause, kinds in declared(collection_path).items():
        session.declared.setdefault(clause, set()).update(kinds)
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note whether there is anything to do."""
    found = any(item.get_closest_marker("refdiff_check") for item in items)
    config.stash[_SESSION].active = found and not config.option.collectonly


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a check over the processes of the target, and turn what it found into an outcome of pytest."""
    mark = pyfuncitem.get_closest_marker("refdiff_check")
    if mark is None:
        return None
    from refdiff.conformance.clauses import clauses

    check: Check = mark.args[0]
    config = pyfuncitem.config
    session = config.stash[_SESSION]
    own, *others = _judge(config).run(check, pyfuncitem.obj)
    found = json.dumps([outcome.as_json() for outcome in (own, *others)])
    pyfuncitem.user_properties.append(("refdiff", found))
    name = session.judge.claim.name if session.judge and session.judge.claim else session.origin
    line = f"{name}: {own.clause}: {own.reason}"
    weak = clauses()[own.clause].level == "SHOULD" and not config.getoption("refdiff_strict")
    # Under --runxfail an xfail returns, and the report, not the item, says what is known or weak.
    if own.status == "fail" and own.clause in session.known:
        pytest.xfail(f"known: {session.known[own.clause].reason}")
    elif own.status == "fail" and weak:
        pytest.xfail(f"weak: {line}")
    elif own.status == "fail":
        pytest.fail(line, pytrace=False)
    elif own.status != "pass":
        pytest.skip(f"{own.status.replace('_', ' ')}: {line}")
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach to the report of a standing test what it showed."""
    report = yield
    if item.get_closest_marker("refdiff_standing") and (report.when == "call" or report.failed):
        standing = _standing(item)
        shown = {"clauses": standing.clauses, "kind": standing.kind, "passed": report.passed, "test": item.name}
        report.user_properties.append(("refdiff_standing", json.dumps(shown)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what checks and standing tests found; under xdist this runs where the report is written."""
    if not _CURRENT:
        return
    found = [name for name, _ in report.user_properties]
    if report.failed and "refdiff_check" in report.keywords and "refdiff" not in found:
        _CURRENT[0].broken.append(f"{report.nodeid}: the suite itself failed, with a traceback above")
    for name, value in report.user_properties:
        if name == "refdiff" and report.when == "call":
            from refdiff.conformance.outcome import Outcome

            _CURRENT[0].outcomes += map(Outcome.from_json, json.loads(str(value)))
        elif name == "refdiff_standing" and (report.when == "call" or report.failed):
            _stood(_CURRENT[0], json.loads(str(value)))


_CURRENT: list[Session] = []
"""pytest_runtest_logreport is given no config: the session of this process, innermost first."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember which session reports arrive for."""
    _CURRENT.insert(0, session.config.stash[_SESSION])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what an xdist worker knows of the target."""
    if sent := getattr(node, "workeroutput", {}).get("refdiff"):
        node.config.stash[_SESSION].workers.append(json.loads(sent))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, and fail the run for what no single test shows."""
    config, own = session.config, session.config.stash[_SESSION]
    _CURRENT.remove(own)
    if hasattr(config, "workeroutput"):
        if own.active:
            config.workeroutput["refdiff"] = json.dumps(_sent(own))
        return
    for sent in own.workers:
        own.active = True
        for clause, kinds in sent["declared"].items():
            own.declared.setdefault(clause, set()).update(kinds)
    if not own.active or not (own.outcomes or own.broken):
        return
    from refdiff.conformance import render, report

    own.report = _report(config, own)
    strict = config.getoption("refdiff_strict")
    bad = {"non-conforming", "weak"} if strict else {"non-conforming"}
    if own.report.verdict in bad and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    folder = config.invocation_params.dir / config.getoption("refdiff_report")
    try:
        report.write(own.report, folder, render.markdown(own.report))
    except OSError as error:
        raise pytest.UsageError(
            f"--refdiff-report wants a folder that can be written, got {folder} ({error})"
        ) from None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    own = config.stash[_SESSION]
    if own.report is None:
        return
    from refdiff.conformance import render

    terminalreporter.section(f"refdiff: {render.title(own.report)}")
    terminalreporter.write_line(render.table(own.report))
    terminalreporter.write_line("")
    for line in render.problems(own.report):
        terminalreporter.write_line(line, red=" weak:" not in line, yellow=" weak:" in line)
    terminalreporter.write_line(render.verdict(own.report), bold=True)
    where = own.unwritten or f"report: {config.getoption('refdiff_report')}/report.json, report.md"
    terminalreporter.write_line(where, red=bool(own.unwritten))


_LAUNCHING = ("target_exec", "target_python", "memory", "in_process")


def _launch(config: pytest.Config) -> Launch | None:
    """Return how to start the target in a process of its own, or None. Raises UsageError."""
    command, python, memory, in_process = (config.getoption(f"refdiff_{name}") for name in _LAUNCHING)
    if in_process or not hasattr(os, "killpg"):
        if (command, python, memory) != (None, None, None):
            raise pytest.UsageError(
                "expected a target in a process of its own with --refdiff-target-exec, --refdiff-target-python or "
                "--refdiff-memory, got one in pytest's own"
            )
        return None
    if command is not None and (config.getoption("refdiff_target") or python is not None):
        raise pytest.UsageError("expected one target, got --refdiff-target-exec and another option that names one")
    from refdiff.conformance.remote import Launch, size
    from refdiff.errors import ConfigError

    try:
        launch = Launch(command=command, python=python, memory=None if memory is None else size(memory))
        launch.argv(DEFAULT_TARGET, None)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    return launch


def _judge(config: pytest.Config) -> Judge:
    session = config.stash[_SESSION]
    if session.judge is None:
        from refdiff.conformance.judge import Judge, Settings

        settings = Settings(
            seed=config.getoption("refdiff_seed"),
            full=config.getoption("refdiff_full"),
            seconds=config.getoption("refdiff_timeout"),
        )
        # Bare `pytest` does not put the user's folder on sys.path; `python -m pytest` does.
        folder = Path(config.invocation_params.dir)
        session.judge = Judge.of(session.origin, settings, folder=folder, launch=_launch(config))
    return session.judge


def _standing(item: pytest.Item) -> Standing:
    mark = item.get_closest_marker("refdiff_standing")
    assert mark is not None
    standing: Standing = mark.args[0]
    return standing


def _stood(session: Session, shown: Mapping[str, Any]) -> None:
    for clause in shown["clauses"]:
        if shown["passed"]:
            session.stood.setdefault(clause, set()).add(shown["kind"])
        else:
            session.broken.append(f"{clause}: the {shown['kind']} evidence {shown['test']} did not hold")


def _sent(own: Session) -> dict[str, Any]:
    from refdiff.conformance.report import described

    claim = own.judge.claim if own.judge else None
    return {
        "target": described(claim, own.origin),
        "declared": {clause: sorted(kinds) for clause, kinds in own.declared.items()},
    }


def _report(config: pytest.Config, own: Session) -> Report:
    from refdiff.conformance.clauses import clauses
    from refdiff.conformance.report import assemble, described, environment

    ran = own.origin == DEFAULT_TARGET
    loaded = [sent["target"] for sent in own.workers if sent["target"]["dtype"]]
    return assemble(
        clauses().values(),
        own.outcomes,
        target=loaded[0] if loaded else described(own.judge.claim if own.judge else None, own.origin),
        environment=environment(
            seed=config.getoption("refdiff_seed"), full=config.getoption("refdiff_full"), standing_run=ran
        ),
        standing=own.stood if ran else own.declared,
        broken_standing=own.broken,
        known=own.known,
        required=[need.strip() for need in config.getoption("refdiff_require").split(",") if need.strip()],
    )
