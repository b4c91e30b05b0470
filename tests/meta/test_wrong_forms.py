"""Wrong targets that a check with fewer inputs, or with a larger tolerance, would miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Array, Denoiser, Parameterization, Times, Unsupported, Weighting
from tests.meta.targets.forms import CHAIN_FORMS, DDPM, LINEAR, LINEAR_FORMS, Forms
from tests.meta.targets.refusing import musts, outcomes

RIGHT = Forms(LINEAR, LINEAR_FORMS["expm1"], claim_of={"t_min": 1e-5})
RANK_4 = {"t_min": 1e-5, "events": ((3, 4, 4),)}


@dataclass(frozen=True)
class Only(Forms):
    """A target that has losses of some predictions and weights only, and gives the denoiser x_t times a factor."""

    kinds: tuple[tuple[Parameterization, Weighting], ...] = ()
    factor: float = 1.0

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Return the loss, or refuse predictions and weights that are not in `kinds`."""
        if (prediction, weight) not in self.kinds:
            raise Unsupported("another loss")
        return super().loss(
            lambda x_t, time: denoiser((self.factor * x_t).astype(x_t.dtype), time), prediction, x_0, eps, t, weight
        )


@dataclass(frozen=True)
class Scaled(Forms):
    """A target whose `perturb` returns x_t times 1.1, for images only."""

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return 1.1 x_t for images, and refuse other shapes."""
        if x_0.ndim != 4:
            raise Unsupported("images only")
        return np.asarray(np.float32(1.1) * super().perturb(x_0, eps, t))


def immiscible(x_0: Any, eps: Any, a: Any, s: Any) -> tuple[Any, Any]:
    """Return x_t with the noise of another example, and the original noise as the target."""
    return a * x_0 + s * eps[::-1], eps


def repaired(x_0: Any, eps: Any, a: Any, s: Any) -> tuple[Any, Any]:
    """Return x_t with the noise of another example, and that noise as the target."""
    return a * x_0 + s * eps[::-1], eps[::-1]


F = np.float32
WRONG: dict[str, tuple[Forms, str]] = {
    "1.5 x_t to a network of v only": (
        Only(LINEAR, RIGHT.scales, claim_of={"t_min": 1e-5}, kinds=(("v", "uniform"),), factor=1.5),
        "LOS-1",
    ),
    "1.5 x_t to a network of eps with one weight": (
        Only(LINEAR, RIGHT.scales, claim_of={"t_min": 1e-5}, kinds=(("eps", "min_snr"),), factor=1.5),
        "LOS-1",
    ),
    "1.01 x_t, images only": (
        Only(LINEAR, RIGHT.scales, claim_of=RANK_4, kinds=(("x_0", "uniform"),), factor=1.01),
        "LOS-1",
    ),
    "perturb of images off by 10%": (Scaled(LINEAR, RIGHT.scales, claim_of=RANK_4), "MAR-4"),
    "noise permuted in noising": (replace(RIGHT, noised=immiscible), "LOS-3"),
    "noise permuted, both ways by x_0": (replace(RIGHT, noised=immiscible, way="x_0"), "LOS-3"),
    "noise permuted, a chain": (Forms(DDPM, CHAIN_FORMS["product"], noised=immiscible), "LOS-3"),
    "target without sigma": (replace(RIGHT, noised=lambda x, e, a, s: (a * x + s * e, s * e)), "LOS-1"),
    "noise added twice": (replace(RIGHT, noised=lambda x, e, a, s: (a * x + 2 * s * e, e)), "LOS-1"),
    "time of the next example": (replace(RIGHT, clock=lambda t: np.roll(t, 1)), "LOS-1"),
    "time in half precision": (replace(RIGHT, clock=lambda t: t.astype(np.float16).astype(F)), "LOS-1"),
    "time from the end": (replace(RIGHT, clock=lambda t: F(1) - t), "LOS-1"),
    "time as an index": (replace(RIGHT, clock=lambda t: np.floor(t * 1000) / F(1000)), "LOS-1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_form_fails_its_clause(name: str) -> None:
    """Each wrong target fails the MUST clause that it breaks."""
    wrong, clause = WRONG[name]
    assert clause in musts(outcomes(wrong, (clause,)))


@dataclass(frozen=True)
class Weighed(Forms):
    """A target whose loss, through any prediction, is wrong by a function `times` of alpha and sigma."""

    times: Callable[[Any, Any], Any] = lambda a, s: a

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Return the right loss times `times(alpha, sigma)`."""
        a, s = self.scales(self.process, t, self.number)
        right = super().loss(denoiser, prediction, x_0, eps, t, weight)
        return np.asarray(right * self.times(a, s), dtype=self.number)


FACTORS: dict[str, Callable[[Any, Any], Any]] = {
    "1/SNR for 1/sigma^2": lambda a, s: a**2,
    "sigma": lambda a, s: s,
    "half": lambda a, s: 0.5 * a / a,
    "off by a thousandth": lambda a, s: 1.001 * a / a,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("way", ["eps", "x_0", "v", "score"])
def test_wrong_weight_fails_through_each_prediction(way: Parameterization, name: str, dtype: Any) -> None:
    """LOS-1: the tolerance for losses computed through another prediction is too small to hide a wrong weight."""
    wrong = Weighed(LINEAR, LINEAR_FORMS["expm1"], dtype, way, {"t_min": 1e-5}, times=FACTORS[name])
    assert "LOS-1" in musts(outcomes(wrong, ("LOS-1",), name="test_loss"))


def test_noise_permuted_in_sample_and_target_passes() -> None:
    """LOS-3: noise that is permuted in x_t and in the target passes; noise that is permuted in x_t alone fails."""
    name = "of_what_is_given"
    assert musts(outcomes(replace(RIGHT, noised=repaired), ("LOS-3",), name=name)) == {}
    assert set(musts(outcomes(replace(RIGHT, noised=immiscible), ("LOS-3",), name=name))) == {"LOS-3"}
