"""Chapters 2, 7 and 10: right forms of a step or a posterior pass, and wrong ones fail the clause that they break."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Capability, Chain, Claim, Cosine, Linear, Own, Process, Target, Unsupported
from refdiff.conformance.judge import Judge, Settings
from tests.meta.targets.trainer import F, Trainer
from validation.checks.suite import checks

LINEAR, COSINE = Linear(beta_min=0.1, beta_max=20.0), Cosine(s=0.008)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)
PROCESSES: dict[str, Process] = {
    "linear": LINEAR,
    "from 0": Linear(beta_min=0.0, beta_max=12.0),
    "cosine": COSINE,
    "chain": DDPM,
    "own": Own(label="sech"),
}


@dataclass(frozen=True)
class Only:
    """A target that claims some capabilities of another, optionally with fewer times or events."""

    of: Target
    capabilities: frozenset[Capability]
    narrower: tuple[tuple[str, Any], ...] = ()

    @property
    def claim(self) -> Claim:
        """Return the narrower claim."""
        return replace(self.of.claim, capabilities=self.capabilities, **dict(self.narrower))

    def build(self, process: Process) -> object:
        """Return the object that the other target builds."""
        return self.of.build(process)


def failed(target: Target, prefixes: tuple[str, ...], seed: int = 0) -> dict[str, str]:
    """Return the MUST clauses that fail, with their reasons."""
    outcomes = Judge.of(target, Settings(seed=seed)).judge(c for c in checks() if c[0].clause.startswith(prefixes))
    return {o.clause: o.reason for o in outcomes if o.status == "fail" and clauses()[o.clause].level == "MUST"}


def _step(*capabilities: Capability, process: Process = LINEAR, **formulas: Any) -> Only:
    claimed: frozenset[Capability] = frozenset(capabilities or ("step", "perturb"))
    return Only(Trainer(processes=(process,)).with_fault(**formulas), claimed)


def _x_0(x: Any, e: Any, t: Any) -> Any:
    return (x - np.sqrt(F(1) - t) * e) / np.sqrt(t)


def _by_prediction(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Predict x_0, then draw from the posterior."""
    t, s = t[0], s[0]
    ratio = t / s
    mean = np.sqrt(s) * (F(1) - ratio) / (F(1) - t) * _x_0(x, e, t) + np.sqrt(ratio) * (F(1) - s) / (F(1) - t) * x
    return mean + np.sqrt((F(1) - ratio) * (F(1) - s) / (F(1) - t)) * z


