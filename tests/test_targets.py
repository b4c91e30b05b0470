"""The command that judges libraries: what it lists, and the page that it writes. No library is imported."""

from __future__ import annotations

import ast
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from validation.targets import listing, record
from validation.targets.listing import LIBRARIES, installed
from validation.targets.matrix import load, matrix

FOLDER = Path(listing.__file__).parent
TARGETS = [target for targets in LIBRARIES.values() for target in targets]


@pytest.mark.parametrize("target", TARGETS)
def test_every_listed_target_is_a_function_of_its_module(target: str) -> None:
    """`module:factory` exists, and the module's docstring names the factory."""
    module, factory = target.split(":")
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    assert factory in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert factory in (ast.get_docstring(tree) or "")


def _lines(node: ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_adapters_are_small() -> None:
    """An adapter has at most 80 lines a class, and half of them at most 40, as the helpers do the rest."""
    paths = {FOLDER / f"{target.split(':')[0]}.py" for target in TARGETS}
    bodies = [node for path in paths for node in ast.parse(path.read_text(encoding="utf-8")).body]
    lines = sorted(_lines(node) for node in bodies if isinstance(node, ast.ClassDef))
    assert lines[-1] <= 80
    assert lines[(len(lines) - 1) // 2] <= 40


def test_a_library_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is installed is judged; torch is."""
    monkeypatch.setitem(LIBRARIES, "no-such-library", ())
    assert "torch" in installed()
    assert "no-such-library" not in installed()


def _report(status: str, ulps: object, *, in_part: bool = False) -> dict[str, Any]:
    clause = {"id": "MAR-4", "chapter": "2 Marginal", "status": status, "in_part": in_part, "worst": {"ulps": ulps}}
    other = {"id": "MAR-5", "chapter": "2 Marginal", "status": "not_claimed", "in_part": False, "worst": None}
    target = {"origin": "validation.targets.mylib:vp", "version": "1.0", "dtype": "float32"}
    cover = {"judged": 1, "total": 71}
    environment = {"python": "3.11.7", "packages": {"numpy": "2.4.6", "torch": "2.14.1"}}
    return {
        "target": target, "cover": cover, "verdict": "non-conforming", "clauses": [clause, other],
        "environment": environment,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "ulps", "in_part", "cell"),
    [("pass", 0.5, False, "✓ 0.5"), ("fail", 1203.4, False, "FAIL 1.2e+03"), ("pass", None, True, "✓*")],
)
def test_the_page_says_what_the_report_says(status: str, ulps: object, in_part: bool, cell: str) -> None:
    """Status, worst error and cover; a clause that nobody claims has no column; missing libraries are named."""
    page = matrix([_report(status, ulps, in_part=in_part)], ["azula"], date(2026, 11, 27))
    assert f"## 2 Marginal\n\n| target | MAR-4 |\n|---|---|\n| mylib:vp | {cell} |\n" in page
    assert "| mylib:vp | 1.0 | float32 | non conforming | 1 of 71 |" in page
    assert ("| MAR-4 | none |" in page) == (status == "fail")
    assert "Date: 2026-11-27. Not installed, so not judged: azula." in page


def test_a_target_without_a_report_is_none(tmp_path: Path) -> None:
    """So is one whose run was stopped; the page says which."""
    assert load(tmp_path) is None
    for complete in (False, True):
        (tmp_path / "report.json").write_text(json.dumps({"environment": {"complete": complete}}), encoding="utf-8")
        assert (load(tmp_path) is not None) == complete
    assert "left out: mylib:vp." in matrix([], [], date(2026, 11, 27), ["mylib:vp"])


def test_each_difference_from_the_record_is_said() -> None:
    """A status that changed, a clause claimed anew or no longer, a target that is new or gone; nothing else."""
    before = {"a:vp": {"MAR-1": "pass", "MAR-2": "pass", "MAR-3": "warning"}, "b:vp": {"MAR-1": "pass"}}
    after = {"a:vp": {"MAR-1": "fail", "MAR-3": "warning", "MAR-4": "pass"}, "c:vp": {}}
    assert list(record.changes(before, before)) == []
    assert list(record.changes(before, after)) == [
        "a:vp: MAR-1 was pass, is fail",
        "a:vp: MAR-2 was pass, is not_claimed",
        "a:vp: MAR-4 was not_claimed, is pass",
        "b:vp: is not judged any more",
        "c:vp: was not judged before",
    ]


def test_the_record_is_of_the_page() -> None:
    """Both are of one run: the same targets, and of each the same clauses that fail."""
    page = (FOLDER / "RESULTS.md").read_text(encoding="utf-8").split("\n## ")[0]
    kept = record.read()
    rows = dict(re.findall(r"^\| (\S+:\S+) \| [^|]+ \| \w+ \| [^|]+ \| [^|]+ \| ([^|]+) \|", page, re.M))
    assert {target.removeprefix("validation.targets.") for target in kept} == set(rows)
    for target, statuses in kept.items():
        fails = [clause for clause, status in statuses.items() if status == "fail"]
        assert rows[target.removeprefix("validation.targets.")] == (", ".join(fails) or "none")
    assert record.statuses([_report("fail", 2.0)]) == {"validation.targets.mylib:vp": {"MAR-4": "fail"}}
