"""The names that `refdiff.conformance` gives to the author of an adapter, and what they do not bring along."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from refdiff import conformance


def test_lazy_names_are_the_names_that_a_type_checker_sees() -> None:
    """The table of homes and the imports under TYPE_CHECKING are one list."""
    tree = ast.parse(Path(conformance.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: node.module for node in imports for alias in node.names}
    assert typed == {name: f"refdiff.conformance.{home}" for name, home in conformance._HOMES.items()}


@pytest.mark.parametrize("name", sorted(conformance._HOMES))
def test_each_name_is_the_object_of_its_module(name: str) -> None:
    """`refdiff.conformance.x` is `refdiff.conformance.home.x`, and dir lists it."""
    home = import_module(f"refdiff.conformance.{conformance._HOMES[name]}")
    assert getattr(conformance, name) is getattr(home, name)
    assert name in dir(conformance)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match=r"module 'refdiff\.conformance' has no attribute 'nothing'"):
        _ = conformance.nothing


@pytest.mark.parametrize("names", ["", "Claim, Linear, Chain, Target, Unsupported, zero_based"])
def test_an_adapter_imports_no_framework(names: str) -> None:
    """An adapter runs in the environment of its library: neither torch nor pytest comes with its imports."""
    code = f"from refdiff.conformance import {names}\n" if names else "import refdiff.conformance\n"
    heavy = {"torch", "pytest", "hypothesis", "scipy", "tabulate"}
    check = f"import sys; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_checks_import_what_few_targets_need_when_it_is_used() -> None:
    """Collecting the suite imports no part of SciPy that takes as long as a small judgement."""
    code = "import sys; from validation.checks.suite import checks; checks()\n"
    heavy = {"scipy.stats", "scipy.integrate", "scipy.interpolate", "scipy.special", "torch"}
    check = f"found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
