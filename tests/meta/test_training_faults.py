"""Checks of chapters 3, 5, 6, 7, 8 and 10: faults of published code fail their clauses, and right code passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain, Cosine, Linear, Own, Target
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.report import Report, assemble, described
from tests.meta.targets.trainer import F, Trainer, averaged, importance, stratified, target_of, weight_of
from validation.checks.suite import checks

LINEAR = Trainer()
COSINE = Trainer(processes=(Cosine(s=0.008),))
CHAIN = Trainer(processes=(Chain.linear(1000, beta_start=1e-4, beta_end=0.02),))
OWN = Trainer(processes=(Own(label="sech"),))


def judged(target: Target, prefixes: set[str], seed: int = 0) -> Report:
    """Return the report on a target, by the clauses with these prefixes."""
    judge = Judge.of(target, Settings(seed=seed))
    outcomes = judge.judge(c for c in checks() if c[0].clause[:3] in prefixes)
    return assemble(clauses().values(), outcomes, target=described(judge.claim, judge.origin))


def failing(report: Report) -> set[str]:
    """Return the MUST clauses that fail."""
    return {row.clause.id for row in report.rows if row.status == "fail" and row.clause.level == "MUST"}


def _weight(**wrong: Any) -> Any:
    """Return the table of weights with one weight on eps replaced, and those on other predictions that follow."""

    def weight(snr: Any, sigma2: Any, beta: Any, name: str, prediction: str) -> Any:
        return wrong[name](snr, prediction) if name in wrong else weight_of(snr, sigma2, beta, name, prediction)  # type: ignore[arg-type]  # names of the contract

    return weight


def _clipped(x: Any, e: Any, t: Any, s: Any) -> Any:
    """Return a ddim step that clips x_0 and keeps eps, so that the two no longer recompose x_t."""
    x_0 = np.clip((x - np.sqrt(F(1) - t) * e) / np.sqrt(t), -1, 1)
    return np.sqrt(s) * x_0 + np.sqrt(F(1) - s) * e


def _adjacent(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Return a ddpm step that uses beta_k for any stride."""
    mean = (x - t[1] / np.sqrt(F(1) - t[0]) * e) / np.sqrt(F(1) - t[1])
    return mean + np.sqrt(t[1] * (F(1) - s[0]) / (F(1) - t[0])) * z


