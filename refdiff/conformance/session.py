"""One pytest session as a judgement: which checks ran, what they found, and whether that is the whole of the claim."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pytest

from refdiff.conformance import collection
from refdiff.conformance.options import Choice

if TYPE_CHECKING:
    from refdiff.conformance.check import Check, Evidence
    from refdiff.conformance.diagnosis import Diagnosis, Findings
    from refdiff.conformance.judge import Judge
    from refdiff.conformance.known import KnownFailure
    from refdiff.conformance.outcome import Outcome
    from refdiff.conformance.plan import Planned
    from refdiff.conformance.report import Report

_FAILS = {"incomplete", "non-conforming", "suite-error"}
"""Verdicts that fail a run; under --refdiff-strict one with warnings does too."""


@final
@dataclass(slots=True, eq=False)
class Session:
    """State of the run in one pytest process; a plugin, registered by `plugin`."""

    config: pytest.Config
    choice: Choice
    known: Mapping[str, KnownFailure]
    active: bool = False
    """Whether this is a judgement: a target is named, or a check was met, here or in a worker."""
    begun: bool = False
    evidence_only: bool = False
    """Whether evidence tests were met."""
    judge: Judge | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    why: dict[tuple[str, str], str] = field(default_factory=dict)
    """By clause and check: what became of a test that has no outcome."""
    shown: dict[str, set[str]] = field(default_factory=dict)
    """The same, of tests that ran and passed."""
    broken: list[str] = field(default_factory=list)
    """Evidence that did not hold, one line each."""
    workers: list[Mapping[str, Any]] = field(default_factory=list)
    """Outcomes received from xdist's workers."""
    report: Report | None = None
    suite: str = ""
    """Package of the checks: `validation` in a checkout, and `refdiff_validation` as installed."""
    unpaged: str = ""
    """Why there is no report.html."""

    @property
    def is_worker(self) -> bool:
        """Whether this is a worker of xdist's, which writes no report."""
        return hasattr(self.config, "workerinput")

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return Path(self.config.invocation_params.dir, self.config.getoption("refdiff_report"))

    def _aimed(self) -> bool:
        """Say whether the arguments name the suite, or one of its files that holds checks."""
        for argument in self.config.args:
            name = argument.partition("::")[0]
            path = self.config.invocation_params.dir / name
            if name.partition(".")[0] == "refdiff_validation" and "evidence" not in name:
                return True
            if any(collection.is_suite(folder) for folder in collection.around(path)):
                return True
        return False

    def _begin(self) -> None:
        """Make this a judgement: from now on the report says that it is incomplete, until all has run."""
        self.active = True
        if self.begun:
            return
        self.begun = True
        self.choice.refuse()
        if self.is_worker:
            collection.share_threads(self.config.workerinput["workercount"])  # type: ignore[attr-defined]  # set by xdist
            return
        from refdiff.conformance.markdown import markdown

        unfinished = self._assembled("the run has not come to its end")
        self._write(unfinished, markdown(unfinished), last=False)

    def pytest_sessionstart(self) -> None:
        """Begin at once where a target is named, or the suite is."""
        if self.choice.named or (self._aimed() and not self.config.option.collectonly):
            self._begin()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out the evidence, which needs torch, when somebody else's code is judged; nothing of it is imported."""
        suite = collection_path.parent
        if suite.name != "evidence" or not collection.is_suite(suite.parent):
            return None
        if self.choice.is_default or collection_path.suffix != ".py":
            return None
        return True

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Attach clause and name to a check, so that its reports carry them; a node id would not identify it."""
        if (mark := item.get_closest_marker("refdiff_check")) and isinstance(item, pytest.Function):
            item.user_properties.append(("refdiff_check", json.dumps([mark.args[0].clause, item.originalname])))
        elif item.get_closest_marker("refdiff_evidence"):
            self.evidence_only = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note whether there is anything to judge, and leave out chapters that were not requested."""
        if any(item.get_closest_marker("refdiff_check") for item in items) and not self.config.option.collectonly:
            self._begin()
        if self.choice.chapters:
            left_out = [item for item in items if not self._asked_for(item)]
            items[:] = [item for item in items if self._asked_for(item)]
            self.config.hook.pytest_deselected(items=left_out)

    def _asked_for(self, item: pytest.Item) -> bool:
        if mark := item.get_closest_marker("refdiff_check"):
            clauses: tuple[str, ...] = (mark.args[0].clause,)
        elif mark := item.get_closest_marker("refdiff_evidence"):
            clauses = mark.args[0].clauses
        else:
            return True
        return any(clause.partition("-")[0] in self.choice.chapters for clause in clauses)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note which checks an option or a conftest left out."""
        for item in items:
            for key in collection.keys(item.user_properties):
                self.why[key] = "was deselected, by an option or a conftest"

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a check over the processes of the target, and turn what it found into an outcome of pytest."""
        mark = pyfuncitem.get_closest_marker("refdiff_check")
        if mark is None:
            return None
        check: Check = mark.args[0]
        body = pyfuncitem.obj
        if not collection.is_of_the_suite(pyfuncitem):
            pytest.fail(f"{check.clause}: the check was replaced by a function that is not of the suite", pytrace=False)
        self.suite = body.__module__.partition(".checks.")[0]
        own, *others = self._judge().run(check, body)
        found = json.dumps([outcome.as_json() for outcome in (own, *others)])
        pyfuncitem.user_properties.append(("refdiff", found))
        self._conclude(own)
        return True

    def _conclude(self, own: Outcome) -> None:
        """Raise what pytest counts: nothing for a pass, else its failure, xfail or skip."""
        from refdiff.conformance.clauses import clauses
        from refdiff.errors import plain

        name = self.judge.claim.name if self.judge and self.judge.claim else self.choice.origin
        line = plain(f"{name}: {own.clause}: {own.reason}")
        is_warning = clauses()[own.clause].level == "SHOULD" and not self.choice.strict
        # Under --runxfail an xfail returns, and the report, not the item, says what is known or a warning.
        entry = self.known.get(own.clause) if own.status == "fail" else None
        if entry and entry.covers(result.process for result in own.results if result.status == "fail"):
            pytest.xfail(f"known: {entry.reason}")
        elif own.status == "fail" and is_warning:
            pytest.xfail(f"warning: {line}")
        elif own.status == "suite_error":
            pytest.fail(f"suite error: {line}", pytrace=False)
        elif own.status == "fail":
            pytest.fail(line, pytrace=False)
        elif own.status != "pass":
            pytest.skip(f"{own.status.replace('_', ' ')}: {line}")

    def _judge(self) -> Judge:
        if self.judge is None:
            from refdiff.conformance.judge import Judge, Settings

            settings = Settings(seed=self.choice.seed, full=self.choice.full, seconds=self.choice.seconds)
            # Bare `pytest` does not put the user's folder on sys.path; `python -m pytest` does.
            folder = Path(self.config.invocation_params.dir)
            self.judge = Judge.of(self.choice.origin, settings, folder=folder, launch=self.choice.launch())
        return self.judge

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach to the report of an evidence test what it showed."""
        report = yield
        mark = item.get_closest_marker("refdiff_evidence")
        if mark and (report.when == "call" or report.failed):
            evidence: Evidence = mark.args[0]
            shown = {"clauses": evidence.clauses, "kind": evidence.kind, "passed": report.passed, "test": item.name}
            report.user_properties.append(("refdiff_evidence", json.dumps(shown)))
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what checks and evidence tests found; under xdist this runs where the report is written."""
        found = [name for name, _ in report.user_properties]
        if "refdiff" not in found and (report.when == "call" or not report.passed):
            for key in collection.keys(report.user_properties):
                self.why.setdefault(key, collection.end(report))
        for name, value in report.user_properties:
            if name == "refdiff" and report.when == "call":
                from refdiff.conformance.outcome import Outcome

                self.outcomes += map(Outcome.from_json, json.loads(str(value)))
            elif name == "refdiff_evidence" and (report.when == "call" or report.failed):
                self._record_evidence(json.loads(str(value)))
        if "refdiff" in found and not self.is_worker:
            from refdiff.conformance.junit import shorten

            shorten(report)

    def _record_evidence(self, shown: Mapping[str, Any]) -> None:
        for clause in shown["clauses"]:
            if shown["passed"]:
                self.shown.setdefault(clause, set()).add(shown["kind"])
            else:
                self.broken.append(f"{clause}: the {shown['kind']} evidence {shown['test']} did not hold")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what an xdist worker knows of the target."""
        if sent := getattr(node, "workeroutput", {}).get("refdiff"):
            self.workers.append(json.loads(sent))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, and fail the run for what no single test shows."""
        if self.is_worker:
            self.config.workeroutput["refdiff"] = json.dumps(self._sent())  # type: ignore[attr-defined]  # set by xdist
            return
        self._merge()
        if not self.active:
            return
        from refdiff.conformance import terminal
        from refdiff.conformance.markdown import markdown
        from refdiff.conformance.versions import advice, warn

        terminal.say_once(self.config)
        stopped = str(session.shouldfail or session.shouldstop or "")
        if session.exitstatus == pytest.ExitCode.INTERRUPTED and not stopped:
            stopped = "the run was interrupted before it"
        self.report = self._assembled(stopped or "did not run", is_last=True)
        if changed := advice(self.report.target):
            warn(self.config, changed)
        is_strict = self.choice.strict and self.report.verdict == "conforming-with-warnings"
        bad = self.report.verdict in _FAILS or is_strict
        if bad and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._write(self.report, markdown(self.report), last=True)

    def _sent(self) -> dict[str, Any]:
        return {
            "target": self._target(),
            "active": self.active,
            "evidence_only": self.evidence_only,
            "why": [[*key, why] for key, why in self.why.items()],
            "diagnosis": self._searched().as_json(),
        }

    def _searched(self) -> Findings:
        """Return which known faults give what the target gave to the checks of this process of pytest's."""
        from refdiff.conformance.diagnosis import SECONDS, Findings, searched

        return searched(self.suite, self.judge, self.known, SECONDS) if self.judge else Findings()

    def _merge(self) -> None:
        """Take over what the workers know."""
        for sent in self.workers:
            self.active |= sent["active"]
            self.evidence_only |= sent["evidence_only"]
            for clause, check, why in sent["why"]:
                self.why.setdefault((clause, check), why)

    def _target(self) -> dict[str, Any]:
        from refdiff.conformance.report import described

        judge = self.judge
        return described(judge.claim if judge else None, self.choice.origin, judge.members if judge else ())

    def _planned(self) -> list[Planned]:
        from refdiff.conformance.plan import plan

        return [row for row in plan() if not self.choice.chapters or row.chapter in self.choice.chapters]

    def _diagnosis(self) -> Diagnosis:
        from refdiff.conformance.diagnosis import Findings, concluded

        return concluded([self._searched(), *(Findings.from_json(sent["diagnosis"]) for sent in self.workers)])

    def _assembled(self, stopped: str, *, is_last: bool = False) -> Report:
        """Return the report on what has run so far; stopped: why the rest has not; is_last: whether nothing follows."""
        from refdiff.conformance.clauses import clauses
        from refdiff.conformance.environment import environment
        from refdiff.conformance.plan import evidence, missing
        from refdiff.conformance.report import assemble

        loaded = [sent["target"] for sent in self.workers if sent["target"]["dtype"]]
        target = loaded[0] if loaded else self._target()
        why = {(row.clause, row.check): stopped for row in self._planned()} | self.why
        absent = missing(self._planned(), self.outcomes, target, why)
        return assemble(
            clauses().values(),
            self.outcomes,
            target=target,
            environment=environment(
                seed=self.choice.seed,
                full=self.choice.full,
                evidence_run=self.choice.is_default,
                in_process=self.choice.launch() is None,
            ),
            evidence=self.shown if self.choice.is_default else evidence(),
            broken_evidence=self.broken,
            known=self.known,
            required=self.choice.required,
            missing=[one.sentence() for one in absent],
            chapters=self.choice.chapters,
            diagnosis=self._diagnosis() if is_last else None,
        )

    def _write(self, found: Report, markdown: str, *, last: bool) -> None:
        from refdiff.conformance import known
        from refdiff.conformance.pages import write_pages
        from refdiff.conformance.report import write
        from refdiff.errors import ConfigError

        try:
            write(found, self.folder, markdown, last=last)
            if last and self.choice.first_known:
                known.write(found, Path(self.config.invocation_params.dir) / self.choice.first_known)
            self.unpaged = write_pages(found, self.folder)
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        except OSError as error:
            need = "expected --refdiff-report to name a folder that can be written"
            raise pytest.UsageError(f"{need}, got {self.folder} ({error})") from None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table and the verdict."""
        if self.report is None:
            if self.evidence_only and not self.active:
                terminalreporter.write_line("refdiff: no check was run and no target was named: this is no judgement")
            return
        from refdiff.conformance import terminal
        from refdiff.conformance.github import commands, is_on_github

        folder = self.config.getoption("refdiff_report")
        terminal.write(self.report, terminalreporter, folder)
        terminalreporter.write_line(self.unpaged or f"to read in a browser: {folder}/report.html")
        if is_on_github():
            for line in commands(self.report, Path(self.config.invocation_params.dir)):
                terminalreporter.write_line(line)
