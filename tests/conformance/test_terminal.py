"""The report in the terminal and in report.md: what is folded, and what stands, once, beside a failure."""

from __future__ import annotations

from pathlib import Path

from refdiff.conformance import terminal
from refdiff.conformance.clauses import Clause, Level, clauses
from refdiff.conformance.markdown import markdown
from refdiff.conformance.outcome import Outcome, Result, Status, Worst
from refdiff.conformance.render import refused, spans, unjudged
from refdiff.conformance.report import Report, assemble
from tests.conformance.test_plugin import BAD, ROOT, run
from tests.conformance.test_report import TARGET
from tests.meta.test_judge import LINEAR, judged


def clause(name: str, level: Level = "MUST", title: str = "", hint: str = "") -> Clause:
    """Return a clause of no chapter."""
    return Clause(
        id=name,
        level=level,
        chapter="1 X",
        title=title,
        text="Text.",
        code=("x",),
        evidence_note="",
        check_note="",
        hint=hint,
    )


def outcome(name: str, status: Status, *results: Result, reason: str = "why", worst: Worst | None = None) -> Outcome:
    """Return the outcome of one check."""
    return Outcome(clause=name, check="test_it", status=status, reason=reason, results=results, worst=worst)


def report(made: list[Clause], *outcomes: Outcome) -> Report:
    """Return the report on clauses."""
    return assemble(made, outcomes, target=TARGET)


def test_spans() -> None:
    """Three neighbours or more are a range, in the order of the specification, whatever the order given."""
    assert (
        spans(["MAR-4", "LOS-2", "MAR-2", "LOS-1", "MAR-3", "MAR-3", "NOT-1"]) == "NOT-1, MAR-2 to MAR-4, LOS-1, LOS-2"
    )


def test_what_was_not_judged_is_folded_by_reason() -> None:
    """No row in the table: one line for each reason, which says what the claim lacks."""
    found = judged(LINEAR)
    lines = unjudged(found)
    assert "not claimed, as the claim lists no loss: LOS-1 to LOS-10, LOS-16, LOS-17" in lines
    assert "not claimed, as the claim lists no Cosine: SCH-4, SCH-5" in lines
    assert "not claimed, as coefficients has no beta: SCH-2" in lines
    assert sum(line.startswith("no check, as ") for line in lines) == 1
    shown = terminal.table(found)
    assert {row.clause.id for row in found.rows if f"\n{row.clause.id} " in shown} == {
        row.clause.id for row in found.rows if row.status not in ("not_claimed", "no_check")
    }
    together = "\n".join(terminal.folded(found))
    assert max(map(len, together.splitlines())) <= 100
    assert all(f"- {line}" in markdown(found) for line in lines)


def test_refusals_are_folded_by_reason() -> None:
    """One reason, many calls: one line with their number, the clauses and some of the processes."""
    results = tuple(Result(process=f"P{i}", status="pass", refusals=("no such weight",)) for i in range(5))
    found = report(
        [clause("LOS-1"), clause("LOS-2")], outcome("LOS-1", "pass", *results), outcome("LOS-2", "pass", *results)
    )
    assert refused(found) == ["no such weight: 10 times, in LOS-1, LOS-2, on 5 processes"]
    assert markdown(found).count("no such weight") == 1
    assert sum("no such weight" in line for line in terminal.folded(found)) == 1


def test_cases_of_a_refusal_are_folded() -> None:
    """Checks name the pair that was refused, and join several pairs to one line: the reason is one."""
    lines = (
        "v to score, at the ends of time: not here",
        "x_0 to eps: not here; x_0 to v: not here; eps to v against v to eps: too late",
    )
    found = report([clause("PAR-1")], outcome("PAR-1", "pass", Result(process="P", status="pass", refusals=lines)))
    assert refused(found) == [
        "not here (v to score, at the ends of time, x_0 to eps, x_0 to v): 3 times, in PAR-1, on P",
        "too late (eps to v against v to eps): 1 time, in PAR-1, on P",
    ]
    result = Result(process="P", status="unsupported", refusals=lines)
    found = report([clause("PAR-1")], outcome("PAR-1", "unsupported", result, reason="; ".join(lines)))
    assert unjudged(found) == ["unsupported, as not here; too late: PAR-1"]
    assert refused(found) == []