def _large(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    ratio = t[0] / s[0]
    return (x - (F(1) - ratio) / np.sqrt(F(1) - t[0]) * e) / np.sqrt(ratio) + np.sqrt(F(1) - ratio) * z


def _root_of_log(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    ratio = t[0] / s[0]
    variance = (F(1) - ratio) * (F(1) - s[0]) / (F(1) - t[0])
    return (x - (F(1) - ratio) / np.sqrt(F(1) - t[0]) * e) / np.sqrt(ratio) + np.sqrt(np.log(variance)) * z


def _kept(step: Any) -> Any:
    """Return an average of a history by a function step(decay, average, weights, k)."""

    def averages(decay: float, history: Any) -> Any:
        rows = [history[0]]
        for k, row in enumerate(history[1:], start=1):
            rows.append(step(decay, rows[-1], row, k))
        return np.stack(rows).astype(F)

    return averages


def _warmed(decay: float, history: Any) -> Any:
    """Average with a warm-up that overwrites the decay, which then keeps its value of the first step (hf#1864)."""
    rows, kept = [history[0]], decay
    for k, row in enumerate(history[1:], start=1):
        kept = min(kept, (1 + k) / (10 + k))
        rows.append(rows[-1] + F(1 - kept) * (row - rows[-1]))
    return np.stack(rows)


def _in_bfloat16(decay: float, history: Any) -> Any:
    """Average in bfloat16, each operation rounded."""
    short = FORMATS["bfloat16"].rounded
    rows, d, rest = [short(history[0])], short(decay), short(1 - decay)
    for row in history[1:]:
        rows.append(short(short(d * rows[-1]) + short(rest * short(row))))
    return np.stack([history[0], *rows[1:]]).astype(F)


def _in_place(decay: float, history: Any) -> Any:
    """Average in place, which overwrites the input."""
    history.flags.writeable = True
    for k in range(1, len(history)):
        history[k] = history[k - 1] + F(1 - decay) * (history[k] - history[k - 1])
    return history


FAULTS: dict[str, tuple[Trainer, set[str]]] = {
    "decay swapped": (LINEAR.with_fault(ema=_kept(lambda d, a, w, k: F(1 - d) * a + F(d) * w)), {"TRN-1", "TRN-3"}),
    "warm-up overwrites the decay": (LINEAR.with_fault(ema=_warmed), {"TRN-1", "TRN-3"}),
    "warm-up where none is asked": (
        LINEAR.with_fault(ema=_kept(lambda d, a, w, k: a + F(1 - min(d, (1 + k) / (10 + k))) * (w - a))),
        {"TRN-1", "TRN-3"},
    ),
    "average never stepped": (LINEAR.with_fault(ema=_kept(lambda d, a, w, k: a)), {"TRN-1", "TRN-3"}),
    "average stepped every other time": (
        LINEAR.with_fault(ema=_kept(lambda d, a, w, k: a + F(1 - d) * (w - a) if k % 2 else a)),
        {"TRN-1", "TRN-3"},
    ),
    "average one step late": (
        LINEAR.with_fault(ema=lambda d, h: averaged(d, h[[0, *range(len(h) - 1)]])),
        {"TRN-1"},
    ),
    "average from 0": (
        LINEAR.with_fault(ema=lambda d, h: averaged(d, np.concatenate([0 * h[:1], h]))[1:]),
        {"TRN-1", "TRN-3"},
    ),
    "live weights for the average": (LINEAR.with_fault(ema=lambda d, h: h.copy()), {"TRN-1", "TRN-3"}),
    "plain mean": (
        LINEAR.with_fault(ema=_kept(lambda d, a, w, k: a + (w - a) / F(k + 1))),
        {"TRN-1", "TRN-3"},
    ),
    "decay squared": (LINEAR.with_fault(ema=lambda d, h: averaged(d * d, h)), {"TRN-1", "TRN-3"}),
    "average kept in bfloat16": (LINEAR.with_fault(ema=_in_bfloat16), {"TRN-1", "TRN-3"}),
    "average in place": (LINEAR.with_fault(ema=_in_place), {"CON-3", "TRN-1"}),
    "averages without the first": (LINEAR.with_fault(ema=lambda d, h: averaged(d, h)[1:]), {"CON-2", "TRN-1"}),
    "prediction ignored": (LINEAR.with_fault(target=lambda x, e, a, s, p: e), {"LOS-1", "LOS-3"}),
    "sign of the score's target": (
        LINEAR.with_fault(target=lambda x, e, a, s, p: e / s if p == "score" else target_of(x, e, a, s, p)),
        {"LOS-1"},
    ),
    "sign of v": (
        LINEAR.with_fault(target=lambda x, e, a, s, p: s * x - a * e if p == "v" else target_of(x, e, a, s, p)),
        {"LOS-1"},
    ),
    "mean of weights times mean of squares": (
        LINEAR.with_fault(squares=lambda w, r: np.mean(w) * r**2),
        {"LOS-2", "LOS-8"},
    ),
    "mean over features for the sum": (LINEAR.with_fault(squares=lambda w, r: w * r**2 / F(3)), {"LOS-1", "LOS-2"}),
    "half of the square": (LINEAR.with_fault(squares=lambda w, r: F(0.5) * w * r**2), {"LOS-1"}),
    "absolute for square": (LINEAR.with_fault(squares=lambda w, r: w * np.abs(r)), {"LOS-1"}),
    "max for min": (LINEAR.with_fault(weight=_weight(min_snr=lambda r, p: np.maximum(r, F(5)) / r)), {"LOS-8"}),
    "SNR + 1 inside the min": (
        LINEAR.with_fault(
            weight=lambda r, v, b, n, p: (
                np.minimum(r + 1, F(5)) / (r + 1) if (n, p) == ("min_snr", "v") else weight_of(r, v, b, n, p)
            )
        ),
        {"LOS-5", "LOS-8"},
    ),
    "NaN at SNR 0": (COSINE.with_fault(weight=_weight(min_snr=lambda r, p: np.minimum(r, F(5)) / r)), {"LOS-9"}),
    "SNR for 1/SNR": (LINEAR.with_fault(weight=_weight(inverse_snr=lambda r, p: r)), {"LOS-7"}),
    "clipped weight": (
        LINEAR.with_fault(weight=lambda r, v, b, n, p: np.minimum(weight_of(r, v, b, n, p), F(100))),
        {"LOS-7", "LOS-10"},
    ),
    "noise permuted": (LINEAR.with_fault(noise=lambda e: e[::-1]), {"LOS-1"}),
    "denoiser asked for t * 1000": (LINEAR.with_fault(asked=lambda d, x, t: d(x, t * F(1000))), {"LOS-1"}),
    "denoiser asked twice": (LINEAR.with_fault(asked=lambda d, x, t: d(x, t) + 0 * d(x, t)), {"CON-2"}),
    "denoiser never asked": (LINEAR.with_fault(asked=lambda d, x, t: x), {"CON-2"}),
    "importance without weights": (
        LINEAR.with_fault(times=lambda n, rng: (importance(n, rng)[0], np.ones(n, dtype=F))),
        {"TIM-2"},
    ),
    "density for its inverse": (
        LINEAR.with_fault(times=lambda n, rng: (importance(n, rng)[0], F(1) / importance(n, rng)[1])),
        {"TIM-2"},
    ),
    "strata in order, bent": (
        LINEAR.with_fault(times=lambda n, rng: (np.sort(stratified(n, rng)[0]) ** F(1.05), np.ones(n, dtype=F))),
        {"TIM-2"},
    ),
    "strata in order, bent, of its own": (
        OWN.with_fault(times=lambda n, rng: (np.sort(stratified(n, rng)[0]) ** F(1.05), np.ones(n, dtype=F))),
        {"TIM-2"},
    ),
    "n + 1 strata": (LINEAR.with_fault(times=lambda n, rng: stratified(n + 1, rng)), {"CON-2"}),
    "one seed for all": (LINEAR.with_fault(times=lambda n, rng: stratified(n, np.random.default_rng(0))), {"TIM-5"}),
    "half of time": (
        LINEAR.with_fault(times=lambda n, rng: (stratified(n, rng)[0] / F(2), np.ones(n, dtype=F))),
        {"TIM-2"},
    ),
    "weights of NaN": (
        LINEAR.with_fault(times=lambda n, rng: (stratified(n, rng)[0], np.full(n, np.nan, dtype=F))),
        {"TIM-1"},
    ),
    "index from 0": (CHAIN.with_fault(index=lambda t, n: np.minimum((t * n).astype(np.int64), n - 1)), {"TIM-1"}),
    "sign of the reverse drift": (
        LINEAR.with_fault(em=lambda x, e, z, h, b, s: x - h * (F(0.5) * b * x - b * e / s) + np.sqrt(b * h) * z),
        {"SMP-1"},
    ),
    "h for sqrt(h)": (
        LINEAR.with_fault(em=lambda x, e, z, h, b, s: x + h * (F(0.5) * b * x - b * e / s) + np.sqrt(b) * h * z),
        {"SMP-1"},
    ),
    "score without sigma": (
        LINEAR.with_fault(em=lambda x, e, z, h, b, s: x + h * (F(0.5) * b * x - b * e) + np.sqrt(b * h) * z),
        {"SMP-1"},
    ),
    "flow without its half": (LINEAR.with_fault(ode=lambda x, e, h, b, s: x + h * b * (F(0.5) * x - e / s)), {"SMP-4"}),
    "beta_k in a strided step": (CHAIN.with_fault(ddpm=_adjacent), {"SMP-2"}),
    "transition's variance": (CHAIN.with_fault(ddpm=_large), {"SMP-2", "SMP-6"}),
    "transition's variance, of its own": (OWN.with_fault(ddpm=_large), {"SMP-5", "SMP-7"}),
    "root of the log of the variance": (CHAIN.with_fault(ddpm=_root_of_log), {"SMP-2"}),
    "x_0 in the direction": (
        LINEAR.with_fault(
            ddim=lambda x, e, t, s: (np.sqrt(s) + np.sqrt(F(1) - s)) * (x - np.sqrt(F(1) - t) * e) / np.sqrt(t)
        ),
        {"SMP-3", "SMP-5"},
    ),
    "x_0 clipped": (LINEAR.with_fault(ddim=_clipped), {"SMP-3", "SMP-6"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_reported(name: str) -> None:
    """A fault fails the clauses that it breaks; the report has the place and size of the error, or the broken rule."""
    target, expected = FAULTS[name]
    prefixes = {clause[:3] for clause in expected} | ({"LOS", "TIM"} if expected == {"CON-2"} else set())
    report = judged(target, prefixes - {"CON"})
    assert report.does_not_conform
    assert expected <= failing(report)
    for row in report.rows:
        if row.clause.id in expected and not {"CON-2", "CON-3"} & expected:
            assert row.worst is not None
            assert row.worst.at
            assert row.worst.ratio > 1.0


def test_infinite_results_fail_without_suite_errors() -> None:
    """An infinite diffusion, and weights of 0, fail their clauses; NumPy's warnings cause no suite error."""
    infinite = LINEAR.with_fault(
        diffusion=lambda b: b * F("inf"),
        times=lambda n, rng: (stratified(n, rng)[0], np.zeros(n, dtype=F)),
    )
    report = judged(infinite, {"SDE", "TIM"})
    assert {"SDE-2", "SDE-4", "TIM-1", "TIM-2"} <= failing(report)
    assert not [row.reason for row in report.rows if "the suite itself failed" in row.reason]


RIGHT = {
    "linear": LINEAR,
    "cosine": COSINE,
    "chain": CHAIN,
    "own": OWN,
    "mean over the batch": Trainer(reduction="batch_mean"),
    "mean over all": Trainer(reduction="all_mean"),
    "every linear": Trainer(processes=(Linear,)),
    "importance": LINEAR.with_fault(times=importance),
    "independent": LINEAR.with_fault(times=lambda n, rng: (rng.random(n, dtype=F), np.ones(n, dtype=F))),
    "average that weighs both sides": LINEAR.with_fault(ema=_kept(lambda d, a, w, k: F(d) * a + F(1 - d) * w)),
    "average with 1 - d from a rounded d": LINEAR.with_fault(
        ema=_kept(lambda d, a, w, k: F(d) * a + (F(1) - F(d)) * w)
    ),
    "average kept in float64": LINEAR.with_fault(
        ema=lambda d, h: _kept(lambda d, a, w, k: d * a + (1 - d) * w)(d, h.astype(np.float64))
    ),
    "DDIM by its general form": LINEAR.with_fault(
        ddim=lambda x, e, t, s: np.sqrt(s / t) * x + (np.sqrt(1 - s - F(0)) - np.sqrt(s * (1 - t) / t)) * e
    ),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", RIGHT)
def test_right_code_passes(name: str, seed: int) -> None:
    """Right code in float32 fails no MUST clause, even if it cancels."""
    report = judged(RIGHT[name], {"SDE", "LOS", "TIM", "DIS", "SMP", "TRN", "CON"}, seed)
    assert failing(report) == set(), [row.reason for row in report.rows if row.status == "fail"]


def test_drifting_average_fails_a_should_clause_only() -> None:
    """TRN-2: the form d a + (1 - d) w drifts, and fails TRN-2 alone; averages that preserve constants fail nothing."""
    levels = {}
    for name in ("average that weighs both sides", "average kept in float64", "linear"):
        rows = judged(RIGHT[name], {"TRN"}).rows
        levels[name] = {(row.clause.id, row.clause.level) for row in rows if row.status == "fail"}
    assert levels == {
        "average that weighs both sides": {("TRN-2", "SHOULD")},
        "average kept in float64": set(),
        "linear": set(),
    }
