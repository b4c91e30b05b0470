"""Faults of the warm-up of averages of weights (chapter 8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.averaging import Equal, Power, Ratio

from .clean.target import Clean
from .fault import LINEAR, Chapter

FAULTS = Chapter("warm-up", "ema")


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Ratio())
def ratio_one_step_late(self: Clean, decay: float, k: int) -> float:
    """min(d, k/(9 + k)).

    Meant: min(d, (1 + k)/(10 + k)).

    Seen: plausible, as a count of updates that starts at 0.
    """
    return Clean.decay(self, decay, k - 1)


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Ratio(offset=20.0))
def offset_ignored(self: Clean, decay: float, k: int) -> float:
    """min(d, (1 + k)/(10 + k)), whatever the offset is.

    Meant: min(d, (1 + k)/(offset + k)).

    Seen: plausible, as a constant in place of the option.
    """
    return min(decay, (1.0 + k) / (10.0 + k))


@FAULTS.plant("decay", breaks="TRN-1 TRN-3", warm_up=Ratio())
def max_for_min(self: Clean, decay: float, k: int) -> float:
    """max(d, (1 + k)/(10 + k)).

    Meant: min(d, (1 + k)/(10 + k)).

    Seen: plausible.
    """
    return max(decay, (1.0 + k) / (10.0 + k))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Ratio())
def cap_forgotten(self: Clean, decay: float, k: int) -> float:
    """(1 + k)/(10 + k), without end.

    Meant: min(d, (1 + k)/(10 + k)).

    Seen: plausible.
    """
    return (1.0 + k) / (10.0 + k)


@FAULTS.plant("decay", breaks="TRN-1 TRN-3", warm_up=Ratio())
def warm_up_forgotten(self: Clean, decay: float, k: int) -> float:
    """d at every step, under a claim of a warm-up.

    Meant: min(d, (1 + k)/(10 + k)).

    Seen: plausible, as `use_num_updates=False` of score_sde.
    """
    return decay


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power())
def power_one_step_late(self: Clean, decay: float, k: int) -> float:
    """1 - (1 + (k - 1)/inv_gamma)^-power: the first update copies the weights.

    Meant: 1 - (1 + k/inv_gamma)^-power.

    Seen: plausible, as a count of updates that starts at 0.
    """
    return Clean.decay(self, decay, k - 1)


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power(power=0.75))
def power_of_the_default(self: Clean, decay: float, k: int) -> float:
    """The power 2/3, whatever the claim states.

    Meant: 1 - (1 + k/inv_gamma)^-power with the power 3/4.

    Seen: plausible; 2/3 is for long runs and 3/4 for shorter ones, by the comments of libraries.
    """
    return float(min(decay, 1.0 - (1.0 + k) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power(inv_gamma=10.0))
def gamma_for_its_inverse(self: Clean, decay: float, k: int) -> float:
    """1 - (1 + k inv_gamma)^-power.

    Meant: 1 - (1 + k/inv_gamma)^-power.

    Seen: plausible, from the name.
    """
    return float(min(decay, 1.0 - (1.0 + 10.0 * k) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power(inv_gamma=50.0, least=0.5))
def least_ignored(self: Clean, decay: float, k: int) -> float:
    """1 - (1 + k/inv_gamma)^-power, from 0 on.

    Meant: the same, raised to least = 1/2.

    Seen: plausible.
    """
    return float(min(decay, 1.0 - (1.0 + k / 50.0) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power(after=5))
def wait_ignored(self: Clean, decay: float, k: int) -> float:
    """The average starts at once.

    Meant: the first 5 updates copy the weights.

    Seen: plausible, as `update_after_step` that is compared with another count.
    """
    return float(min(decay, 1.0 - (1.0 + k) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power(after=5))
def rise_counted_from_the_start(self: Clean, decay: float, k: int) -> float:
    """After 5 copies the decay is 1 - (1 + k)^-power.

    Meant: 1 - (1 + (k - 5))^-power.

    Seen: plausible.
    """
    return 0.0 if k <= 5 else float(min(decay, 1.0 - (1.0 + k) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Power())
def power_positive(self: Clean, decay: float, k: int) -> float:
    """(1 + k)^-power, which falls.

    Meant: 1 - (1 + k)^-power, which rises.

    Seen: plausible.
    """
    return float(min(decay, (1.0 + k) ** (-2.0 / 3.0)))


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Equal())
def mean_one_step_late(self: Clean, decay: float, k: int) -> float:
    """(k - 1)/k, which leaves out w_0.

    Meant: k/(k + 1), the mean of w_0, ..., w_k.

    Seen: plausible, as `n_averaged` that is counted after the update.
    """
    return (k - 1.0) / k


@FAULTS.plant("decay", breaks="TRN-1", warm_up=Equal())
def mean_of_means(self: Clean, decay: float, k: int) -> float:
    """1/2: the mean of the average and the weights.

    Meant: k/(k + 1), the mean of w_0, ..., w_k.

    Seen: plausible.
    """
    return 0.5


@FAULTS.plant("decay", breaks="TRN-1 TRN-3", warm_up=Equal())
def decay_where_a_mean_is_claimed(self: Clean, decay: float, k: int) -> float:
    """d at every step.

    Meant: k/(k + 1), whatever d is.

    Seen: plausible.
    """
    return decay


@FAULTS.plant("decays", breaks="TRN-1", on=LINEAR, warm_up="declared")
def warm_up_declared_and_absent(self: Clean, decay: float, n: int) -> Any:
    """The decays told are those of a warm-up, and the average has none.

    Meant: d_1, ..., d_n, as the average has them.

    Seen: plausible, as a logged decay.
    """
    return np.array([min(decay, (1.0 + k) / (10.0 + k)) for k in range(1, n + 1)])


@FAULTS.plant("decays", breaks="TRN-1", warm_up="declared")
def rests_declared(self: Clean, decay: float, n: int) -> Any:
    """1 - d is told for d.

    Meant: d_1, ..., d_n.

    Seen: plausible; torch's and Keras's momentum is 1 - d.
    """
    return np.full(n, 1.0 - decay)
