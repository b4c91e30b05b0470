"""report.html: made from report.json alone, with all that is in it, nothing from elsewhere, and of bounded size."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refdiff import templates
from refdiff.conformance import pages
from refdiff.conformance.clauses import clauses
from refdiff.conformance.html import page
from refdiff.conformance.html.claims import CALLS, advice, how
from refdiff.conformance.html.figures import figure
from refdiff.conformance.html.scale import logarithmic
from refdiff.conformance.html.slope import interval, slope
from refdiff.conformance.interface import METHODS
from refdiff.conformance.known import KnownFailure
from refdiff.conformance.outcome import Outcome, Result
from refdiff.conformance.render import verdict
from refdiff.conformance.report import Report, assemble
from refdiff.conformance.series import MOST, POINTS, Kind, Series
from refdiff.conformance.stored import read, stored
from refdiff.errors import ConfigError
from tests.conformance.reports import PROCESS, TARGET, made, outcome, series, worst

ALL = (series("errors"), series("order"), series("law"))


def whole() -> Report:
    """Return a report with a clause of every status that a report may have."""
    return made(
        outcome("ABC-1", "fail", "sigma is wrong", ratio=3.0, drawn=ALL),
        outcome("ABC-2", "fail", "known to be wrong", ratio=2.0),
        outcome("ABC-3", "not_claimed", "the claim lists no step and no perturb"),
        outcome("ABC-4", "fail", "inaccurate", ratio=9.0),
        outcome("ABC-5", "pass", ratio=0.5, drawn=ALL),
        known={"ABC-2": KnownFailure(reason="r", link="l")},
        missing=["ABC-5: test_it: was deselected"],
    )


def text(found: str) -> str:
    """Return what a page shows, with single blanks."""
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            seen.append(data)

    Reader().feed(re.sub(r"<style>.*?</style>", "", found, flags=re.S))
    return " ".join("".join(seen).split())


def test_a_report_comes_back_from_its_json() -> None:
    """What is read from report.json gives the same JSON, so a page needs nothing else."""
    for report in (whole(), made(), made(outcome("ABC-4", "not_claimed"), required=["ABC-4"])):
        data = json.loads(json.dumps(report.as_json()))
        assert json.loads(json.dumps(stored(data).report.as_json())) == data
        assert stored(data).report.verdict == report.verdict


def test_the_verdict_comes_first_in_a_sentence() -> None:
    """With its cover, before anything else that is said of a clause."""
    seen = text(page(stored(whole().as_json())))
    assert seen.index(f"{verdict(whole())}.") < seen.index("A title")


def test_everything_that_a_failure_has_is_shown() -> None:
    """Status in words, reason, got, expected, bound, where, reproducer, evidence, and the three kinds of figures."""
    shown = page(stored(whole().as_json()))
    for name in ("quantity", "where", "got", "expected", "off by", "bound", "how many"):
        assert f"<dt>{name}</dt>" in shown
    for part in ("✗ fail", "sigma is wrong", "1.5", "t = 0.25", "3 of 9 are beyond", "print(1)", "test_it"):
        assert part in text(shown)
    for part in ("error of at most 5 ulp", "1 of 5 points beyond", "measured order 2 (2 to 2", "at most 0.01 from"):
        assert part in text(shown)
    assert shown.count("<svg") == shown.count("<figcaption") == 6
    for word in ("! warning", "~ known failure", "✓ pass"):
        assert word in text(shown)


def summaries(shown: str) -> dict[str, str]:
    """Return by clause what its closed row shows."""
    found = re.findall(r'<details class="clause [^"]*" id="([^"]+)"[^>]*>\n<summary>(.*?)</summary>', shown, flags=re.S)
    return {name: text(row) for name, row in found}


def test_a_closed_row_names_what_its_failure_may_follow_from() -> None:
    """The names of all its roots, and nothing of the kind in the row of a root."""
    wrong = [outcome(name, "fail", "wrong", ratio=3.0) for name in ("MAR-1", "MAR-2", "MAR-4")]
    broken = Result(process=PROCESS, status="fail", failures=("x (CON-2)",), broken=("CON-2",), methods=("loss",))
    wrong += [Outcome(clause=name, check="c", status="fail", results=(broken,)) for name in ("CON-2", "LOS-1")]
    rows = summaries(page(stored(assemble(clauses().values(), wrong, target=TARGET).as_json())))
    assert "may follow from MAR-1 and MAR-2" in rows["MAR-4"]
    assert "follows from CON-2" in rows["LOS-1"]
    assert not [name for name in ("MAR-1", "MAR-2", "CON-2") if "follow" in rows[name]]


def test_text_comes_before_figures() -> None:
    """What was got and expected, its bound, the hint and the reproducer stand above the first figure."""
    data = whole().as_json()
    row = page(stored(data)).split('id="ABC-1"')[1].split('<details class="clause')[0]
    places = [row.index(part) for part in ("sigma is wrong", "Hint", "<dt>got", "<dt>bound", "print(1)", "<svg")]
    assert places == sorted(places)


def test_figures_that_look_alike_are_folded() -> None:
    """One of them is shown, and the others are counted; errors at other times, and of another size, are shown."""

    def shown(*drawn: Series) -> tuple[int, int]:
        row = page(stored(made(outcome("ABC-1", "fail", "x", ratio=3.0, drawn=drawn)).as_json()))
        folded = re.findall(
            r'<details class="more">\n<summary>(\d) more figures?</summary>(.*?)</details>', row, flags=re.S
        )
        assert all(int(count) == inside.count("<svg") for count, inside in folded)
        return row.count("<svg"), sum(int(count) for count, _ in folded)

    def errors(*points: tuple[float, float]) -> Series:
        values = tuple((x, error, 1.0) for x, error in points)
        return Series(kind="errors", quantity="q", process=PROCESS, axis="t", points=values, of=9)

    early, late = errors((1e-9, 5.0), (1e-8, 5.0), (1.0, 0.1)), errors((1e-9, 0.1), (0.5, 5.0), (1.0, 5.0))
    large, right = errors((1e-9, 0.1), (0.5, 5e4), (1.0, 5e4)), errors((0.1, 0.5), (1.0, 0.5))
    assert shown(early, early, early) == (3, 2)
    assert shown(early, late, large, right) == (4, 0)
    assert shown(late, large, right, right) == (4, 1)
    assert shown(series("law"), series("law")) == (2, 0)


def test_what_was_not_claimed_says_how_to_claim_it() -> None:
    """Each capability that the claim lacks, with its method and the clauses that wait for it."""
    found = {one.lacks: one for one in advice(whole())}
    assert set(found) == {"step", "perturb"}
    assert found["step"].clauses == "ABC-3"
    assert "step(x_t, value, t, s, noise, rule)" in text(page(stored(whole().as_json())))
    assert "type" in how("the claim does not cover every Linear: to be judged, claim the type Linear")
    assert "processes" in how("the claim lists no Linear or Cosine")
    assert CALLS.keys() == METHODS.keys()
    assert all(method in CALLS[name] for name, methods in METHODS.items() for method in methods)


def test_what_a_failure_looks_like_is_shown_once() -> None:
    """The diagnosis of a clause, or of its checks, is a list of sentences; without one nothing is said."""
    data = whole().as_json()
    assert "What it looks like" not in text(page(stored(data)))
    data["clauses"][0]["checks"][0]["diagnosis"] = ["sigma matches fault variance-for-deviation"]
    assert text(page(stored(data))).count("sigma matches fault variance-for-deviation") == 1
    data["clauses"][0]["diagnosis"] = ["sigma matches fault variance-for-deviation"]
    seen = text(page(stored(data)))
    assert seen.count("sigma matches fault variance-for-deviation") == 1


def hostile() -> Report:
    """Return a report in which all that comes from outside tries to be markup."""
    bad = "</pre><script>alert(1)</script><img src=http://e.org/x>\x1b[2J\u202e"
    own = series()
    one = outcome(
        "ABC-1", "fail", bad, drawn=[type(own)(**{**{n: getattr(own, n) for n in own.__slots__}, "quantity": bad})]
    )
    found = Outcome(
        **{
            **{n: getattr(one, n) for n in one.__slots__},
            "worst": worst(3.0, reproducer=bad),
            "reproducer": bad,
            "check": bad,
        }
    )
    return made(found, target={**TARGET, "name": bad, "version": bad, "origin": bad, "processes": [bad]}, missing=[bad])


def test_what_comes_from_outside_is_text() -> None:
    """No tag, no address and no control character of a target's makes it into the page as such."""
    shown = page(stored(hostile().as_json()))
    assert "<script" not in shown
    assert "<img" not in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "alert(1)" in text(shown)


