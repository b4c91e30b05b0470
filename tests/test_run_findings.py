"""Findings of validation/targets/FINDINGS.md about whole runs, as in tests/test_library_findings.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.test_library_findings import _exact_eps, _missed

pytestmark = pytest.mark.filterwarnings("ignore")


def _plms_or_prk(steps: int, start: float, **options: Any) -> float:
    """Return x after a run of PNDMScheduler with the exact noise of data with the law N(0, 0.01)."""
    scheduler = pytest.importorskip("monai.networks.schedulers").PNDMScheduler(1000, set_alpha_to_one=True, **options)
    scheduler.set_timesteps(steps)
    x = torch.full((1, 1), start)
    for k in scheduler.timesteps.tolist():
        x = scheduler.step(_exact_eps(scheduler.alphas_cumprod, k, x, 0.01), k, x)[0]
    return x.item()


def test_monai_runge_kutta_steps_change_the_stride() -> None:
    """With its Runge-Kutta steps, a run of 50 steps goes by 16 where its grid goes by 20, and ends at 0.16 for 0.1."""
    scheduler = pytest.importorskip("monai.networks.schedulers").PNDMScheduler(1000)
    scheduler.set_timesteps(50)
    assert 1000 // scheduler.num_inference_steps == 16
    assert _missed(scheduler.timesteps[-10:].tolist(), 20) == 0
    assert _plms_or_prk(50, 1.0) > 0.15


def test_monai_multistep_run_is_a_step_behind() -> None:
    """Without noise x is alpha x_0 all along, and from 1 a run of 10 steps ends at 0.47; x at 800 is taken for 700."""
    scheduler = pytest.importorskip("monai.networks.schedulers").PNDMScheduler(
        1000, skip_prk_steps=True, set_alpha_to_one=True
    )
    scheduler.set_timesteps(10)
    alpha = scheduler.alphas_cumprod.sqrt()
    x, seen = alpha[900].reshape(1, 1), []
    for k in scheduler.timesteps.tolist():
        seen.append(int((alpha - x).abs().argmin()))
        x = scheduler.step(torch.zeros(1, 1), k, x)[0]
    assert seen[:3] == [900, 800, 800]
    assert x.item() < 0.5


def test_diffusionjax_run_of_one_step_does_not_move() -> None:
    """On the one time that `get_times(1)` returns, the step of a solver has the length 0."""
    solvers = pytest.importorskip("diffusionjax.solvers")
    times, _ = pytest.importorskip("diffusionjax.utils").get_times(1)
    solver = solvers.EulerMaruyama(SimpleNamespace(prior=None), ts=times)
    assert (times.tolist(), solver.dt.tolist()) == ([[1.0]], [0.0])