def test_title_and_hint_stand_beside_the_failure() -> None:
    """Both in the terminal and in report.md; a clause that passes shows its title in the table only."""
    made = [clause("MAR-1", title="Mean of the marginal", hint="use the root"), clause("MAR-2", hint="unasked")]
    found = report(made, outcome("MAR-1", "fail"), outcome("MAR-2", "pass"))
    assert terminal.problems(found)[1:4] == [
        "n: MAR-1 fail: why",
        "    clause: Mean of the marginal",
        "    hint: use the root",
    ]
    assert "Mean of the marginal" in terminal.table(found)
    assert "### MAR-1 (MUST, fail): Mean of the marginal" in markdown(found)
    assert "Hint: use the root" in markdown(found)
    assert "unasked" not in markdown(found)
    assert "title" not in terminal.table(report([clause("MAR-1")], outcome("MAR-1", "pass")))


def test_processes_that_fail_and_pass() -> None:
    """One short line in the terminal; report.md names them all, and each failure."""
    failed = tuple(Result(process=f"F{i}", status="fail", failures=(f"wrong {i}",)) for i in range(5))
    passed = tuple(Result(process=f"P{i}", status="pass") for i in range(4))
    found = report([clause("MAR-1")], outcome("MAR-1", "fail", *failed, *passed, reason="F0: wrong 0"))
    assert terminal.problems(found)[1:] == [
        "n: MAR-1 fail: F0: wrong 0 (and 4 more failures)",
        "    fails on F0, F1, F2 and 2 more; passes on 4 others",
    ]
    page = markdown(found)
    assert "Fails on F0, F1, F2, F3, F4; passes on P0, P1, P2, P3." in page
    assert all(f"- test_it, F{i}: wrong {i}" in page for i in range(5))
    data = found.as_json()["clauses"][0]
    assert (data["failed_on"], data["passed_on"]) == ([f"F{i}" for i in range(5)], [f"P{i}" for i in range(4)])
    assert [list(result["failures"]) for result in data["checks"][0]["results"][:5]] == [
        [f"wrong {i}"] for i in range(5)
    ]


def test_a_broken_rule_is_told_once() -> None:
    """Another clause whose call broke the same rule in the same way refers to it; in another way, it says how."""
    broken = Result(process="P", status="fail", failures=("bad shape (CON-2)",), broken=("CON-2",))
    other = Result(process="P", status="fail", failures=("bad dtype (CON-2)",), broken=("CON-2",))
    found = report(
        [clause("MAR-1"), clause("MAR-2"), clause("CON-2")],
        outcome("MAR-1", "fail", broken, reason="P: bad shape (CON-2)"),
        outcome("MAR-2", "fail", other, reason="P: bad dtype (CON-2)"),
        outcome("CON-2", "fail", reason="P: bad shape"),
    )
    lines = [line for line in terminal.problems(found) if line.startswith("n: ")]
    assert lines[:3] == [
        "n: CON-2 fail: P: bad shape",
        "n: MAR-1 fail: its calls broke CON-2, as reported above",
        "n: MAR-2 fail: P: bad dtype (CON-2)",
    ]


