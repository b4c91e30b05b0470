"""validation.tools.mutation: what it leaves out, that it kills what it should, and the form of its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from validation.tools.mutation import page, record
from validation.tools.mutation.__main__ import main
from validation.tools.mutation.checkout import ROOT, Checkout
from validation.tools.mutation.mutant import Mutant, described
from validation.tools.mutation.noise import is_silent, silent_spans
from validation.tools.mutation.plan import PLANS, Plan

GUIDANCE = "refdiff/guidance.py"
SOURCE = '''\
"""Text of 1 module."""
Name: TypeAlias = Literal[2] | None

class Protocolled(Protocol):
    def method(self, *, n: int = 0) -> int: ...

@dataclass(frozen=True)
class Holder:
    value: Array[3] = 4

    def twice(self, *, x: Array[5]) -> Array[6]:
        if x < 7:
            raise ValueError(f"expected another x, got {x + 8}")
        return x * 9
'''


def test_what_says_nothing_of_the_mathematics_is_left_out() -> None:
    """Texts, protocols, aliases, decorators, types, stars and errors are silent; formulas and conditions are not."""
    spans = silent_spans(SOURCE)
    found: dict[str, bool] = {}
    for number, line in enumerate(SOURCE.splitlines(), start=1):
        found |= {char: is_silent((number, i), spans) for i, char in enumerate(line) if char in "0123456789"}
        found |= {"True": is_silent((number, line.index("True")), spans)} if "True" in line else {}
    assert [mark for mark, silent in found.items() if not silent] == ["4", "7", "9"]
    _, star, product = ((number, line.index("*")) for number, line in enumerate(SOURCE.splitlines(), 1) if "*" in line)
    assert (is_silent(star, spans), is_silent(product, spans)) == (True, False)


def test_a_mutant_is_described_by_what_differs() -> None:
    """Line, operator without its prefix, and the changed line before and after."""
    mutated = SOURCE.replace("x * 9", "x / 9")
    found = described(SOURCE, mutated, "core/ReplaceBinaryOperator_Mul_Div", "twice")
    assert found == Mutant(14, "Mul_Div", "twice", "return x * 9", "return x / 9")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Return a copy of the repository with a server."""
    made = Checkout(tmp_path_factory.mktemp("copy") / "of", warm=("torch", "hypothesis", "jaxtyping"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("was", "becomes", "killer"),
    [
        ("guidance * (", "guidance / (", "tests/test_guidance.py::"),
        ("import isfinite", "import isfinitely", "tests/"),
        ("return without +", "while True: pass\n        return without +", "a limit"),
        (
            "without + guidance * (conditional(x_t, t) - without)",
            "guidance * (conditional(x_t, t) - without) + without",
            None,
        ),
    ],
)
def test_a_planted_mutant_is_killed(checkout: Checkout, was: str, becomes: str, killer: str | None) -> None:
    """A wrong formula, a broken import and an endless loop are killed, and the same formula survives."""
    source = (ROOT / GUIDANCE).read_text("utf-8")
    assert was in source
    with checkout.changed(GUIDANCE, source.replace(was, becomes)):
        killed_by, _ = checkout.failure(Plan((("tests/test_guidance.py",),)), seconds=2.0 if killer else 60.0)
    assert (killed_by is None) if killer is None else (killed_by or "").startswith(killer)
    assert (checkout.folder / GUIDANCE).read_text("utf-8") == source


def test_a_check_of_the_suite_kills(checkout: Checkout) -> None:
    """Without a unit test, the check of SMP-9 kills a wrong guidance, and refdiff passes it."""
    plan, source = Plan((), ("SMP-9",)), (ROOT / GUIDANCE).read_text("utf-8")
    assert checkout.failure(plan, seconds=60.0)[0] is None
    with checkout.changed(GUIDANCE, source.replace("- without)", "+ without)")):
        assert (checkout.failure(plan, seconds=60.0)[0] or "").startswith("SMP-9")


def test_the_plan_names_what_is_there() -> None:
    """Every module and every test file of the plan exists."""
    assert [
        name for module, plan in PLANS.items() for name in (module, *plan.files) if not (ROOT / name).exists()
    ] == []


def test_the_record_is_in_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Every survivor has a reason, the counts add up, and the page is the one that the record gives."""
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def _row(**changes: Any) -> dict[str, Any]:
    alive = [Mutant(3, "Mul_Div", "f", "a * b", "a / b")]
    made = record.entry(None, ROOT / GUIDANCE, mutants=9, chosen=6, seed=0, tested=5, survivors=alive)
    return made | changes


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row(), ""),
        (_row(killed=5), "expected killed"),
        (_row(tested=9, killed=8), "expected killed"),
        (_row(seed=None), "a seed"),
        (_row(chosen=9), "a seed"),
        (_row(more=1), "expected ['chosen'"),
        (_row(survivors=[{}]), "of each survivor"),
        (_row(survivors=[_row()["survivors"][0] | {"reason": ""}]), "the reason"),
        (_row(survivors=[_row()["survivors"][0] | {"equivalent": True}]), "the reason"),
    ],
)
def test_a_wrong_record_is_seen(row: dict[str, Any], says: str) -> None:
    """The law can fail, each way."""
    found = record.faults({GUIDANCE: row})
    assert found == [] if not says else says in found[0]


def test_a_reason_outlives_a_new_run_and_a_change_is_named(tmp_path: Path) -> None:
    """A survivor that survives again keeps its reason, wherever its line went; a changed module is stale."""
    before = _row()
    before["survivors"][0] |= {"equivalent": True, "reason": "b is 1"}
    alive = [Mutant(8, "Mul_Div", "f", "a * b", "a / b"), Mutant(4, "Add_Sub", "f", "a + b", "a - b")]
    after = record.entry(before, ROOT / GUIDANCE, mutants=9, chosen=9, seed=None, tested=9, survivors=alive)
    assert [(row["line"], row["reason"]) for row in after["survivors"]] == [(4, record.OPEN), (8, "b is 1")]
    assert record.stale({GUIDANCE: after, "refdiff/gone.py": after}) == ["refdiff/gone.py"]
    assert record.stale({GUIDANCE: after | {"digest": "0"}}) == [GUIDANCE]
    record.written({GUIDANCE: after}, tmp_path / "record.json")
    assert record.loaded(tmp_path / "record.json") == {GUIDANCE: after}
    assert "| 4 | Add_Sub | `a + b` | `a - b` | no |" in page.written({GUIDANCE: after})
