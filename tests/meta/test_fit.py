"""Checks of `fit`: a small trained network and the best denoiser pass, and a bad one is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Process
from refdiff.conformance.report import Report
from tests.meta.targets.fitted import COSINE, DDPM, LINEAR, Fitted, optimal
from tests.meta.test_training_faults import judged
from validation.expected.denoiser import DATA, best


def failing(report: Report) -> set[str]:
    """Return the clauses that fail, MUST and SHOULD: the clauses on training for 5 s are SHOULD."""
    return {row.clause.id for row in report.rows if row.status == "fail"}


@pytest.mark.parametrize("process", [LINEAR, COSINE, DDPM])
def test_small_network_passes(process: Process) -> None:
    """TRN-4 to TRN-6: two hidden layers, trained for a few seconds, have errors below 3/4 of every tolerance."""
    report = judged(Fitted(processes=(process,)), {"TRN", "CON"}, seed=1)
    assert failing(report) == set(), [row.reason for row in report.rows if row.status == "fail"]
    shares = {row.clause.id: row.worst.ratio for row in report.rows if row.worst is not None}
    assert set(shares) == {"TRN-4", "TRN-5", "TRN-6"}
    assert max(shares.values()) < 0.75


@pytest.mark.parametrize("process", [LINEAR, COSINE, DDPM])
def test_best_denoiser_passes(process: Process) -> None:
    """TRN-4 to TRN-6: E[eps | x_t] has no excess loss; its samples have an error below 1/8 of the tolerance of TRN-6.

    That is the discretisation error of the sampling steps.
    """
    report = judged(Fitted(optimal(lambda a, v: best(DATA, a, v)), (process,)), {"TRN"})
    shares = {row.clause.id: row.worst.ratio for row in report.rows if row.worst is not None}
    assert failing(report) == set()
    assert max(shares["TRN-4"], shares["TRN-5"]) < 1e-3
    assert shares["TRN-6"] < 0.125


@pytest.mark.parametrize(
    ("returns", "cause"),
    [
        (lambda x, t: x[:, 0], "expected the denoiser of fit of shape"),
        (lambda x, t: x.astype(np.float64), "expected the denoiser of fit of dtype float32, got float64"),
        (lambda x, t: 1 / 0, "the denoiser of fit raised ZeroDivisionError"),
        (lambda x, t: x.fill(0), "the denoiser of fit writes to its input"),
        (None, "expected fit to return a function of (x_t, t), got NoneType"),
    ],
)
def test_bad_denoiser_is_reported(returns: Any, cause: str) -> None:
    """CON: the guard checks the denoiser that `fit` returns, and the report names the rule that it breaks."""
    report = judged(Fitted(lambda process, data, seed, seconds: returns), {"TRN", "CON"})
    assert {"TRN-4", "TRN-5", "TRN-6"} <= failing(report)
    assert any(cause in row.reason for row in report.rows if row.clause.id.startswith("CON"))


def test_fit_is_called_once_for_all_checks() -> None:
    """For three checks and four linear processes, `fit` is called once."""
    calls: list[tuple[Any, ...]] = []

    def learner(process: Process, data: Any, seed: int, seconds: float) -> Any:
        calls.append((process, data.shape, seconds))
        return optimal(lambda a, v: best(DATA, a, v))(process, data, seed, seconds)

    judged(Fitted(learner, (type(LINEAR),)), {"TRN"})
    assert calls == [(LINEAR, (8192, 1), 5.0)]


def test_process_without_noise_is_not_judged() -> None:
    """TRN-4 to TRN-6: a chain of one step with little noise is not claimed, as the tolerances need noise."""
    report = judged(Fitted(processes=(Chain(betas=(1e-3,)),)), {"TRN"})
    assert {row.status for row in report.rows if row.clause.id in ("TRN-4", "TRN-5", "TRN-6")} == {"not_claimed"}


def test_untrained_network_fails_should_clauses_only() -> None:
    """TRN-4 to TRN-6: an untrained network, as a busy machine may give, is an accuracy warning and fails no MUST."""
    report = judged(Fitted(optimal(lambda a, v: lambda x: 0.0 * x)), {"TRN", "CON"})
    assert {"TRN-4", "TRN-5", "TRN-6"} <= failing(report)
    assert {row.clause.level for row in report.rows if row.status == "fail"} == {"SHOULD"}