def test_a_page_needs_nothing_from_elsewhere() -> None:
    """No script, and no address but that of the icon, which is empty; a policy forbids the rest."""
    shown = page(stored(whole().as_json()))
    assert "<script" not in shown
    assert set(re.findall(r'(?:src|href)="([^#"][^"]*)"', shown)) == {"data:,"}
    assert "url(" not in shown
    assert "default-src 'none'" in shown


def test_a_full_report_is_a_page_of_less_than_2_mb() -> None:
    """With every clause judged, and the most series of each."""
    many = [series(kind, POINTS) for kind in ("errors", "law") for _ in range(MOST // 2)]
    outcomes = [outcome(name, "fail", "wrong " * 20, ratio=3.0, drawn=many) for name in clauses()]
    report = assemble(clauses().values(), outcomes, target=TARGET)
    assert len(page(stored(report.as_json())).encode()) < 2_000_000


def test_the_order_lies_in_its_interval() -> None:
    """Of errors C n^-p that are off by their rounding, the interval contains p; errors that are rounding have none."""
    for order in (1.0, 2.0, 3.0):
        for off in (-1.0, 0.0, 1.0):
            points = [
                (float(n), n**-order * (1.0 + 0.01 * off * (-1) ** i), 0.0101 * n**-order)
                for i, n in enumerate((4, 8, 16))
            ]
            found = interval(points)
            assert found is not None
            assert found[1] <= order <= found[2]
            assert found[1] <= found[0] <= found[2]
    assert interval([(4.0, 1.0, 2.0), (8.0, 1.0, 2.0)]) is None
    assert "no order" in slope([(4.0, float("nan"), 0.0), (8.0, 1.0, 0.0)])


FLOATS = st.floats() | st.sampled_from([0.0, 1e-320, 1e308, -1e308, 1.0])


@given(
    kind=st.sampled_from(["errors", "order", "law"]),
    points=st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=2, max_size=6),
)
def test_whatever_was_measured_can_be_drawn(kind: Kind, points: list[tuple[float, float, float]]) -> None:
    """Infinities, NaN, zeros and the ends of binary64 are drawn inside of the figure."""
    given_ = Series(kind=kind, quantity="q", process="p", axis="t", points=tuple(points), of=9, claimed=4.0)
    places = re.findall(r"[ML]([^ ]+) ([^MLhlvV\"]+)", figure(given_, "c").svg)
    assert all(0.0 <= float(x) <= 340.0 and 0.0 <= float(y) <= 190.0 for x, y in places)


def test_a_page_that_cannot_be_made_changes_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the page is one sentence beside the report, and an older page is removed."""
    (tmp_path / "report.html").write_text("conforms")

    def fails(_: object) -> str:
        raise ZeroDivisionError("a fault\nof refdiff")

    monkeypatch.setattr("refdiff.conformance.html.page", fails)
    said = pages.write_pages(whole(), tmp_path)
    assert said.startswith("report.html was not made, please report it to refdiff: ZeroDivisionError")
    assert "\n" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["badge.json"]


def test_a_logarithmic_axis_holds_what_it_is_of() -> None:
    """In order between its ends, with 0 at the low one and what is infinite or NaN at the high one."""
    axis = logarithmic([0.0, 1e-37, 0.5, float("inf")], 10.0, 110.0)
    places = [axis(value) for value in (0.0, 1e-37, 1e-20, 0.5, float("inf"))]
    assert places == sorted(places)
    assert (places[0], places[-1], axis(float("nan"))) == (10.0, 110.0, 110.0)
    assert 2 <= len(axis.ticks()) <= 5
    assert len(logarithmic([1.0], 0.0, 1.0).ticks()) >= 2


def test_pages_are_written_beside_the_report(tmp_path: Path) -> None:
    """report.html is the page of the report, and nothing is written through a link."""
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").symlink_to(outside)
    assert pages.write_pages(whole(), folder) == ""
    assert (folder / "report.html").read_text(encoding="utf-8") == page(stored(whole().as_json()))
    assert outside.read_text() == "theirs"
    assert sorted(path.name for path in folder.iterdir()) == ["badge.json", "report.html"]


def test_without_jinja2_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is written without its page, and an older page, which would mislead, is removed."""
    (tmp_path / "report.html").write_text("conforms")
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **more)

    templates._environment.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    said = pages.write_pages(whole(), tmp_path)
    monkeypatch.undo()
    assert said == "expected Jinja2 to be installed for report.html, got none: pip install jinja2"
    assert [path.name for path in tmp_path.iterdir()] == ["badge.json"]


