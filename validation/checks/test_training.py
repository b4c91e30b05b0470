"""Chapter 8: does a target's average of weights obey TRN-1 to TRN-3, and what it trains TRN-4 to TRN-6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.case import Case
from refdiff.conformance.check import ANY, check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Denoiser, Times

from ..expected import denoiser as optimum
from ..expected.averages import decay_roundings, decays, movement_bound, recursion_bound
from ..expected.tiers import KNOWN, exact
from ..oracles.averages import averaged
from ..oracles.certified import Floats
from .probes import first_served, last_served

DECAYS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
SHORT, LONG = 12, 300
"""Rows of a history: as many as a reproducer prints, and enough for a drift to show."""
MOVED = (-1.0, 0.0, 1.0, 1.0, 0.5), (1.0, 1.0, 2.0, 0.0, -2.0)
"""Weights before and after a jump."""
SETTLED = 1000
"""Rows before the jump, of a claim with a warm-up."""

EXAMPLES, SECONDS = 8192, 5.0
"""Arguments of `fit`: scalar data, and seconds of training."""
FLOW = 64
"""Steps of TRN-6's walk."""


def _history(case: Case, rows: int) -> Array:
    """Return (rows, 5) weights that wander, of scales from 1/64 to 16."""
    rng = np.random.default_rng([case.seed, rows])
    steps = rng.standard_normal((rows, 5))
    return case.format.rounded((np.cumsum(0.3 * steps, axis=0) + steps) * 2.0 ** np.array([-6, -3, 0, 2, 4]))


def _rows(count: int) -> dict[str, Any]:
    return {"row": np.arange(count, dtype=np.float64)}


def _kept(case: Case, decay: float, n: int) -> Sequence[Any]:
    """Return d_1, ..., d_n, which the target may declare: then it says them first, and they are in [0, 1]."""
    rule = case.claim.warm_up
    if rule != "declared":
        return decays(rule, decay, n)
    told = case.built.decays(decay, n)
    case.expect(f"declared decays for {decay}", told, Expected(np.clip(told, 0.0, 1.0), 0.0), at=_rows(n))
    return [float(one) for one in told]


@check("TRN-1", "ema", on=ANY)
def test_recursion(case: Case) -> None:
    """TRN-1: row k is the average after the weights of row k, for decays of any memory."""
    case.once_a_kind()
    rule = case.claim.warm_up
    roundings = decay_roundings(None if rule == "declared" else rule)
    for decay in DECAYS:
        for rows in (1, SHORT) if decay < 0.99 else (SHORT, LONG):
            history, kept = _history(case, rows), _kept(case, decay, rows)
            got = case.built.ema(decay, history)
            want, residual = averaged(kept, history)
            bound = recursion_bound(kept, history, case.format, roundings)
            case.expect(f"average at decay {decay}", got, Expected(want, bound, residual=residual), at=_rows(rows))


@check("TRN-2", "ema", on=ANY)
def test_constant_weights(case: Case) -> None:
    """TRN-2: weights that do not change are their own average, to the bit."""
    case.once_a_kind()
    for decay in DECAYS:
        history = np.repeat(_history(case, SHORT)[-1:], LONG, axis=0)
        got = case.built.ema(decay, history)
        case.expect(f"average of constants at decay {decay}", got, Expected(history, 0.0), at=_rows(LONG))


@check("TRN-3", "ema", on=ANY)
def test_average_moves(case: Case) -> None:
    """TRN-3: after a jump the average goes its share of the way, in any dtype; a warm-up comes before the jump."""
    case.once_a_kind()
    start, end = (np.array(values) for values in MOVED)
    settled = 1 if case.claim.warm_up is None else SETTLED
    for decay, steps in ((0.99, 100), (0.999, 500), (0.9999, 1000)):
        kept = prod(map(float, _kept(case, decay, settled + steps - 1)[settled - 1 :]))
        rows = np.concatenate([np.repeat(start[None], settled, axis=0), np.repeat(end[None], steps, axis=0)])
        got = case.built.ema(decay, case.format.rounded(rows))[-1]
        bound = movement_bound(kept, start, end, case.format)
        what = f"average {steps} steps after a jump at decay {decay}"
        case.expect(what, got, Expected(kept * start + (1.0 - kept) * end, bound), at={"start": start, "end": end})


