"""The mutation of libraries: its operators, the code that it replaces, and its record."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from validation.checks.suite import checks
from validation.tools.library_mutation import judging
from validation.tools.library_mutation.code import replace, watch
from validation.tools.library_mutation.forked import Late, Lost, forked
from validation.tools.library_mutation.operators import mutants, mutated
from validation.tools.library_mutation.order import Measured, Order
from validation.tools.library_mutation.page import PAGE, page
from validation.tools.library_mutation.record import RECORD, Part, Verdict, read, write
from validation.tools.library_mutation.subjects import SUBJECTS

SOURCE = '''"""A library."""


def signal(t: float, scale: float = 2.0) -> float:
    """Return 3 t."""
    if t < -1:
        raise ValueError("below -1")
    if t > 1 and scale:
        return scale
    return 1 - t / scale


class Table:
    def __init__(self, size: int = 7) -> None:
        self.rows = [max(k, 3) for k in range(size)]

    def entry(self, k: int) -> int:
        k += 0
        return -self.rows[k]
'''


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ModuleType]:
    """Import the source as a module."""
    file = tmp_path / "library_under_mutation.py"
    file.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[file.stem]


@pytest.mark.parametrize(
    ("operator", "after"),
    [
        ("arithmetic", {"return 1 + t / scale", "return 1 - t * scale", "k -= 0"}),
        ("operands", {"return t / scale - 1", "return 1 - scale / t"}),
        ("comparison", {"if t >= 1 and scale:"}),
        ("logic", {"if t > 1 or scale:"}),
        ("sign", {"return self.rows[k]"}),
        ("call", {"self.rows = [k for k in range(size)]"}),
        ("arguments", {"self.rows = [max(3, k) for k in range(size)]"}),
        ("index", {"return -self.rows[k - 1]"}),
        (
            "constant",
            {
                *(
                    "if t > 2 and scale:",
                    "if t > 0 and scale:",
                    "return 2 - t / scale",
                    "return 0 - t / scale",
                    "k += 1",
                ),
                "self.rows = [max(k, 4) for k in range(size)]",
            },
        ),
    ],
)
def test_operator(operator: str, after: set[str]) -> None:
    """An operator changes each place that it is for, and neither checks that only raise nor options."""
    assert {mutant.after for mutant in mutants(SOURCE) if mutant.operator == operator} == after


def test_mutants_differ_from_the_source_in_one_line() -> None:
    """Each mutant's tree differs from the source in one line."""
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in mutants(SOURCE):
        after = ast.unparse(mutated(SOURCE, mutant)).splitlines()
        assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def _mutant(after: str) -> Any:
    return next(mutant for mutant in mutants(SOURCE) if mutant.after == after)


def test_replaced_code_runs_wherever_the_function_is_held(library: ModuleType) -> None:
    """A function, a wrapper of it, and an object made before the change run the changed code."""
    held: Callable[..., float] = functools.wraps(library.signal)(lambda t: library.signal(t))
    table, signal = library.Table(), library.signal
    for after in ("return 1 + t / scale", "return self.rows[k]"):
        replace(library, mutated(SOURCE, _mutant(after)), _mutant(after).function)
    assert (held(1.0), signal(1.0), table.entry(5)) == (1.5, 1.5, 5)


def test_watched_functions_note_their_lines(library: ModuleType) -> None:
    """The lines of the statements that a call executes are noted, and no others."""
    hits = watch(library, SOURCE)
    assert library.signal(0.5) == 0.75
    lines = SOURCE.splitlines()
    assert [lines[line - 1].strip() for line in sorted(hits)] == [
        '"""Return 3 t."""',
        "if t < -1:",
        "if t > 1 and scale:",
        "return 1 - t / scale",
    ]


