"""refdiff.training: the names that it exports."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import refdiff.training
from refdiff.training import _HOMES


def test_lazy_names_are_the_names_that_a_type_checker_sees() -> None:
    """The table of homes and the imports under TYPE_CHECKING are one list."""
    text = Path(refdiff.training.__file__).read_text("utf-8")
    typed = re.findall(r"^    from refdiff\.training\.(\w+) import (\w+) as (\w+)$", text, re.M)
    assert {name: home for home, name, alias in typed if name == alias} == _HOMES


@pytest.mark.parametrize("name", sorted(_HOMES))
def test_each_lazy_name_is_the_object_of_its_module(name: str) -> None:
    """`refdiff.training.x` is `refdiff.training.home.x`, and is listed by dir."""
    assert getattr(refdiff.training, name) is getattr(import_module(f"refdiff.training.{_HOMES[name]}"), name)
    assert name in dir(refdiff.training)


def test_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match=r"module 'refdiff\.training' has no attribute 'nothing'"):
        _ = refdiff.training.nothing


def test_settings_do_not_import_the_run() -> None:
    """A config is made without what only a run needs."""
    code = "import sys; from refdiff.training import Config; Config(); print('refdiff.training.run' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
