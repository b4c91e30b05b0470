"""Chapter 10: steps from any prediction, with either variance and any eta: right ones pass, wrong ones fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, DType, Linear, Own, Parameterization, Process
from refdiff.conformance.step import Step
from tests.meta.targets.stepper import Formulas, Scales, Stepper, ancestral_deviation, direct, mean, predicted
from tests.meta.test_steps_targets import failed

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
CHAIN = Chain.linear(100, beta_start=1e-3, beta_end=0.2)
OWN = Own(label="sech")
PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")
STEPS = {
    "ddpm": tuple(Step(kind="ddpm", prediction=p) for p in PREDICTIONS),
    "fixed large": tuple(Step(kind="ddpm", prediction=p, variance="beta") for p in PREDICTIONS),
    "ddim": tuple(Step(kind="ddim", prediction=p) for p in PREDICTIONS),
    "ddim, eta 0.5": tuple(Step(kind="ddim", prediction=p, eta=0.5) for p in PREDICTIONS),
    "ddim, eta 1": tuple(Step(kind="ddim", prediction=p, eta=1.0) for p in PREDICTIONS),
}
EVERY = tuple(step for steps in STEPS.values() for step in steps)


def by_eps(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    """Compute eps first, and x_0 from it, as a library does whose sampler knows eps only."""
    _, eps = predicted(asked, value, x, q)
    return (x - q.sigma_t * eps) / q.alpha_t, eps


def by_x_0(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    """Compute x_0 first, and eps from it, as a library does that may clip x_0."""
    x_0, _ = predicted(asked, value, x, q)
    return x_0, (x - q.alpha_t * x_0) / q.sigma_t


def by_v(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    """Compute v first, and both from it."""
    x_0, eps = predicted(asked, value, x, q)
    v = q.alpha_t * eps - q.sigma_t * x_0
    return q.alpha_t * x - q.sigma_t * v, q.sigma_t * x + q.alpha_t * v


def textbook_mean(parts: Any, x: Any, q: Scales) -> Any:
    """Return the mean of DDPM's algorithm, from eps."""
    return (x - q.added / q.sigma_t * parts[1]) / (q.alpha_t / q.alpha_s)


def by_log_variance(asked: Step, q: Scales) -> Any:
    """Take the root through the logarithm of a clipped variance, with no noise in the last step."""
    variance = q.variance if asked.variance == "posterior" else q.added
    return (q.bar_s < 1) * np.exp(np.log(np.maximum(variance, variance.dtype.type(1e-20))) / 2)


def as_diffusers(asked: Step, parts: Any, x: Any, z: Any, q: Scales) -> Any:
    """Return x_0_hat times alpha_s plus "the direction pointing to x_t" plus noise."""
    std = asked.eta * np.sqrt((1 - q.bar_s) / (1 - q.bar_t) * (1 - q.bar_t / q.bar_s))
    return q.alpha_s * parts[0] + np.sqrt(np.maximum(1 - q.bar_s - std**2, 0)) * parts[1] + std * z


RIGHT: dict[str, Formulas] = {
    "plain": Formulas(),
    "by eps": Formulas(parts=by_eps),
    "by x_0": Formulas(parts=by_x_0),
    "by v": Formulas(parts=by_v),
    "textbook mean": Formulas(mean=textbook_mean),
    "log variance": Formulas(deviation=by_log_variance),
    "as diffusers": Formulas(ddim=as_diffusers, parts=by_x_0),
}


@pytest.mark.parametrize(("process", "dtype"), [(LINEAR, "float32"), (CHAIN, "float32"), (CHAIN, "float64")])
@pytest.mark.parametrize("name", RIGHT)
def test_right_step_passes(name: str, process: Process, dtype: DType) -> None:
    """SMP-2, SMP-3, SMP-6: steps from each prediction pass, in each algebraic form."""
    target = Stepper(EVERY, (process,), dtype, by=RIGHT[name])
    assert failed(target, ("SMP-2", "SMP-3", "SMP-6")) == {}