@pytest.mark.filterwarnings("ignore:os.fork")  # JAX warns of any fork where another test has imported it
def test_a_fork_leaves_no_trace() -> None:
    """A fork's result comes back, and what it changes does not; one that fails or dies is lost, one that hangs late."""
    seen: list[int] = []

    def note() -> list[int]:
        seen.append(1)
        return seen

    assert forked(note, 60.0) == [1]
    assert seen == []
    with pytest.raises(Lost, match="ZeroDivisionError"):
        forked(lambda: 1 // 0, 60.0)
    with pytest.raises(Lost, match="got none"):
        forked(lambda: os._exit(1), 60.0)
    with pytest.raises(Late, match="in time"):
        forked(lambda: os.read(os.pipe()[0], 1), 0.1)


def test_order_puts_cheap_checks_and_killers_first() -> None:
    """Of the checks that pass and reach a line, the one with the most kills per second comes first."""
    rows = [(0, True, 1.0, {1}), (1, True, 0.1, {1, 2}), (2, False, 0.0, {1, 3}), (3, True, 0.0, {2})]
    order = Order(
        [
            Measured(target="a", check=check, passed=passed, seconds=seconds, lines=frozenset(lines))
            for check, passed, seconds, lines in rows
        ]
    )
    assert order.lines == {1, 2}
    assert order.of(1) == [("a", 1), ("a", 0)]
    for _ in range(40):
        order.learn([("a", 1), ("a", 0)], killed=True)
    assert order.of(1) == [("a", 0), ("a", 1)]


def test_a_mutant_of_a_library_is_killed_through_its_adapter() -> None:
    """A sign in `add_noise` of diffusers is found by MAR-4, in a fork that leaves the library as it was."""
    pytest.importorskip("diffusers")
    from validation.tools.library_mutation.work import Work

    work = Work(SUBJECTS["ddpm"], None)
    sign = next(
        m
        for m in mutants(work.source)
        if m.function.endswith("add_noise") and m.after.endswith("- sqrt_one_minus_alpha_prod * noise")
    )
    position = next(i for i, (check, body) in enumerate(checks()) if body.__name__ == "test_perturb")
    runs = [("diffusers_training:ddpm", position)]

    def judged() -> Any:
        replace(work.module, mutated(work.source, sign), sign.function)
        return judging.killing(runs)

    assert forked(judged, 120.0)["clause"] == checks()[position][0].clause
    assert forked(lambda: judging.killing(runs), 120.0) == {"runs": 1}


def _part() -> Part:
    common: dict[str, Any] = {"function": "f", "operator": "sign", "before": "-a | b"}
    rows = (
        Verdict(
            line=1, after="a | b", clause="MAR-4", check="test_perturb", target="x:y", own="t.py::A::test_b", **common
        ),
        Verdict(line=2, after="c", own="t.py::A::test_full_loop", golden=True, why="a reason", **common),
        Verdict(line=3, after="d", own="", **common),
    )
    return Part(
        library="diffusers",
        version="1.0",
        module=SUBJECTS["ddpm"].module,
        mutants=9,
        not_reached=5,
        unreached={"g": 5},
        seed=0,
        judged=rows,
    )


def test_page_counts_what_the_record_holds(tmp_path: Path) -> None:
    """The record comes back as it was written, and the page counts and lists what it holds."""
    write({"ddpm": _part()}, tmp_path / "record.json")
    assert read(tmp_path / "record.json") == {"ddpm": _part()}
    text = page({"ddpm": _part()})
    assert "| **diffusers** | 9 | 5 | 3 | 1 (33 %) | 2 (67 %) | 1 | 1 |" in text
    assert "| 2 | `-a \\| b` | `c` | test_full_loop | a reason |" in text
    assert "| 3 | `-a \\| b` | `d` | none |  |" in text


@pytest.mark.skipif(not RECORD.is_file(), reason="no record")
def test_page_is_that_of_the_record() -> None:
    """The page agrees with the record, every survivor has its reason, and refdiff kills 90 % in each library."""
    parts = read()
    assert PAGE.read_text(encoding="utf-8") == page(parts)
    for library in {part.library for part in parts.values()}:
        judged = [verdict for part in parts.values() if part.library == library for verdict in part.judged]
        assert [verdict for verdict in judged if not verdict.clause and not verdict.why] == []
        assert sum(bool(verdict.clause) for verdict in judged) >= 0.9 * len(judged)
