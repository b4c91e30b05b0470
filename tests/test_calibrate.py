"""The calibration: uniform p-values pass, others are caught, whatever refuses is counted, and the exit says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import numpy as np
import pytest

from validation.checks import test_times
from validation.checks.suite import checks
from validation.statistics.design import SHARES, Design, Floats
from validation.statistics.experiments import _DESIGNS, CHECKS, Experiment
from validation.tools import calibrate
from validation.tools.calibrate import P, judged, main, once

EVEN = (np.arange(200) + 0.5) / 200
"""As uniform as 200 p-values can be."""


def _found(values: Floats, *, exact: bool = True, passed: bool = True, name: str = "one") -> list[P]:
    return [P(name, value, exact, passed) for value in values.tolist()]


def _off(found: Iterable[P]) -> list[str]:
    return [row.experiment for row in judged(found) if not row.passed]


@pytest.mark.parametrize("exact", [True, False])
def test_uniform_values_pass(exact: bool) -> None:
    """A row for each experiment, and one for the exact ones together."""
    rows = judged([*_found(EVEN, exact=exact), *_found(EVEN[::-1], exact=exact, name="two")])
    assert [row.experiment for row in rows] == ["one", "two", *(["all exact ones together"] if exact else [])]
    assert [row.runs for row in rows] == [200, 200, *([400] if exact else [])]
    assert all(row.passed and row.smallest == 0.0025 and row.distance == pytest.approx(0.0025) for row in rows)


@pytest.mark.parametrize(
    ("bent", "exact", "caught"),
    [
        (lambda p: p**2, True, True),  # cries wolf too often
        (lambda p: p**2, False, True),
        (lambda p: p**0.5, True, True),  # hardly ever: a tolerance in disguise
        (lambda p: p**0.5, False, False),  # what a bias allows for
        (lambda p: 0.25 + p / 2, True, True),  # never far out: the samples are not independent of their limits
        (lambda p: p * 0.0 + 1.0, False, False),
        (lambda p: p * np.nan, True, True),
        (lambda p: p * np.nan, False, True),
    ],
)
def test_values_that_are_not_uniform_are_caught(bent: Callable[[Floats], Floats], exact: bool, caught: bool) -> None:
    """Both ways where p is exact; towards small values alone where it may be larger; NaN always."""
    off = _off([*_found(EVEN, name="right"), *_found(bent(EVEN), exact=exact)])
    assert ("one" in off) is caught
    assert "right" not in off


def test_small_deviations_of_all_experiments_are_caught_together() -> None:
    """Twenty experiments, each but a little off, are far off as one."""
    found = [p for i in range(20) for p in _found(EVEN**1.3, name=str(i))]
    assert _off(found) == ["all exact ones together"]


def test_a_run_that_fails_is_counted() -> None:
    """A design that refuses one of 200 right samples is off, however uniform its p-values."""
    found = [*_found(EVEN[1:]), *_found(EVEN[:1], passed=False)]
    assert [row.refused for row in judged(found)] == [1, 0]
    assert _off(found) == ["one"]


MEAN = Design(name="euler-mean", law="mean", catches=0.9, why="a plant")
"""Design of the planted experiments."""


def _only(monkeypatch: pytest.MonkeyPatch, *experiments: Experiment) -> None:
    """Leave these experiments, no checks, and no other process."""
    monkeypatch.setattr(calibrate, "_experiments", lambda: list(experiments))
    monkeypatch.setattr(calibrate, "checks", lambda: ())
    monkeypatch.setattr(calibrate, "ProcessPoolExecutor", _Here)


class _Here:
    """A pool of this process."""

    def __init__(self, jobs: int, initializer: Callable[[], None]) -> None:
        assert jobs == 1
        assert callable(initializer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[int], list[P]], seeds: Iterable[int]) -> Iterable[list[P]]:
        return map(function, seeds)


ARGUMENTS = ["--runs", "40", "--first-seed", "7", "--jobs", "1"]


def _normal(n: int, spread: float = 1.0) -> Callable[[int], Floats]:
    return lambda seed: spread * np.random.default_rng(seed).standard_normal(n)


def test_right_experiments_exit_with_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each seed once, from the first; the table has a line for each experiment."""
    seeds: list[int] = []

    def draw(seed: int) -> Floats:
        seeds.append(seed)
        return _normal(MEAN.n)(seed)

    _only(monkeypatch, Experiment("right", MEAN, draw))
    assert main(ARGUMENTS) == 0
    assert seeds == list(range(7, 47))
    printed = capsys.readouterr().out
    assert "| right " in printed
    assert "2 of 2 uniform" in printed
    assert "OFF" not in printed


@pytest.mark.parametrize(("spread", "failed"), [(3.0, True), (0.1, False)])
def test_wrong_experiments_exit_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spread: float, failed: bool
) -> None:
    """Draws three times too wide, which also fail their design; and too narrow, which never would."""
    wrong = Experiment("wrong", MEAN, _normal(MEAN.n, spread))
    assert any(not MEAN.judge(wrong.draw(seed)).passed for seed in range(7, 47)) is failed
    _only(monkeypatch, Experiment("right", MEAN, _normal(MEAN.n)), wrong)
    assert main(ARGUMENTS) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("|")]
    assert {line.split("|")[1].strip() for line in lines if "OFF" in line} >= {"wrong"}
    assert not any("OFF" in line for line in lines if "| right " in line)


def test_checks_on_refdiff_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One check by design, on the reference, with two seeds: a value for each process, another for another seed."""
    _only(monkeypatch)
    body = test_times.test_place_says_nothing
    assert body in CHECKS
    monkeypatch.setattr(calibrate, "checks", lambda: [pair for pair in checks() if pair[1] is body])
    one, other = once(1), once(2)
    assert len(one) == len(other) > 1
    assert [p.experiment for p in one] == [f"test_place_says_nothing[{i}]" for i in range(len(one))]
    assert all(p.passed and not p.exact for p in (*one, *other))
    assert [p.value for p in one] != [p.value for p in other]


def test_every_line_of_the_ledger_is_calibrated() -> None:
    """Every share of the budget belongs to an experiment of the evidence, or to a check by design."""
    evidence = {experiment.design.name for experiment in calibrate._experiments()}
    assert checks()
    assert set(_DESIGNS) == set(SHARES)
    assert len(set(SHARES) - evidence) == len(CHECKS)
