"""Chapter 10: grids and samplers on processes that the suite does not know, and chains that have one grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Own, Process, Unsupported
from tests.meta.targets.samplers import DDPM, LINEAR, Hidden, Runner, Walk, ddim, even
from tests.meta.test_samplers_targets import EXACT, OWN_GRID, failing, passing

HIDDEN: dict[str, tuple[Process, Process]] = {
    "chain": (Own(label="hidden", steps=1000), DDPM),
    "schedule": (Own(label="hidden"), LINEAR),
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("name", OWN_GRID)
def test_right_sampler_passes_on_the_grid_of_a_process_of_its_own(name: str, kind: str) -> None:
    """SMP-10 to SMP-13: a grid of a process that the suite does not know is judged by the target's own scales."""
    method, sampler = OWN_GRID[name]
    process, behind = HIDDEN[kind]
    target = Hidden(method, sampler, processes=(process,), behind=behind)
    assert failing(target) == {}
    assert passing(target) >= {"SMP-10", "SMP-12", "SMP-13" if sampler.stochastic else "SMP-11"}


def _t_for_s(walk: Walk, x: Any) -> Any:
    """Use sigma_t for sigma_s."""
    for t, s in walk.pairs:
        eps = walk.predict(x, t)
        x = s.a * ((x - t.s * eps) / t.a) + t.s * eps
    return x


def _at_the_end(walk: Walk, x: Any) -> Any:
    """Call the denoiser at s, where x is that of t."""
    for t, s in walk.pairs:
        eps = walk.predict(x, s)
        x = s.a * ((x - t.s * eps) / t.a) + s.s * eps
    return x


@pytest.mark.parametrize("kind", HIDDEN)
def test_wrong_sampler_fails_on_the_grid_of_a_process_of_its_own(kind: str) -> None:
    """SMP-11, SMP-12: sigma_t for sigma_s is seen along a grid of a process that the suite does not know."""
    process, behind = HIDDEN[kind]
    target = Hidden(_t_for_s, OWN_GRID["ddim"][1], processes=(process,), behind=behind)
    assert set(failing(target)) == {"SMP-11", "SMP-12"}


def test_sampler_along_any_indices_of_a_chain_of_its_own_is_judged() -> None:
    """SMP-11, SMP-12: indices of a chain that the suite does not know are whole numbers, with the target's scales."""
    process, behind = HIDDEN["chain"]
    right = Hidden(ddim, EXACT, processes=(process,), behind=behind)
    assert (failing(right), passing(right) >= {"SMP-10", "SMP-11", "SMP-12"}) == ({}, True)
    wrong = Hidden(_at_the_end, EXACT, processes=(process,), behind=behind)
    assert set(failing(wrong)) == {"SMP-11", "SMP-12"}


@pytest.mark.parametrize("steps", [1, 1000])
def test_a_chain_with_one_grid_breaks_no_rule(steps: int) -> None:
    """CON-1, CON-5: a library may refuse every number of steps but that of the chain, which is asked for no more."""

    def whole(n: int, process: Process) -> Any:
        if n > steps:
            raise ValueError(f"{n} steps of {steps}")
        if n < steps:
            raise Unsupported("as many steps as the chain has")
        return even(n, process)

    chain = Chain(betas=tuple(np.linspace(0.01, 0.02, steps).tolist()))
    target = Runner(grid_of=whole, processes=(chain,))
    assert failing(target, "CON-1", "CON-4", "CON-5", "SMP-10") == {}
    assert passing(target, "CON-4", "CON-5", "SMP-10") == {"CON-4", "CON-5", "SMP-10"}
