"""Exceptions of refdiff: their hierarchy and the form of their messages."""

from __future__ import annotations

import ast
import builtins
import pickle
from pathlib import Path

import pytest

import refdiff
from refdiff.errors import ConfigError, DomainError, RefdiffError


def test_a_domain_error_says_clause_need_and_value() -> None:
    """One sentence: what was expected, what came instead, which clause."""
    assert str(DomainError("SCH-2", "beta_min >= 0", -1.0)) == "expected beta_min >= 0, got -1.0 (SCH-2)"


@pytest.mark.parametrize("error", [DomainError("SCH-2", "x", 1), ConfigError("no such file")])
def test_every_error_has_the_root_and_is_a_value_error(error: Exception) -> None:
    """Who catches refdiff's errors catches all; who knows only ValueError misses none."""
    assert isinstance(error, RefdiffError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("error", [DomainError("SCH-2", "x", 1), ConfigError("no such file")])
def test_errors_reach_another_process(error: RefdiffError) -> None:
    """An error that is pickled, as a process pool does, keeps its type and its message."""
    received = pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes that this test made
    assert type(received) is type(error)
    assert str(received) == str(error)


def test_the_core_raises_nothing_else_on_purpose() -> None:
    """Every `raise` of the core names an error of refdiff."""
    core = ("tensors", "numerics", "derived", "schedule", "marginal", "parameterization", "chain")
    own = {"DomainError", "ConfigError"}
    for name in core:
        tree = ast.parse((Path(refdiff.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
        raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        names = {call.func.id for call in raised if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}
        assert len(raised) == sum(isinstance(call, ast.Call) for call in raised), f"{name} re-raises"
        assert names <= own, f"{name} raises {names - own}"
        assert not names & set(dir(builtins))