@pytest.mark.parametrize("name", ["plain", "by x_0"])
def test_right_step_of_its_own_process_lands(name: str) -> None:
    """SMP-5: for a process of the library's own too, from each prediction, with either variance and any eta."""
    target = Stepper(EVERY, (OWN,), capabilities=frozenset({"step", "perturb"}), by=RIGHT[name])
    assert failed(target, ("SMP-5", "SMP-6", "CON-1")) == {}


def _always(variance: str) -> Formulas:
    """Return the formulas of a library that knows one variance, whatever is asked."""
    return Formulas(deviation=lambda asked, q: ancestral_deviation(replace(asked, variance=variance), q))


def _with_eta(change: Callable[[float], float]) -> Formulas:
    """Return the formulas of a library that takes another eta than is asked."""
    return Formulas(ddim=lambda asked, p, x, z, q: direct(replace(asked, eta=change(asked.eta)), p, x, z, q))


def _unscaled_direction(asked: Step, parts: Any, x: Any, z: Any, q: Scales) -> Any:
    """Add the noise of eta and leave the direction as it is for eta = 0."""
    return direct(replace(asked, eta=0.0), parts, x, z, q) + asked.eta * np.sqrt(q.variance) * z


def _fixed_stride(stride: int) -> Callable[..., Any]:
    """Return the step of a library that computes the previous index as t - N//n, whatever index was asked."""

    def step(asked: Step, parts: Any, x: Any, z: Any, q: Scales) -> Any:
        table = np.concatenate([[1.0], np.cumprod(1 - np.array(CHAIN.betas))]).astype(q.bar_t.dtype)
        at = np.abs(table[:, None] - q.bar_t.ravel()).argmin(0) - stride
        before = table[np.maximum(at, 0)].reshape(q.bar_t.shape)
        return direct(asked, parts, x, z, Scales(q.bar_t, before, q.beta))

    return step


