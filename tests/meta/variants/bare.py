"""What needs no noise process: averages with a warm-up, guidance, and times; right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from refdiff.conformance.averaging import Equal, Power, Ratio, WarmUp
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import DType, NoProcess, Process
from tests.meta.variants.variant import Family, Methods

FAMILY = Family("bare")
WRONG = Family("wrong bare")
Decay = Callable[[float, int], float]
"""(decay, k) -> d_k."""


def _keeping(at: Decay, dtype: DType, declared: Decay | None) -> Callable[[Process], Methods]:
    def ema(decay: float, history: Any) -> Any:
        average = history[0].astype(np.float64 if dtype == "float64" else np.float32)
        rows = [average]
        for k, row in enumerate(history[1:], start=1):
            average = (average + (1.0 - at(decay, k)) * (row - average)).astype(average.dtype)
            rows.append(average)
        return np.stack(rows).astype(dtype)

    if declared is None:
        return lambda p: {"ema": ema}
    told = declared
    return lambda p: {"ema": ema, "decays": lambda d, n: np.array([told(d, k) for k in range(1, n + 1)])}


def warming(
    rule: WarmUp | None,
    family: Family = FAMILY,
    dtype: DType = "float32",
    declared: Decay | None = None,
    breaks: str = "",
) -> Callable[[Decay], Decay]:
    """Add an average with these decays, d_k; declared: what its `decays` returns, if that is something else."""

    def add(at: Decay) -> Decay:
        family.add(
            _keeping(at, dtype, (declared or at) if rule == "declared" else None),
            "ema",
            on=NoProcess(),
            name=f"{at.__name__.replace('_', ' ')}, {dtype}",
            form=(at.__doc__ or "").strip(),
            dtype=dtype,
            breaks=breaks,
            warm_up=rule,
        )
        return at

    return add


@warming(Ratio())
def as_in_score_sde(decay: float, k: int) -> float:
    """min(d, (1 + k)/(10 + k))."""
    return min(decay, (1 + k) / (10 + k))


warming(Ratio(), dtype="float64")(as_in_score_sde)


@warming(Power(after=3))
def as_in_ema_pytorch(decay: float, k: int) -> float:
    """1 - (1 + k - 3)^(-2/3) after three copies, at most d, in torch's float32."""
    risen = 1 - torch.pow(1 + torch.tensor(max(k - 3, 0), dtype=torch.float32), -2 / 3)
    return min(decay, float(risen))


@warming(Power(inv_gamma=2.0, power=0.75, least=0.25))
def by_a_logarithm(decay: float, k: int) -> float:
    """1 - exp(-3/4 log(1 + k/2)), from 1/4 to d."""
    return min(decay, max(0.25, -float(np.expm1(-0.75 * np.log1p(k / 2)))))


@warming("declared")
def updated_every_third_step(decay: float, k: int) -> float:
    """A decay of 1 at the steps that are left out."""
    return decay if k % 3 == 0 else 1.0


@FAMILY.of("ema", on=NoProcess(), warm_up=Equal())
def averaged_model_by_default(p: Process) -> Methods:
    """torch.optim.swa_utils.AveragedModel without an averaging function."""

    def ema(decay: float, history: Any) -> Any:
        module = torch.nn.Linear(history.shape[1], 1, bias=False)
        model: Any = torch.optim.swa_utils.AveragedModel(module)
        kept = []
        for row in history:
            with torch.no_grad():
                module.weight.copy_(torch.tensor(row)[None])
            model.update_parameters(module)
            kept.append(model.module.weight.detach().numpy()[0].copy())
        return np.stack(kept)

    return {"ema": ema}


@FAMILY.of("ema", on=NoProcess(), warm_up=Equal(), dtype="float64")
def cumulative_mean(p: Process) -> Methods:
    """A cumulative sum, divided by the number of weights."""
    return {"ema": lambda decay, history: np.cumsum(history, axis=0) / np.arange(1, len(history) + 1)[:, None]}


@FAMILY.of("times", on=NoProcess())
def uniform_times(p: Process) -> Methods:
    """A sampler of times, and nothing else."""

    def times(n: int, seed: int) -> Any:
        return np.random.default_rng(seed).random(n, np.float32), np.ones(n, np.float32)

    return {"times": times}


