"""refdiff.training.checks: each planted defect is found, and nothing else."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn import Architecture, TimeEmbedding, UNet
from refdiff.parameterization import Parameterization
from refdiff.training import build, checks, config

KINDS = ("linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain")
WEIGHTS = ("uniform", "inverse_snr", "min_snr", "likelihood")
SMALL = Architecture(width=8, multipliers=(1,), groups=2)


def found(model: nn.Module | None = None, goal: config.ObjectiveConfig | None = None, **process: Any) -> list[str]:
    """Return what is found wrong with a run."""
    how = config.ProcessConfig(**process)
    noise = build.process(how)
    objective, times = (
        build.objective(goal or config.ObjectiveConfig(), noise),
        build.times(config.TimesConfig(), noise, torch.float32),
    )
    if model is None:
        model = build.network((1, 4, 4), noise, SMALL)
    examples = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    return list(checks.before(model, objective, times, examples))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", get_args(Parameterization))
@pytest.mark.parametrize("weight", WEIGHTS)
def test_defaults_pass(kind: str, prediction: Any, weight: Any) -> None:
    """TRN-12: with every process, prediction and weight, but the one that a chain has not."""
    if weight == "likelihood" and kind.endswith("chain"):
        with pytest.raises(DomainError, match=r"^expected a schedule: a chain has no rate.* \(LOS-10\)$"):
            found(goal=config.ObjectiveConfig(prediction=prediction, weight=weight), kind=kind)
        return
    assert found(goal=config.ObjectiveConfig(prediction=prediction, weight=weight), kind=kind) == []


def test_signal_at_the_last_time_is_found() -> None:
    """TRN-12: a linear schedule that stops early, and a chain of little noise."""
    early: dict[str, Any] = {"kind": "linear", "beta_max": 4.0}
    for process in (early, {"kind": "linear_chain", "beta_end": 0.05, "steps": 20}):
        (finding,) = found(**process)
        assert "at the last time" in finding
        assert "use more noise" in finding


def test_unscaled_time_is_found() -> None:
    """TRN-12: t in [0, 1] unscaled, or k in 1..N of a chain divided once too often."""
    (finding,) = found(UNet(1, SMALL, time_scale=1.0), kind="linear")
    assert finding.startswith("the features of embed have standard deviation 0.03")
    (finding,) = found(UNet(1, SMALL, time_scale=1e-3), kind="linear_chain")
    assert "check that time is scaled" in finding


class Broken(nn.Module):
    """A network that leaves parameters out."""

    def __init__(self, *, uses: bool) -> None:
        """Use one of two, or none."""
        super().__init__()
        self.used, self.idle, self.uses = nn.Conv2d(1, 1, 1), nn.Linear(2, 2), uses
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return a prediction that does not see the idle layer."""
        out: Tensor = self.used(x) if self.uses else x
        return out


def test_parameters_without_gradient_are_found() -> None:
    """TRN-12: by name; those that are frozen on purpose are not; all of them, too."""
    assert found(Broken(uses=True)) == ["parameters without a gradient (2): idle.weight, idle.bias"]
    (finding,) = found(Broken(uses=False))
    assert finding == "parameters without a gradient (4): used.weight, used.bias, idle.weight, ..."


def test_checks_leave_the_model_unchanged() -> None:
    """TRN-12: no gradient stays, no running mean moves, no number is drawn, modes come back part by part."""
    inner = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Conv2d(1, 1, 1))
    inner[0].eval()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.embed = inner, TimeEmbedding(8)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return out

    model = Net()
    before, drawn = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert found(model) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [part.training for part in inner] == [False, True, True]
    assert all(value.grad is None for value in model.parameters())


def test_a_stuck_loss_is_found() -> None:
    """TRN-12: after its patience, at what 0 has or above; before, or below, it is not; NaN is the gradient's affair."""
    assert [bool(list(checks.stuck(0.99, 1.0, step))) for step in (499, 500, 9000)] == [False, True, True]
    assert list(checks.stuck(0.97, 1.0, 9000)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", ["eps", "x_0", "v"])
def test_trivial_loss_is_that_of_predicting_0(kind: Any, prediction: Any) -> None:
    """TRN-12: E|target|^2 is 1 for numbers of size 1, within 5 standard errors of its draws and their cross terms."""
    noise = build.process(config.ProcessConfig(kind=kind))
    objective = build.objective(config.ObjectiveConfig(prediction=prediction), noise)
    times = build.times(config.TimesConfig(), noise, torch.float32)
    signs = torch.randint(2, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    draws = checks.ROUNDS * signs.numel()
    assert checks.trivial(objective, times, signs) == pytest.approx(1.0, abs=1e-6 + 5.0 * (2.0 / draws) ** 0.5)


@pytest.mark.parametrize("weight", ["inverse_snr", "likelihood"])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_trivial_loss_covers_the_ends_of_time(kind: Any, weight: Any) -> None:
    """TRN-12: of weights that are large at an end it is the integral too, by SciPy, within 5 standard errors."""
    noise = build.process(config.ProcessConfig(kind=kind))
    objective = build.objective(config.ObjectiveConfig(prediction="eps", weight=weight), noise)
    times = build.times(config.TimesConfig(), noise, torch.float64)

    def density(t: float) -> float:
        return float(objective.weight.of(noise, torch.tensor([t], dtype=torch.float64), "eps"))

    wanted = quad(density, 1e-3, 0.999, limit=200, epsrel=1e-6)[0] / 0.998
    few = torch.zeros(64, 1, 8, 8, dtype=torch.float64)
    n = 64 * checks.ROUNDS
    t = times.at((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    # A mean of 64 squares has variance 2/64, at each of n times.
    scatter = float((objective.weight.of(noise, t, "eps") ** 2 * 2.0 / 64).sum().sqrt()) / n
    assert 5.0 * scatter < 0.3 * wanted
    assert checks.trivial(objective, times, few) == pytest.approx(wanted, abs=5.0 * scatter)
