"""refdiff.weighting: the table of chapter 5, its limits, and the carrying over."""

from __future__ import annotations

from math import inf

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization, convert
from refdiff.schedule import CosineSchedule, LinearSchedule
from refdiff.weighting import (
    CustomWeight,
    InverseSNR,
    LikelihoodWeight,
    MinSNR,
    SNRPlusOne,
    SNRWeight,
    UniformWeight,
    Weight,
)

PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")
INSIDE = st.floats(2.0**-20, 0.999)
WEIGHTS: tuple[Weight, ...] = (
    InverseSNR(),
    InverseSNR(clip=7.0),
    MinSNR(),
    MinSNR(gamma=0.5),
    LikelihoodWeight(),
    SNRWeight(),
    SNRPlusOne(),
)


@given(t=INSIDE, weight=st.sampled_from(WEIGHTS), schedule=st.sampled_from([LinearSchedule(), CosineSchedule()]))
def test_a_weight_gives_one_loss_in_all_four_predictions(
    t: float, weight: Weight, schedule: LinearSchedule | CosineSchedule
) -> None:
    """LOS-5: w_eps = w_x0/SNR, w_v = w_x0/(SNR + 1), w_s = sigma^2 w_eps, within 16 roundings."""
    at = torch.tensor([t], dtype=torch.float64)
    eps, x_0, v, score = (weight.of(schedule, at, p) for p in PREDICTIONS)
    q = marginal(schedule, at)
    snr = (q.alpha / q.sigma) ** 2
    for got, want in ((eps, x_0 / snr), (v, x_0 * q.sigma**2), (score, eps * q.sigma**2)):
        torch.testing.assert_close(got, want, rtol=2.0**-49, atol=0.0)


@pytest.mark.parametrize(("weight", "prediction"), [(SNRWeight(), "eps"), (SNRPlusOne(), "v")])
def test_snr_weights_are_one_on_their_prediction(weight: Weight, prediction: Parameterization) -> None:
    """LOS-16: SNR on x_0 is 1 on eps; LOS-17: SNR + 1 on x_0 is 1 on v, at every time."""
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    assert weight.of(LinearSchedule(), t, prediction).tolist() == [1.0] * 11
    assert (weight.of(LinearSchedule(), t[1:], "x_0") != 1.0).all()


