"""Pages opened in Chromium: nothing is logged or fetched, and they fit a phone and a sheet of paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.compare import compared
from refdiff.conformance.html import page
from refdiff.conformance.html.template import filled
from refdiff.conformance.report import assemble
from refdiff.conformance.series import MOST, POINTS
from refdiff.conformance.stored import stored
from tests.conformance.browser import opened
from tests.conformance.reports import TARGET, made, outcome, series, worst

PHONE = 360
"""Pixels across."""


def seconds_to_open(page: Any) -> float:
    """Return the processor time in which the page is parsed, laid out and painted: wall time depends on others."""
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.reload(wait_until="load")
    metrics = client.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def columns(page: Any) -> int:
    """Return in how many columns the first figures are."""
    script = "getComputedStyle(document.querySelector('details[open] .figures')).gridTemplateColumns.split(' ').length"
    return int(page.evaluate(script))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a report in which every clause has as many figures as it may have, and long words."""
    many = [
        series(kind, POINTS if kind != "order" else 5) for kind in ("errors", "law", "order") for _ in range(MOST // 3)
    ]
    long = "w" * 300
    outcomes = [outcome(name, "fail", long, ratio=3.0, drawn=many) for name in list(clauses())[::2]]
    outcomes += [outcome(name, "pass", ratio=0.5, drawn=many) for name in list(clauses())[1:-1:2]]
    outcomes.append(outcome(list(clauses())[-1], "not_claimed", "the claim lists no step"))
    found = assemble(clauses().values(), outcomes, target={**TARGET, "name": long})
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(stored(found.as_json())), encoding="utf-8")
    return path


def test_page_on_a_phone(report: Path) -> None:
    """Nothing is logged, nothing is fetched, and nothing but a table scrolls sideways, opened or not."""
    with opened(report, PHONE) as (shown, told):
        window: Any = shown
        assert window.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert columns(window) == 1
        window.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert window.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert told == []


def test_page_on_paper(report: Path) -> None:
    """In print every clause is open, with its figures in one column; a PDF is made, and the page opens in a second."""
    with opened(report, 1200) as (shown, told):
        window: Any = shown
        assert 0.0 < seconds_to_open(window) < 1.0
        closed = window.locator("details:not([open]) blockquote").first
        assert not closed.is_visible()
        assert columns(window) == 2
        window.emulate_media(media="print")
        assert closed.is_visible()
        assert columns(window) == 1
        assert window.pdf().startswith(b"%PDF")
        assert told == []


def test_page_of_two_reports(tmp_path: Path) -> None:
    """The same holds for a comparison."""
    old = made(outcome("ABC-1", "pass", ratio=0.1), outcome("ABC-2", "fail", "w" * 300))
    new = made(outcome("ABC-1", "fail", "w" * 300, ratio=worst(3.0).ratio), target={**TARGET, "version": "2" * 200})
    path = tmp_path / "changes.html"
    changes = compared(stored(old.as_json()), stored(new.as_json()))
    path.write_text(filled("compare.html.j2", changes=changes), encoding="utf-8")
    with opened(path, PHONE) as (shown, told):
        window: Any = shown
        assert window.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert window.locator("text=Something got worse").is_visible()
        assert told == []