@final
@dataclass(frozen=True, slots=True)
class Trained:
    """A target's denoiser, and the times at which it is judged, rising."""

    case: Case
    denoiser: Denoiser
    times: Times
    alpha: Floats
    variance: Floats
    event: tuple[int, ...]

    def at(self, i: int) -> optimum.Predict:
        """Return eps_hat at one of the times; numbers cross in the target's format."""

        def predict(x: Floats) -> Floats:
            t = self.times[np.full(len(x), i, dtype=np.intp)]
            x_t = self.case.format.rounded(x).reshape(len(x), *self.event)
            return self.denoiser(x_t, t).reshape(len(x)).astype(np.float64)

        return predict

    def scales(self, i: int) -> tuple[float, float]:
        """Return alpha and sigma^2."""
        return float(self.alpha[i]), float(self.variance[i])


def _rising(case: Case, shares: Floats) -> Times:
    """Return the times, or indices, at these shares of the process."""
    if case.steps:
        k = np.unique(np.round(shares * case.steps).astype(np.int64))
        return np.asarray(k[k >= 1])
    low, high = first_served(case), last_served(case)
    return np.asarray(np.unique(case.format.rounded(low + (high - low) * shares)))


def _event(case: Case) -> tuple[int, ...]:
    """Return the shape of one number that the target serves as an example. Raises NotClaimed if it serves none."""
    events = case.claim.events
    if events is None:
        return (1,)
    if single := [event for event in events if int(np.prod(event)) == 1]:
        return single[0]
    raise NotClaimed("the data is one number an example, and the claim has events of more")


def _trained(case: Case, shares: Floats) -> Trained:
    """Fit, once for all checks of a process. Raises NotClaimed where the process has too little noise to judge at."""
    case.once_a_kind()
    event, times = _event(case), _rising(case, shares)
    alpha, variance = (exact(case.process, name, times).value for name in ("alpha", "variance"))
    noisy: npt.NDArray[np.bool_] = np.asarray(variance >= optimum.LEAST)
    if noisy.sum() < len(shares) // 2:
        raise NotClaimed(f"the process has sigma^2 below {optimum.LEAST} at most times, or few steps")
    drawn = optimum.DATA.draw(EXAMPLES, np.random.default_rng([case.seed, EXAMPLES]))
    data = case.format.rounded(drawn).reshape(EXAMPLES, *event)
    denoiser = case.built.fit(data, case.seed, SECONDS)
    return Trained(case, denoiser, times[noisy], alpha[noisy], variance[noisy], event)


@check("TRN-4", "fit", on=KNOWN)
def test_least_loss_is_reached(case: Case) -> None:
    """TRN-4: the loss of the trained denoiser, over pairs and times, is the least there is, within its margin."""
    trained = _trained(case, optimum.SHARES)
    every = range(len(trained.times))
    got = np.mean([optimum.loss(trained.at(i), *trained.scales(i)) for i in every])
    want = np.mean([optimum.least(*trained.scales(i)) for i in every])
    what = f"loss of the denoiser, mean over {len(trained.times)} times"
    case.expect(what, [got], Expected(want, optimum.LOSS), at={"t": trained.times[:1]})


@check("TRN-5", "fit", on=KNOWN)
def test_score_is_learned(case: Case) -> None:
    """TRN-5: at each time, sigma^2 times the mean square of the error of the score."""
    trained = _trained(case, optimum.SHARES)
    got = [optimum.score_error(trained.at(i), *trained.scales(i)) for i in range(len(trained.times))]
    case.expect("sigma^2 E (s_hat - s)^2", got, Expected(0.0, optimum.SCORE), at={"t": trained.times})


@check("TRN-6", "fit", on=KNOWN)
def test_samples_have_the_law_of_the_data(case: Case) -> None:
    """TRN-6: walked down the flow with the trained denoiser, the law near t = 1 becomes that near the data."""
    if case.format.bits < 24:
        raise NotClaimed("a walk in half precision is moved by rounding")
    trained = _trained(case, np.linspace(0.1, 0.95, FLOW + 1))
    falling = range(len(trained.times) - 1, -1, -1)
    predicts, scales = [trained.at(i) for i in falling], [trained.scales(i) for i in falling]
    got = optimum.flow_distance(predicts, scales)
    what = f"Kolmogorov distance after {len(scales) - 1} steps of the flow"
    case.expect(what, [got], Expected(0.0, optimum.LAW), at={"t": trained.times[:1]})