@given(t=INSIDE, on=st.sampled_from(PREDICTIONS), schedule=st.sampled_from([LinearSchedule(), CosineSchedule()]))
def test_custom_weight_gives_one_loss_for_one_error(
    t: float, on: Parameterization, schedule: LinearSchedule | CosineSchedule
) -> None:
    """LOS-5: the error of a prediction, converted, has the same weighted square in all four, and on its own 1 + t."""
    at, zero = torch.tensor([t], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    weight = CustomWeight(function=lambda t: 1.0 + t, on=on)
    for prediction in PREDICTIONS:
        # At x_t = 0 a conversion is linear: it maps an error to the error of another prediction.
        error = convert(schedule, zero + 1.0, zero, at, source=on, to=prediction)[0]
        torch.testing.assert_close(weight.of(schedule, at, prediction) * error**2, 1.0 + at, rtol=2.0**-47, atol=0.0)


@given(t=INSIDE, on=st.sampled_from(PREDICTIONS), to=st.sampled_from(PREDICTIONS))
def test_custom_weight_converts_to_other_predictions(t: float, on: Parameterization, to: Parameterization) -> None:
    """LOS-5: a weight of one's own on one prediction, seen from another and stated there, is itself."""
    schedule, at = LinearSchedule(), torch.tensor([t], dtype=torch.float64)
    first = CustomWeight(function=lambda t: 1.0 + t, on=on)
    second = CustomWeight(function=lambda t: first.of(schedule, t, to), on=to)
    for prediction in PREDICTIONS:
        got, want = second.of(schedule, at, prediction), first.of(schedule, at, prediction)
        torch.testing.assert_close(got, want, rtol=2.0**-48, atol=0.0)


@given(t=INSIDE, limit=st.floats(2.0**-10, 2.0**10))
def test_clipped_weights_are_the_smaller_of_two(t: float, limit: float) -> None:
    """LOS-7: min(1/SNR, clip) on eps; LOS-8: min(SNR, gamma) on x_0, for any clip and gamma, below 1 too."""
    at = torch.tensor([t], dtype=torch.float64)
    snr = LinearSchedule().log_snr(at).exp().item()
    clipped = InverseSNR(clip=limit).of(LinearSchedule(), at, "eps").item()
    assert clipped == pytest.approx(min(1.0 / snr, limit), rel=2.0**-40)
    assert MinSNR(gamma=limit).of(LinearSchedule(), at, "x_0").item() == pytest.approx(min(snr, limit), rel=2.0**-40)


NAMED: dict[str, Weight] = {
    "inverse": InverseSNR(),
    "clipped": InverseSNR(clip=7.0),
    "min": MinSNR(),
    "likelihood": LikelihoodWeight(),
    "snr": SNRWeight(),
    "plus one": SNRPlusOne(),
}
ENDS: dict[tuple[str, Parameterization], tuple[float, float]] = {
    ("inverse", "eps"): (0.0, inf),
    ("inverse", "x_0"): (1.0, 1.0),
    ("inverse", "v"): (0.0, 1.0),
    ("clipped", "eps"): (0.0, 7.0),
    ("clipped", "x_0"): (1.0, 0.0),
    ("min", "eps"): (0.0, 1.0),
    ("min", "x_0"): (5.0, 0.0),
    ("min", "v"): (0.0, 0.0),
    ("min", "score"): (0.0, 1.0),
    ("snr", "eps"): (1.0, 1.0),
    ("snr", "x_0"): (inf, 0.0),
    ("snr", "v"): (1.0, 0.0),
    ("snr", "score"): (0.0, 1.0),
    ("plus one", "eps"): (1.0, inf),
    ("plus one", "x_0"): (inf, 1.0),
    ("plus one", "v"): (1.0, 1.0),
    ("plus one", "score"): (0.0, inf),
    ("likelihood", "x_0"): (inf, 0.0),
    ("likelihood", "eps"): (inf, inf),
}


@pytest.mark.parametrize(("name", "prediction"), ENDS)
def test_limits_at_the_ends(name: str, prediction: Parameterization) -> None:
    """LOS-9: at SNR = infinity and 0 (cosine) a weight is its limit, never NaN."""
    ends = NAMED[name].of(CosineSchedule(), torch.tensor([0.0, 1.0]), prediction)
    assert tuple(ends.tolist()) == ENDS[name, prediction]


def test_likelihood_where_the_rate_starts_at_zero() -> None:
    """LOS-10: beta(0) = 0 = sigma(0): the limit on eps, x_0 and v is infinite, not NaN; on score it is 0."""
    schedule, zero = LinearSchedule(beta_min=0.0, beta_max=12.0), torch.zeros(1)
    for prediction in PREDICTIONS[:3]:
        assert LikelihoodWeight().of(schedule, zero, prediction).tolist() == [inf]
    assert LikelihoodWeight().of(schedule, zero, "score").tolist() == [0.0]


def test_chain_and_shapes() -> None:
    """A weight takes indices of any shape; uniform is 1 for every prediction."""
    chain, k = DiscreteChain.linear(100), torch.tensor([[1, 50], [99, 100]])
    for prediction in PREDICTIONS:
        assert UniformWeight().of(chain, k, prediction).tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert MinSNR().of(chain, k, prediction).shape == (2, 2)


def test_invalid_parameters_of_weights_are_refused() -> None:
    """Clips and gammas out of range, a chain's likelihood, weights of another shape: one sentence each."""
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(DomainError, match=r"expected clip > 0.* \(LOS-7\)$"):
            InverseSNR(clip=wrong)
    for wrong in (0.0, inf, float("nan")):
        with pytest.raises(DomainError, match=r"expected gamma in.* \(LOS-8\)$"):
            MinSNR(gamma=wrong)
    with pytest.raises(DomainError, match=r"expected a schedule.* \(LOS-10\)$"):
        LikelihoodWeight().of(DiscreteChain.linear(100), torch.tensor([1]), "eps")
    with pytest.raises(DomainError, match=r"expected weights of the shape of t.* \(LOS-5\)$"):
        CustomWeight(function=lambda t: torch.ones(2, 2)).of(LinearSchedule(), torch.ones(2), "eps")