def test_the_command_makes_the_page_again(tmp_path: Path) -> None:
    """From report.json alone, beside it; a file that holds no report ends it with one sentence and status 2."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(whole().as_json()))
    command = [sys.executable, "-m", "refdiff.conformance.html"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(stored(whole().as_json()))
    path.write_text("[]")
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert re.fullmatch(r"expected a report.json of refdiff, got .*\n", done.stderr)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("{", "got"),
        ("[]", "names no schema_version"),
        ('{"schema_version": "0"}', "with schema_version 2, got '0'"),
        ('{"schema_version": "2"}', "does not meet report.schema.json (KeyError"),
        ('{"schema_version": "2", "target": {}, "environment": {}, "clauses": [1], "chapters": []}', "TypeError"),
    ],
)
def test_a_file_that_holds_no_report(tmp_path: Path, content: str | None, says: str) -> None:
    """One sentence for each way to be wrong."""
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lack", "says"),
    [
        ("the claim lists no weight snr", "add snr to weights, if the library has it"),
        ("the claim lists no prediction v and no score", "add v or score to predictions, if the library has it"),
        ("the claim lists no conversion v to eps", "add v to eps to conversions, if the library has it"),
        ("the claim lists no two weights that give one loss", "list weights that give one loss"),
        ("the claim lists no step of ddpm or ddim", "list a Step of ddpm or ddim in steps"),
        ("coefficients has no beta", "return beta from coefficients(t), if the library has it"),
        (
            "coefficients has none of alpha_bar, alpha and sigma",
            "return alpha_bar, alpha and sigma from coefficients(t)",
        ),
        ("coefficients has neither alpha nor sigma", "return alpha or sigma from coefficients(t)"),
        ("the claim lists no stochastic sampler", "describe such a sampler in samplers"),
    ],
)
def test_what_to_add_to_a_claim_is_said(lack: str, says: str) -> None:
    """Each thing that a claim may lack has a sentence that names the field to fill."""
    assert how(lack).startswith(says)
