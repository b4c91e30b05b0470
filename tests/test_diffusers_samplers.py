"""What the suite tells of the grids and the samplers of diffusers: SMP-10 to SMP-13."""

from __future__ import annotations

import pytest

from refdiff.conformance.interface import Target
from refdiff.conformance.judge import Judge
from validation.checks.suite import checks
from validation.targets import diffusers_samplers as samplers

pytestmark = pytest.mark.filterwarnings("ignore")


def judged(target: Target, clause: str) -> dict[str, str]:
    """Return what the checks of a clause say, with the reason."""
    return {o.status: o.reason for o in Judge.of(target).judge(c for c in checks() if c[0].clause == clause)}


def test_linspace_steps_of_ddim_are_told_by_the_flow() -> None:
    """SMP-12: along "linspace" DDIMScheduler gives the denoiser an x of another time (finding 5)."""
    assert "gives to the denoiser" in judged(samplers.ddim("linspace"), "SMP-12")["fail"]


def test_leading_grid_begins_elsewhere() -> None:
    """SMP-10: the grid "leading" never begins at N."""
    assert "first time of grid" in judged(samplers.ddim("leading"), "SMP-10")["fail"]


def test_trailing_grid_has_a_timestep_too_many() -> None:
    """SMP-10: for 61 steps the grid "trailing" has 62 timesteps."""
    assert "number of steps of grid(61)" in judged(samplers.euler(), "SMP-10")["fail"]


@pytest.mark.parametrize("clause", ["SMP-11", "SMP-12"])
@pytest.mark.parametrize("name", ["euler", "heun"])
def test_right_samplers_pass(name: str, clause: str) -> None:
    """SMP-11, SMP-12: Euler's and Heun's methods of diffusers go along the flow."""
    found = judged(getattr(samplers, name)(), clause)
    assert "pass" in found
    assert set(found) <= {"pass", "not_claimed"}


def test_third_order_of_the_sde_is_told_by_its_variance() -> None:
    """SMP-13: sde-dpmsolver++ of order 3 has a wrong sign, and samples of too large a variance (finding 30)."""
    assert "mean square of x after a run of SDE-DPM-Solver++ 3" in judged(samplers.dpm_solver(), "SMP-13")["fail"]
