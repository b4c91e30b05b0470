"""Right formulas fail no MUST clause, in any algebraic form (NUM-1, LOS-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import DType, Own, Parameterization
from tests.meta.targets.forms import (
    CHAIN_FORMS,
    COSINE,
    COSINE_FORMS,
    DDPM,
    LINEAR,
    LINEAR_FORMS,
    Forms,
    Scales,
)
from tests.meta.targets.refusing import musts, outcomes
from validation.expected.tiers import delta, exact

SCALES = ("SCH-3", "SCH-4", "SCH-8", "MAR-1", "MAR-2", "DIS-1")
"""MUST clauses that compare alpha, sigma and alpha_bar with their exact values."""
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
INSIDE: dict[str, float] = {"t_min": 1e-5, "t_max": 0.999}
VARIANTS = [
    *((LINEAR, LINEAR_FORMS, name, {"t_min": 1e-5}) for name in LINEAR_FORMS),
    *((COSINE, COSINE_FORMS, name, INSIDE) for name in COSINE_FORMS),
    *((DDPM, CHAIN_FORMS, name, {}) for name in CHAIN_FORMS),
]


@BOTH
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant[2])
def test_scales_in_each_form_pass(variant: Any, dtype: DType) -> None:
    """alpha, sigma and alpha_bar in each form are within the MUST tolerances."""
    process, forms, name, claim = variant
    assert musts(outcomes(Forms(process, forms[name], dtype, claim_of=claim), SCALES)) == {}


@pytest.mark.parametrize("name", LINEAR_FORMS)
def test_form_is_within_tolerance_at_every_time(name: str) -> None:
    """NUM-1: at 130,000 float32 times, for steep and constant rates, each form is within the MUST tolerance."""
    t = np.unique(np.random.default_rng(0).uniform(1e-5, 1.0, 2**17).astype(np.float32))
    for process in (LINEAR, replace(LINEAR, beta_min=3.0, beta_max=3.0), replace(LINEAR, beta_min=0.0, beta_max=60.0)):
        alpha, sigma = (x.astype(np.float64) for x in LINEAR_FORMS[name](process, t, np.float32))
        wide, low, high = t.astype(np.float64), process.beta_min, process.beta_max
        decay = low * wide + (high - low) * wide**2 / 2.0
        moved = np.exp(-decay) * (low * wide + (high - low) * wide**2 + decay)
        # The conditioning in binary64 is at least the smaller of Arb's: the parameters' parts add up to B here.
        bound = 12.0 * 2.0**-24 * (1.0 + moved)
        assert np.max(np.abs(alpha**2 - np.exp(-decay)) - 2.0**-23 * np.exp(-decay) - bound) <= 0.0
        assert np.max(np.abs(sigma**2 + np.expm1(-decay)) - bound) <= 0.0
        some = t[:: len(t) // 20]
        certain = delta(process, "alpha_bar", some, FORMATS["float32"])
        assert np.all(bound[:: len(t) // 20] <= 1.0001 * certain)
        assert np.allclose(np.exp(-decay)[:: len(t) // 20], exact(process, "alpha_bar", some).value)


WAYS: list[Parameterization] = ["eps", "x_0", "v", "score"]


@BOTH
@pytest.mark.parametrize("scales", ["expm1", "roots of an exponential", "noise level"])
@pytest.mark.parametrize("way", WAYS)
def test_loss_by_way_of_each_prediction(way: Parameterization, scales: str, dtype: DType) -> None:
    """Losses and conversions through x_0_hat, as in EDM, or through another prediction, pass at all claimed times."""
    right = Forms(LINEAR, LINEAR_FORMS[scales], dtype, way, {"t_min": 1e-5})
    assert musts(outcomes(right, ("LOS-3", "LOS-5", "LOS-7", "LOS-8", "PAR-1", "PAR-2", "PAR-3", "PAR-4"))) == {}
    assert musts(outcomes(right, ("LOS-1",), name="test_loss")) == {}


@pytest.mark.parametrize("way", WAYS)
def test_loss_of_other_processes_by_each_way(way: Parameterization) -> None:
    """Losses through each prediction pass for the cosine schedule up to t = 0.999, and for a chain, with reductions."""
    cosine = Forms(COSINE, COSINE_FORMS["ratio"], "float32", way, INSIDE, reduction="all_mean")
    chain = Forms(DDPM, CHAIN_FORMS["product"], "float32", way, reduction="batch_mean")
    for right in (cosine, chain):
        assert musts(outcomes(right, ("LOS-2", "LOS-3", "LOS-4", "LOS-8"))) == {}


CLOCKS: dict[str, Callable[[Any], Any]] = {
    "thousandths": lambda t: t * type(t.flat[0])(1000) / type(t.flat[0])(1000),
    "of 999": lambda t: t * type(t.flat[0])(999) / type(t.flat[0])(999),
    "an index from 0": lambda t: (
        (t * type(t.flat[0])(1000) - type(t.flat[0])(1) + type(t.flat[0])(1)) / type(t.flat[0])(1000)
    ),
}


@BOTH
@pytest.mark.parametrize("clock", CLOCKS)
def test_time_rescaled_and_back_passes(clock: str, dtype: DType) -> None:
    """LOS-1: an adapter that scales the time for the network and back has rounding errors in t, and passes."""
    right = Forms(LINEAR, LINEAR_FORMS["expm1"], dtype, claim_of={"t_min": 1e-5}, clock=CLOCKS[clock])
    assert musts(outcomes(right, ("LOS-1", "LOS-8"))) == {}


def azula(p: Own, t: Any, f: Any) -> Scales:
    """Return a schedule with alpha^2 + sigma^2 = 1 + 1e-6."""
    alpha = np.exp(f(log(1e-3)) * t * t)
    return alpha, np.sqrt(f(1) - alpha * alpha + f(1e-3) ** 2)


def vdm(p: Own, t: Any, f: Any) -> Scales:
    """Return a schedule whose log-SNR decreases linearly from 13.3."""
    gamma = f(-13.3) + f(18.3) * t
    return np.sqrt(f(1) / (f(1) + np.exp(gamma))), np.sqrt(f(1) / (f(1) + np.exp(-gamma)))


def ddpm(p: Own, t: Any, f: Any) -> Scales:
    """Return the continuous schedule of ddpm-pytorch, whose -log alpha_bar begins at 1e-4."""
    log_snr = -np.log(np.expm1(f(1e-4) + f(10) * t * t))
    return np.sqrt(f(1) / (f(1) + np.exp(-log_snr))), np.sqrt(f(1) / (f(1) + np.exp(log_snr)))


FLOORS = {"azula": (azula, 1e-3), "vdm": (vdm, sqrt(1 / (1 + exp(13.3)))), "ddpm": (ddpm, sqrt(1 - exp(-1e-4)))}


@BOTH
@pytest.mark.parametrize("name", FLOORS)
def test_least_sigma_must_be_declared(name: str, dtype: DType) -> None:
    """A process with sigma(0) > 0 passes if it declares that `sigma_min`, and fails SCH-1 otherwise (F7)."""
    scales, floor = FLOORS[name]
    declared = Forms(Own(label=name, sigma_min=floor), scales, dtype)
    clauses = ("SCH-1", "SCH-6", "SCH-8", "MAR-3", "MAR-4", "PAR-4", "PAR-5", "PAR-6", "NUM", "LOS-1", "LOS-3")
    assert musts(outcomes(declared, clauses)) == {}
    assert "SCH-1" in musts(outcomes(replace(declared, process=Own(label=name)), ("SCH-1",)))
    twice = replace(declared, process=Own(label=name, sigma_min=2 * floor))
    assert "SCH-1" in musts(outcomes(twice, ("SCH-1",)))


def test_calls_stay_within_the_claimed_times_and_events() -> None:
    """A target that raises for times and shapes outside its claim fails nothing (F4, P5)."""
    right = Forms(LINEAR, LINEAR_FORMS["noise level"], claim_of={"t_min": 0.05, "t_max": 0.9, "events": ((3, 4, 4),)})

    def strict(p: Any, t: Any, f: Any) -> Scales:
        assert t.min() >= 0.05
        assert t.max() <= 0.9
        return LINEAR_FORMS["noise level"](p, t, f)

    class Strict(Forms):
        def at(self, t: Any, data: Any) -> Scales:
            assert data.shape[1:] == (3, 4, 4)
            return super().at(t, data)

    strictly = Strict(LINEAR, strict, claim_of=right.claim_of)
    found = outcomes(strictly, ("NOT", "SCH", "MAR", "PAR", "LOS", "NUM", "CON"))
    assert musts(found) == {}
    statuses = {outcome.clause: outcome.status for outcome in found}
    assert statuses["SCH-1"] == statuses["LOS-9"] == "not_claimed"
    assert {statuses[clause] for clause in ("MAR-4", "MAR-5", "PAR-1", "LOS-1", "LOS-4")} == {"pass"}
