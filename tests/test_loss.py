"""refdiff.loss: one number for each example, pure in (denoiser, x_0, eps, t)."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, vmap

from refdiff import CosineSchedule, LinearSchedule, Objective, convert, perturb
from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.loss import squared_error
from refdiff.parameterization import Parameterization
from refdiff.weighting import CustomWeight, InverseSNR, LikelihoodWeight, MinSNR, UniformWeight, Weight

PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")
WEIGHTS: tuple[Weight, ...] = (
    UniformWeight(),
    InverseSNR(),
    MinSNR(),
    LikelihoodWeight(),
    CustomWeight(function=lambda t: 2.0 + t),
)


def batch(event: tuple[int, ...] = (3,), dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Return x_0, eps, a prediction, and times."""
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(4, *event, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    return (*data, torch.tensor([0.01, 0.25, 0.5, 0.9], dtype=dtype))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("event", [(), (3,), (2, 1, 2)])
def test_loss_is_the_weighted_square(prediction: Parameterization, event: tuple[int, ...]) -> None:
    """LOS-1: w sum (y_hat - y)^2, y by `convert` of the truth at x_t, for any event; within 2^-40 of it."""
    x_0, eps, predicted, t = batch(event)
    schedule = LinearSchedule()
    x_t = perturb(schedule, x_0, eps, t)
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def denoiser(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        asked.append((x, time))
        return predicted

    objective = Objective(process=schedule, prediction=prediction, weight=MinSNR())
    loss = objective(denoiser, x_0, eps, t)
    truth = convert(schedule, eps, x_t, t, source="eps", to=prediction)
    want = MinSNR().of(schedule, t, prediction) * (predicted - truth).square().reshape(4, -1).sum(1)
    assert loss.shape == (4,)
    torch.testing.assert_close(loss, want, rtol=2.0**-40, atol=0.0)
    assert torch.equal(asked[0][0], x_t)
    assert asked[0][1] is t
    assert len(asked) == 1


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("prediction", ["eps", "x_0"])
def test_perfect_prediction_has_loss_zero(weight: Weight, prediction: Parameterization) -> None:
    """LOS-3: exactly 0, where the weight is infinite too: at both ends of cosine."""
    x_0, eps, _, _ = batch()
    t = torch.tensor([0.0, 1.0, 0.5, 1.0], dtype=torch.float64)
    truth = {"eps": eps, "x_0": x_0}[prediction]
    objective = Objective(process=CosineSchedule(), prediction=prediction, weight=weight)
    assert objective(lambda *_: truth, x_0, eps, t).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_mean_is_the_sum_over_the_size() -> None:
    """LOS-2: features are summed, or averaged, and the caller says which; half precision is summed in float32."""
    x_0, eps, predicted, t = batch((2, 3))
    both = [Objective(process=LinearSchedule(), features=f)(lambda *_: predicted, x_0, eps, t) for f in ("sum", "mean")]
    torch.testing.assert_close(both[0], 6.0 * both[1], rtol=2.0**-50, atol=0.0)
    tiny = torch.full((1, 1024), 2.0**-13, dtype=torch.float16)
    assert squared_error(tiny, torch.zeros_like(tiny)).item() == 1024 * 2.0**-26
    assert squared_error(tiny, tiny).dtype == torch.float32


def test_loss_of_an_example_does_not_depend_on_the_others() -> None:
    """LOS-4: each loss is what it would be alone; an empty batch has none."""
    x_0, eps, predicted, t = batch()
    objective = Objective(process=LinearSchedule(), prediction="v")
    whole = objective(lambda *_: predicted, x_0, eps, t)
    for i in range(4):
        one = slice(i, i + 1)
        assert torch.equal(objective(lambda *_, one=one: predicted[one], x_0[one], eps[one], t[one]), whole[one])
    assert objective(lambda x, t: x, x_0[:0], eps[:0], t[:0]).shape == (0,)


def test_gradient_is_twice_the_weighted_residual() -> None:
    """D loss/d prediction = 2 w r; through vmap and grad too."""
    x_0, eps, predicted, t = batch()
    objective = Objective(process=LinearSchedule(), prediction="x_0", weight=MinSNR())
    slope = grad(lambda p: objective(lambda *_: p, x_0, eps, t).sum())(predicted)
    weight = MinSNR().of(LinearSchedule(), t, "x_0")
    torch.testing.assert_close(slope, 2.0 * weight[:, None] * (predicted - x_0), rtol=2.0**-50, atol=0.0)
    many = vmap(lambda p: objective(lambda *_: p, x_0, eps, t))(torch.stack([predicted, 2.0 * predicted]))
    assert torch.equal(many[0], objective(lambda *_: predicted, x_0, eps, t))


def test_simple_loss_of_a_chain() -> None:
    """LOS-6: on a chain, uniform and eps: the simple loss, with no case of its own at k = 1."""
    x_0, eps, predicted, _ = batch()
    chain, k = DiscreteChain.linear(1000), torch.tensor([1, 2, 500, 1000])
    loss = Objective(process=chain)(lambda *_: predicted, x_0, eps, k)
    torch.testing.assert_close(loss, (predicted - eps).square().sum(1), rtol=2.0**-50, atol=0.0)


def test_invalid_shapes_and_times_are_refused() -> None:
    """Wrong names, a denoiser that returns another shape, a score at sigma = 0: one sentence each."""
    x_0, eps, predicted, t = batch()
    with pytest.raises(DomainError, match=r"expected sigma > 0, to match a score.* \(LOS-1\)$"):
        Objective(process=LinearSchedule(), prediction="score")(lambda *_: predicted, x_0, eps, 0.0 * t)
    with pytest.raises(DomainError, match=r"expected a prediction of shape \(4, 3\), got \(8, 3\).* \(LOS-1\)$"):
        Objective(process=LinearSchedule())(lambda *_: torch.cat([predicted, predicted]), x_0, eps, t)
    with pytest.raises(DomainError, match=r"expected x_0 and eps of one shape.* \(LOS-1\)$"):
        Objective(process=LinearSchedule())(lambda *_: predicted, x_0, eps.float(), t)


@pytest.mark.usefixtures("unhooked")
def test_names_are_refused() -> None:
    """A prediction or a reduction that is none is refused when the objective is made."""
    for wrong in ({"prediction": "noise"}, {"features": "max"}):
        with pytest.raises(DomainError, match=r"expected one of.* \(LOS-1\)$"):
            Objective(process=LinearSchedule(), **wrong)  # type: ignore[arg-type]  # what a user may write