def _x_0_as_eps(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    return predicted(replace(asked, prediction="eps") if asked.prediction == "x_0" else asked, value, x, q)


def _v_negated(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    return predicted(asked, -value if asked.prediction == "v" else value, x, q)


def _score_by_variance(asked: Step, value: Any, x: Any, q: Scales) -> Any:
    """Take the score for -eps/sigma^2."""
    return predicted(asked, q.sigma_t * value if asked.prediction == "score" else value, x, q)


WRONG: dict[str, tuple[Formulas, str, str]] = {
    "beta for posterior": (_always("beta"), "ddpm", "SMP-2"),
    "posterior for beta": (_always("posterior"), "fixed large", "SMP-2"),
    "no root": (Formulas(deviation=lambda a, q: ancestral_deviation(a, q) ** 2), "ddpm", "SMP-2"),
    "no root of beta": (Formulas(deviation=lambda a, q: ancestral_deviation(a, q) ** 2), "fixed large", "SMP-2"),
    "log variance, not halved": (
        Formulas(deviation=lambda a, q: np.exp(np.log(np.maximum(q.variance, q.variance.dtype.type(1e-20))))),
        "ddpm",
        "SMP-2",
    ),
    "beta_k when skipping": (Formulas(deviation=lambda a, q: (q.bar_s < 1) * np.sqrt(q.beta)), "fixed large", "SMP-2"),
    "noise in the last step": (Formulas(deviation=lambda a, q: np.sqrt(q.added)), "fixed large", "SMP-6"),
    "mean of the transition": (
        Formulas(mean=lambda p, x, q: mean(p, x, replace(q, bar_s=q.bar_t / (1 - q.beta)))),
        "ddpm",
        "SMP-2",
    ),
    "eta ignored": (_with_eta(lambda eta: 0.0), "ddim, eta 0.5", "SMP-3"),
    "eta always 1": (_with_eta(lambda eta: 1.0), "ddim, eta 0.5", "SMP-3"),
    "eta squared": (_with_eta(lambda eta: eta * eta), "ddim, eta 0.5", "SMP-3"),
    "direction without eta": (Formulas(ddim=_unscaled_direction), "ddim, eta 0.5", "SMP-3"),
    "eta of the transition": (
        Formulas(ddim=lambda a, p, x, z, q: direct(replace(a, eta=0.0), p, x, z, q) + a.eta * np.sqrt(q.added) * z),
        "ddim, eta 1",
        "SMP-3",
    ),
    "noise in the last step of ddim": (
        Formulas(ddim=lambda a, p, x, z, q: direct(a, p, x, z, q) + (q.bar_s == 1) * a.eta * np.sqrt(q.beta) * z),
        "ddim, eta 0.5",
        "SMP-6",
    ),
    "previous index computed": (Formulas(ddim=_fixed_stride(9)), "ddim", "SMP-3"),
    "x_0 taken as eps": (Formulas(parts=_x_0_as_eps), "ddim", "SMP-3"),
    "x_0 taken as eps by ddpm": (Formulas(parts=_x_0_as_eps), "ddpm", "SMP-2"),
    "v negated": (Formulas(parts=_v_negated), "ddim", "SMP-3"),
    "v negated by ddpm": (Formulas(parts=_v_negated), "ddpm", "SMP-2"),
    "score by the variance": (Formulas(parts=_score_by_variance), "ddpm", "SMP-2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_step_fails_its_clause(name: str) -> None:
    """SMP-2, SMP-3, SMP-6: each wrong step fails the clause that it breaks."""
    formulas, steps, clause = WRONG[name]
    assert clause in failed(Stepper(STEPS[steps], (CHAIN,), by=formulas), (clause,))


OF_ITS_OWN = {
    "beta for posterior": "ddpm",
    "posterior for beta": "fixed large",
    "eta ignored": "ddim, eta 0.5",
    "eta squared": "ddim, eta 0.5",
    "direction without eta": "ddim, eta 0.5",
    "x_0 taken as eps": "ddim",
    "v negated": "ddim",
    "score by the variance": "ddpm",
}


@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_wrong_step_of_its_own_process_does_not_land(name: str) -> None:
    """SMP-5: a wrong step is seen without certified values too."""
    target = Stepper(STEPS[OF_ITS_OWN[name]], (OWN,), capabilities=frozenset({"step", "perturb"}), by=WRONG[name][0])
    assert "SMP-5" in failed(target, ("SMP-5",))


ENDED = Chain(betas=(0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0))
OF_NOISE = {name: steps[1:3] for name, steps in STEPS.items()}
"""Steps from x_0 and v, which have a value where alpha is 0."""


@pytest.mark.parametrize("name", ["plain", "by x_0", "by v", "log variance", "as diffusers"])
def test_right_step_from_pure_noise_passes(name: str) -> None:
    """SMP-2, SMP-3: on a chain that ends in pure noise, in each form that does not divide by alpha at its end."""
    steps = tuple(step for found in OF_NOISE.values() for step in found)
    assert failed(Stepper(steps, (ENDED,), by=RIGHT[name]), ("SMP-2", "SMP-3", "SMP-6", "NOT-2", "CON")) == {}


FROM_NOISE: dict[str, tuple[Formulas, str, str]] = {
    "eps divided by alpha": (Formulas(parts=by_eps), "ddim", "SMP-3"),
    "mean divided by the ratio": (Formulas(mean=textbook_mean), "ddpm", "SMP-2"),
    "v negated there": (
        Formulas(parts=lambda a, v, x, q: predicted(a, np.where(q.bar_t == 0, -v, v), x, q)),
        "ddim",
        "SMP-3",
    ),
    "variance of the posterior there": (
        Formulas(deviation=lambda a, q: np.where(q.bar_t == 0, np.sqrt(q.variance), ancestral_deviation(a, q))),
        "fixed large",
        "SMP-2",
    ),
    "noise kept": (Formulas(ddim=lambda a, p, x, z, q: direct(a, p, x, z, q) + (q.bar_t == 0) * x), "ddim", "SMP-3"),
}


@pytest.mark.parametrize("name", FROM_NOISE)
def test_wrong_step_from_pure_noise_fails(name: str) -> None:
    """SMP-2, SMP-3: a step that is wrong at the last index alone is seen there."""
    formulas, steps, clause = FROM_NOISE[name]
    assert clause in failed(Stepper(OF_NOISE[steps], (ENDED,), by=formulas), (clause,))
