"""The table of layers in CONTRIBUTING equals the import rules that lint-imports checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read_table(text: str) -> list[tuple[int, set[str]]]:
    """Return the number and the modules of each row of the section Layers, in the order of the page."""
    section = text.partition("\n## Layers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section, re.M)
    return [(int(number), set(re.findall(r"`(\w+)`", modules))) for number, modules in rows]


def read_contract() -> list[set[str]]:
    """Return the modules of each layer of refdiff, from the highest, as pyproject.toml states them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (
        rule["layers"] for rule in rules if rule["type"] == "layers" and rule["layers"][0] == "refdiff.__main__"
    )
    return [{module.strip().removeprefix("refdiff.") for module in layer.split(":")} for layer in layers]


def list_modules() -> set[str]:
    """Return the modules and packages of refdiff that hold code."""
    found = {path.stem for path in (ROOT / "refdiff").glob("*.py")} - {"__init__"}
    return found | {path.parent.name for path in (ROOT / "refdiff").glob("*/__init__.py")}


def test_table_equals_contract() -> None:
    """Each row has the modules of one layer, and rows are numbered down to 1."""
    contract = read_contract()
    expected = list(zip(range(len(contract), 0, -1), contract, strict=True))
    assert read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) == expected


def test_every_module_has_a_layer() -> None:
    """A module outside the layers could import anything."""
    assert set().union(*read_contract()) == list_modules()


@pytest.mark.parametrize(("old", "new"), [("`loss`, `var", "`var"), ("| 7 |", "| 6 |"), ("`weighting`", "`weights`")])
def test_drift_is_seen(old: str, new: str) -> None:
    """A module that is missing, a wrong number and a wrong name each change what is read."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert old in text
    assert read_table(text.replace(old, new)) != read_table(text)