def guiding(family: Family, dtype: DType = "float32", breaks: str = "") -> Callable[..., Any]:
    """Add a form (c, u, w) of a guided prediction."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        number = np.dtype(dtype).type
        family.add(
            lambda p: {"guide": lambda c, u, w: np.asarray(form(c, u, number(w)), dtype=dtype)},
            "guide",
            on=NoProcess(),
            name=f"{form.__name__.replace('_', ' ')}, {dtype}",
            form=(form.__doc__ or "").strip(),
            dtype=dtype,
            breaks=breaks,
        )
        return form

    return add


@guiding(FAMILY)
def difference_scaled(c: Any, u: Any, w: Any) -> Any:
    """u + w (c - u)."""
    return u + w * (c - u)


@guiding(FAMILY, dtype="float64")
def two_products(c: Any, u: Any, w: Any) -> Any:
    """(1 - w) u + w c."""
    return (1 - w) * u + w * c


@guiding(FAMILY)
def of_the_paper(c: Any, u: Any, w: Any) -> Any:
    """(1 + g) c - g u with g = w - 1, which the adapter subtracts."""
    g = w - type(w)(1)
    return (type(w)(1) + g) * c - g * u


@guiding(FAMILY)
def by_torch_lerp(c: Any, u: Any, w: Any) -> Any:
    """torch.lerp from u to c."""
    return torch.lerp(torch.tensor(u), torch.tensor(c), float(w)).numpy()


@warming(Ratio(), WRONG, breaks="TRN-1")
def one_step_behind(decay: float, k: int) -> float:
    """k/(9 + k)."""
    return min(decay, k / (9 + k))


@warming(Ratio(), WRONG, breaks="TRN-1")
def without_warm_up(decay: float, k: int) -> float:
    """d from the first step."""
    return decay


@warming(None, WRONG, breaks="TRN-1")
def warm_up_not_claimed(decay: float, k: int) -> float:
    """min(d, (1 + k)/(10 + k)), of which the claim says nothing."""
    return as_in_score_sde(decay, k)


@warming(Power(after=3), WRONG, breaks="TRN-1")
def one_copy_too_many(decay: float, k: int) -> float:
    """Four copies for three."""
    return as_in_ema_pytorch(decay, k - 1)


@warming(Power(), WRONG, breaks="TRN-1")
def power_forgotten(decay: float, k: int) -> float:
    """1 - 1/(1 + k)."""
    return min(decay, 1 - 1 / (1 + k))


@warming(Equal(), WRONG, breaks="TRN-1")
def mean_of_means(decay: float, k: int) -> float:
    """The mean of the average and the weights: 1/2 at every step."""
    return 0.5


@warming(Equal(), WRONG, breaks="TRN-1")
def one_weight_counted_twice(decay: float, k: int) -> float:
    """(k + 1)/(k + 2), as if the first weight had been averaged already."""
    return (k + 1) / (k + 2)


@warming("declared", WRONG, breaks="TRN-1", declared=lambda d, k: as_in_score_sde(d, k + 1))
def decays_told_a_step_early(decay: float, k: int) -> float:
    """`decays` returns those of the next step."""
    return as_in_score_sde(decay, k)


@warming("declared", WRONG, breaks="TRN-1", declared=lambda d, k: 1.5)
def decay_above_one(decay: float, k: int) -> float:
    """A decay of 1.5."""
    return 1.5


@WRONG.of("ema", on=NoProcess(), warm_up=Equal(), dtype="bfloat16", breaks="TRN-3")
def kept_in_half_precision(p: Process) -> Methods:
    """The mean is kept in bfloat16, where it stops after some hundred weights."""

    def ema(decay: float, history: Any) -> Any:
        average = history[0]
        rows = [average]
        for k, row in enumerate(history[1:], start=1):
            average = FORMATS["bfloat16"].rounded(average + (row - average) / (k + 1))
            rows.append(average)
        return np.stack(rows)

    return {"ema": ema}


@WRONG.of("times", on=NoProcess(), breaks="TIM-2")
def squares_of_times(p: Process) -> Methods:
    """U^2 with weight 1."""

    def times(n: int, seed: int) -> Any:
        return np.random.default_rng(seed).random(n, np.float32) ** 2, np.ones(n, np.float32)

    return {"times": times}


@guiding(WRONG, breaks="SMP-9")
def swapped(c: Any, u: Any, w: Any) -> Any:
    """c + w (u - c)."""
    return c + w * (u - c)


@guiding(WRONG, breaks="SMP-9")
def counted_from_the_conditional(c: Any, u: Any, w: Any) -> Any:
    """(1 + w) c - w u."""
    return (1 + w) * c - w * u


@guiding(WRONG, breaks="SMP-9")
def without_the_rest(c: Any, u: Any, w: Any) -> Any:
    """w (c - u)."""
    return w * (c - u)


@guiding(WRONG, breaks="SMP-9")
def off_below_one(c: Any, u: Any, w: Any) -> Any:
    """c wherever w <= 1, as pipelines switch guidance off."""
    return c if w <= 1 else u + w * (c - u)


@guiding(WRONG, breaks="SMP-9")
def rescaled(c: Any, u: Any, w: Any) -> Any:
    """Divided by the guidance."""
    return (u + w * (c - u)) / max(w, 1)