def test_no_number_that_says_nothing() -> None:
    """No ulp of 0, no difference from NaN, and no infinite multiple of a bound."""

    def shown(got: float, want: float, bound: float) -> str:
        error = abs(got - want)
        at = {"t": 0.5}
        worst = Worst(quantity="q", process="P", at=at, got=got, want=want, error=error, bound=bound, ulps=3.0)
        found = report([clause("MAR-1")], outcome("MAR-1", "fail", reason=worst.sentence(), worst=worst))
        return "\n".join([terminal.table(found), *terminal.problems(found)])

    inf, nan = float("inf"), float("nan")
    assert "3 ulp" in shown(1.0, 2.0, 0.1)
    for got, want, bound in ((1.0, 0.0, 0.1), (nan, 1.0, 0.1), (inf, 1.0, 0.1), (1.0, 0.0, 0.0)):
        assert not [word for word in ("ulp", "off by nan", "off by inf", "inf x") if word in shown(got, want, bound)]


def test_hints_are_read() -> None:
    """The specification has hints for the frequent mistakes, and none of them is part of a statement."""
    hinted = {name for name, found in clauses().items() if found.hint}
    assert {"MAR-5", "MAR-10", "TRN-2", "SCH-2", "LOS-2"} <= hinted
    assert not [found for found in clauses().values() if "Hint" in found.text or "Hint" in found.check_note]


def test_each_failure_is_printed_once(tmp_path: Path) -> None:
    """Pytest does not repeat the failures of checks, unless it is asked to or something else failed too."""
    options = ("--refdiff-target", f"{BAD}:gives_nan", "--refdiff-chapter", "MAR")
    done = run(tmp_path, *options)
    assert done.stdout.count("MAR-3 fail: alpha^2 + sigma^2 at t=0 of Linear") == 1
    assert done.stdout.count("alpha^2 + sigma^2 at t=0 of Linear") == 1
    assert "= FAILURES =" not in done.stdout
    assert run(tmp_path, *options, CI="true").stdout.count("alpha^2 + sigma^2 at t=0 of Linear") == 1
    assert run(tmp_path, *options, "--tb", "short").stdout.count("alpha^2 + sigma^2 at t=0 of Linear") == 2
    (tmp_path / "test_theirs.py").write_text("def test_theirs():\n    assert 1 + 1 == 3\n")
    suite = str(ROOT / "validation")
    assert "assert 1 + 1 == 3" in run(tmp_path, *options, suite, suite="test_theirs.py").stdout


def test_what_did_not_run_is_folded_by_reason() -> None:
    """One line with the number of checks and their clauses; report.json lists each."""
    missing = [f"MAR-{i}: test_{i} on Linear(beta_min=0.1, beta_max=20.0): was not judged" for i in (1, 2, 3)]
    found = assemble([clause("MAR-1")], [], target=TARGET, missing=[*missing, "CON-1: test: was deselected"])
    lines = ["3 checks of MAR-1 to MAR-3: was not judged", "1 check of CON-1: was deselected"]
    assert terminal.problems(found) == [f"n: incomplete: {line}" for line in lines]
    assert all(f"- {line}" in markdown(found) for line in lines)
    assert found.as_json()["missing"] == list(found.missing)


def test_hint_of_a_call_that_raised_is_left_out() -> None:
    """A hint is about what a call returns; of a wrong shape it may be the very mend."""

    def shown(rule: str) -> str:
        broken = Result(process="P", status="fail", failures=("f",), broken=(rule,))
        made = [clause("MAR-1", hint="use the root")]
        return "\n".join(terminal.problems(report(made, outcome("MAR-1", "fail", broken))))

    assert "hint: use the root" in shown("CON-2")
    assert "hint" not in shown("CON-5")


def test_hint_of_what_follows_from_another_failure_is_left_out() -> None:
    """A wrong sigma makes sigma inaccurate, and expm1 would not mend it."""
    wrong = Result(process="P", status="fail", failures=("f",))
    made = [clause("MAR-2"), clause("MAR-10", "SHOULD", hint="use expm1")]
    alone = report(made, outcome("MAR-2", "pass"), outcome("MAR-10", "fail", wrong))
    both = report(made, outcome("MAR-2", "fail", wrong), outcome("MAR-10", "fail", wrong))
    assert "hint: use expm1" in "\n".join(terminal.problems(alone))
    assert "hint" not in "\n".join(terminal.problems(both))