def _by_ddim(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Take DDIM's step with eta = 1, c as a product of roots."""
    t, s = t[0], s[0]
    c = np.sqrt((F(1) - s) / (F(1) - t)) * np.sqrt(F(1) - t / s)
    return np.sqrt(s) * _x_0(x, e, t) + np.sqrt(np.maximum(F(1) - s - c * c, F(0))) * e + c * z


def _by_log_variance(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Take the root of a clipped variance through its logarithm, and no noise in the last step."""
    t, s = t[0], s[0]
    ratio = t / s
    variance = np.maximum((F(1) - ratio) * (F(1) - s) / (F(1) - t), F(1e-20))
    mean = (x - (F(1) - ratio) / np.sqrt(F(1) - t) * e) / np.sqrt(ratio)
    return mean + (s < 1) * np.exp(F(0.5) * np.log(variance)) * z


def _by_score(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Move along the score: x + (1 - ratio) score, over the root of the ratio."""
    t, s = t[0], s[0]
    ratio = t / s
    score = -e / np.sqrt(F(1) - t)
    mean = (x + (F(1) - ratio) * score) / np.sqrt(ratio)
    return mean + np.sqrt(F(1) - s) * np.sqrt(F(1) - ratio) / np.sqrt(F(1) - t) * z


def _by_precision(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Add precisions of prior and likelihood; at s = 0 the prediction itself."""
    t, s = t[0], s[0]
    ratio, x_0 = t / s, _x_0(x, e, t)
    likelihood, prior = ratio / (F(1) - ratio), F(1) / (F(1) - s)
    mean = (np.sqrt(ratio) / (F(1) - ratio) * x + prior * np.sqrt(s) * x_0) / (likelihood + prior)
    return np.where(s < 1, mean + np.sqrt(F(1) / (likelihood + prior)) * z, x_0)


def _in_double(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Compute in float64 from alpha_bar in float32."""
    x, e, z, t, s = (np.asarray(y, dtype=np.float64) for y in (x, e, z, t[0], s[0]))
    return _by_prediction(x, e, z, (t, 0), (s, 0))


ANCESTRAL = {
    "by prediction": _by_prediction,
    "by DDIM": _by_ddim,
    "by log-variance": _by_log_variance,
    "by score": _by_score,
    "by precision": _by_precision,
    "in double": _in_double,
}
DIRECT = {
    "by a ratio": lambda x, e, t, s: np.sqrt(s / t) * (x - np.sqrt(F(1) - t) * e) + np.sqrt(F(1) - s) * e,
    "x out of brackets": lambda x, e, t, s: np.sqrt(s / t) * x + (np.sqrt(F(1) - s) - np.sqrt(s * (F(1) - t) / t)) * e,
    "by sigma over alpha": lambda x, e, t, s: (
        np.sqrt(s) * (x / np.sqrt(t) + (np.sqrt((F(1) - s) / s) - np.sqrt((F(1) - t) / t)) * e)
    ),
    "by x_0, eps from it again": lambda x, e, t, s: (
        np.sqrt(s) * _x_0(x, e, t) + np.sqrt(F(1) - s) * (x - np.sqrt(t) * _x_0(x, e, t)) / np.sqrt(F(1) - t)
    ),
}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", ANCESTRAL)
def test_right_ancestral_step_passes(name: str, process: str) -> None:
    """SMP-2: an ancestral step in float32 passes, in each algebraic form."""
    target = _step(process=PROCESSES[process], ddpm=ANCESTRAL[name])
    assert failed(target, ("SMP-2", "SMP-5", "SMP-6", "SMP-7")) == {}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", DIRECT)
def test_right_deterministic_step_passes(name: str, process: str) -> None:
    """SMP-3: a ddim step in float32 passes, in each algebraic form."""
    assert failed(_step(process=PROCESSES[process], ddim=DIRECT[name]), ("SMP-3", "SMP-5", "SMP-6")) == {}


EULER: dict[str, dict[str, Any]] = {
    "em by reverse drift": {
        "em": lambda x, e, z, h, b, s: x - h * (F(-0.5) * b * x + b * (e / s)) + np.sqrt(b) * np.sqrt(h) * z
    },
    "em, x out of brackets": {
        "em": lambda x, e, z, h, b, s: (F(1) + F(0.5) * b * h) * x - b * h / s * e + np.sqrt(b * h) * z
    },
    "ode by the drift": {"ode": lambda x, e, h, b, s: x - h * (F(-0.5) * b * x - F(0.5) * b * (-e / s))},
    "ode, x out of brackets": {"ode": lambda x, e, h, b, s: (F(1) + F(0.5) * b * h) * x - F(0.5) * b * h / s * e},
}


@pytest.mark.parametrize("process", ["linear", "from 0", "cosine"])
@pytest.mark.parametrize("name", EULER)
def test_right_euler_step_passes(name: str, process: str) -> None:
    """SMP-1, SMP-4: an Euler step in float32 passes, in each algebraic form."""
    assert failed(_step(process=PROCESSES[process], **EULER[name]), ("SMP-1", "SMP-4")) == {}


def _large_but_last(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Add noise of variance 1 - alpha_bar_t/alpha_bar_s, except in the last step, as guided-diffusion's FIXED_LARGE."""
    t, s = t[0], s[0]
    ratio = t / s
    mean = (x - (F(1) - ratio) / np.sqrt(F(1) - t) * e) / np.sqrt(ratio)
    return mean + (s < 1) * np.sqrt(F(1) - ratio) * z


def _score_sde(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Take the step of score_sde's ancestral predictor: beta_k for the variance, in the last step too."""
    t, beta = t
    return (x - beta * e / np.sqrt(F(1) - t)) / np.sqrt(F(1) - beta) + np.sqrt(beta) * z


def _half_way(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Return a step whose variance is the geometric mean of both, where the training of learned variances starts."""
    small, large = _by_prediction(x, e, z, t, s), _large_but_last(x, e, z, t, s)
    mean = _by_prediction(x, e, F(0) * z, t, s)
    return mean + np.sign(z) * np.sqrt(np.abs(small - mean) * np.abs(large - mean))


@dataclass(frozen=True)
class Adjacent:
    """A target that has steps from k to k - 1 only, as guided-diffusion and score_sde do."""

    of: Target

    @property
    def claim(self) -> Claim:
        """Return the claim of the other target."""
        return self.of.claim

    def build(self, process: Process) -> Any:
        """Return an object that refuses longer steps."""
        built: Any = self.of.build(process)

        def step(x_t: Any, eps_hat: Any, t: Any, s: Any, noise: Any, rule: Any) -> Any:
            if (s != t - 1).any():
                raise Unsupported("adjacent steps only")
            return built.step(x_t, eps_hat, t, s, noise, rule)

        return type("Built", (), {"step": staticmethod(step), "perturb": built.perturb})()


WRONG: dict[str, tuple[Target, str]] = {
    "variance of the transition": (Adjacent(_step("step", process=DDPM, ddpm=_large_but_last)), "SMP-2"),
    "score_sde": (Adjacent(_step("step", process=DDPM, ddpm=_score_sde)), "SMP-2"),
    "variances half way": (Adjacent(_step("step", process=DDPM, ddpm=_half_way)), "SMP-2"),
}
"""Steps from k to k - 1 alone."""


@pytest.mark.parametrize("name", WRONG)
def test_wrong_step_fails_its_clause(name: str) -> None:
    """SMP-2: a wrong step fails where adjacent steps alone are served."""
    target, clause = WRONG[name]
    assert clause in failed(target, (clause,))


def _posterior(process: Process = LINEAR, **formulas: Any) -> Only:
    return _step("posterior", "perturb", process=process, **formulas)


def _mean_by_eps(x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    e = (x_t - np.sqrt(t) * x_0) / np.sqrt(F(1) - t)
    ratio = t / s
    return (x_t - (F(1) - ratio) / np.sqrt(F(1) - t) * e) / np.sqrt(ratio)


def _mean_by_ddim(x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    e = (x_t - np.sqrt(t) * x_0) / np.sqrt(F(1) - t)
    kept = np.sqrt(t / s) * (F(1) - s) / np.sqrt(F(1) - t)
    return np.sqrt(s) * x_0 + kept * e


def _mean_by_v(x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    """Compute v from (x_0, x_t), then x_0 and eps from v, then the mean."""
    a, d = np.sqrt(t), np.sqrt(F(1) - t)
    v = (a * x_t - x_0) / d
    x, e = a * x_t - d * v, d * x_t + a * v
    return np.sqrt(s) * x + np.sqrt(t / s) * (F(1) - s) / d * e


def _mean_by_precision(x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
    ratio = t / s
    prior, likelihood = F(1) / (F(1) - s), ratio / (F(1) - ratio)
    mean = (np.sqrt(ratio) / (F(1) - ratio) * x_t + prior * np.sqrt(s) * x_0) / (prior + likelihood)
    return np.where(s < 1, mean, x_0)


MEANS = {"by eps": _mean_by_eps, "by DDIM": _mean_by_ddim, "by v": _mean_by_v, "by precision": _mean_by_precision}
VARIANCES = {
    "by precision": lambda t, s: np.where(s < 1, F(1) / (F(1) / (F(1) - s) + (t / s) / (F(1) - t / s)), F(0)),
    "a root squared": lambda t, s: (np.sqrt(F(1) - t / s) * np.sqrt((F(1) - s) / (F(1) - t))) ** 2,
    "from the whole": lambda t, s: (F(1) - s) - (t / s) * (F(1) - s) ** 2 / (F(1) - t),
}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", [*MEANS, *(f"variance {name}" for name in VARIANCES)])
def test_right_posterior_passes(name: str, process: str) -> None:
    """MAR-7: a posterior in float32 passes, in each algebraic form."""
    formulas = {"mean": MEANS[name]} if name in MEANS else {"variance": VARIANCES[name.removeprefix("variance ")]}
    assert failed(_posterior(PROCESSES[process], **formulas), ("MAR-7", "MAR-8", "DIS-4")) == {}


def _mean(on_x_0: float = 1.0, on_x_t: float = 1.0) -> Any:
    right = Trainer().by.mean
    return lambda x_0, x_t, t, s: right(F(on_x_0) * x_0, F(on_x_t) * x_t, t, s)


WRONG_POSTERIORS: dict[str, tuple[Only, str]] = {
    "x_0 1% short": (_posterior(mean=_mean(on_x_0=0.99)), "MAR-7"),
    "x_t 1% short": (_posterior(mean=_mean(on_x_t=0.99)), "MAR-7"),
    "x_0 1% short, of a chain": (_posterior(DDPM, mean=_mean(on_x_0=0.99)), "DIS-4"),
    "x_t 1% short, of its own": (_posterior(Own(label="sech"), mean=_mean(on_x_t=0.99)), "MAR-8"),
    "alpha_t for alpha_s": (
        _posterior(mean=lambda x_0, x_t, t, s: Trainer().by.mean(x_0 * np.sqrt(t / s), x_t, t, s)),
        "MAR-7",
    ),
    "arguments swapped": (_posterior(mean=lambda x_0, x_t, t, s: Trainer().by.mean(x_t, x_0, t, s)), "MAR-7"),
    "variance of the transition": (_posterior(DDPM, variance=lambda t, s: F(1) - t / s), "DIS-4"),
    "variance 1% short": (_posterior(COSINE, variance=lambda t, s: F(0.99) * (1 - t / s) * (1 - s) / (1 - t)), "MAR-7"),
    "variance exploding": (_posterior(variance=lambda t, s: (s - t) * (1 - s) / (1 - t)), "MAR-7"),
    "variance of a difference": (_posterior(variance=lambda t, s: (1 - t / s) * (1 - t) / (1 - s + F(1e-20))), "MAR-7"),
}


@pytest.mark.parametrize("name", WRONG_POSTERIORS)
def test_wrong_posterior_fails_its_clause(name: str) -> None:
    """MAR-7, MAR-8, DIS-4: each wrong posterior fails the clause that it breaks."""
    target, clause = WRONG_POSTERIORS[name]
    assert clause in failed(target, (clause,))
