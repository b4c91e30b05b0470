"""Faults of averages of weights (chapter 8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, NoProcess

from .clean.scales import wide
from .clean.target import Clean
from .fault import Chapter

FAULTS = Chapter("ema", "ema")

# The recursion.


@FAULTS.plant("updated", breaks="TRN-1 TRN-3")
def decay_swapped(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a = (1 - d) a + d w.

    Meant: a = d a + (1 - d) w.

    Seen: plausible; torch's `lerp` takes the weight of its second argument.
    """
    return Clean.updated(self, average, weights, 1.0 - decay)


@FAULTS.plant("updated", breaks="TRN-1 TRN-3")
def never_stepped(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a stays w_0.

    Meant: a = d a + (1 - d) w after each step.

    Seen: https://github.com/huggingface/diffusers/issues/5783.
    """
    return average


@FAULTS.plant("updated", breaks="TRN-1 TRN-3")
def live_weights(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a = w.

    Meant: a = d a + (1 - d) w.

    Seen: plausible, as the wrong weights that are saved, https://github.com/huggingface/diffusers/pull/2146.
    """
    return weights


@FAULTS.plant("updated", breaks="TRN-1 TRN-3")
def plus_for_minus(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a = d a + w.

    Meant: a = d a + (1 - d) w.

    Seen: plausible, as the momentum of SGD, which has no 1 - d.
    """
    return decay * average + weights


@FAULTS.plant("updated", breaks="TRN-1")
def buffers_left(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """The first number is averaged, and the others stay as they were.

    Meant: all numbers are averaged.

    Seen: https://github.com/yang-song/score_sde_pytorch averages parameters and no buffers.
    """
    return np.append(Clean.updated(self, average[:1], weights[:1], decay), average[1:])


@FAULTS.plant("updated", breaks="TRN-1")
def buffers_copied(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """The last number is copied, the others are averaged.

    Meant: all numbers are averaged.

    Seen: plausible; `AveragedModel(use_buffers=False)` of torch copies buffers.
    """
    return np.append(Clean.updated(self, average[:-1], weights[:-1], decay), weights[-1:])


@FAULTS.plant("updated", breaks="TRN-2", dtypes=("float32",))
def both_sides_weighed(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a = d a + (1 - d) w in float32, where d and 1 - d do not sum to 1: constant weights drift.

    Meant: a = a + (1 - d) (w - a), which keeps constants to the bit.

    Seen: https://github.com/openai/guided-diffusion: a drift of 1.7e-4 at d = 0.9999 in float32.
    """
    return wide(self.rounded(self.rounded(decay) * average) + self.rounded(self.rounded(1.0 - decay) * weights))


@FAULTS.plant("updated", breaks="TRN-2")
def by_its_window(self: Clean, average: Any, weights: Any, decay: float) -> Any:
    """a = ((n - 1) a + w)/n with n = 1/(1 - d), each operation rounded: constant weights drift.

    Meant: a = a + (1 - d) (w - a), which keeps constants to the bit.

    Seen: plausible, as the average over the last n steps.
    """
    n = 1.0 / (1.0 - decay)
    return wide(self.rounded(wide(self.rounded(wide(self.rounded((n - 1.0) * average)) + weights)) / n))


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def kept_in_bfloat16(self: Clean, decay: float, history: Any) -> Any:
    """The average is kept in bfloat16: it never moves at d = 0.999.

    Meant: an average in the dtype of the claim, or a wider one.

    Seen: plausible; optax's `incremental_update` of bfloat16 weights.
    """
    short = FORMATS["bfloat16"].rounded
    rows = [history[0]]
    for row in history[1:]:
        rows.append(wide(short(decay * rows[-1] + (1.0 - decay) * row)))
    return np.stack(rows)


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def kept_in_float16(self: Clean, decay: float, history: Any) -> Any:
    """The average is kept in float16.

    Meant: an average in the dtype of the claim, or a wider one.

    Seen: plausible, as the average of a model that was cast for inference.
    """
    short = FORMATS["float16"].rounded
    rows = [history[0]]
    for row in history[1:]:
        rows.append(wide(short(rows[-1] + wide(short((1.0 - decay) * (row - rows[-1]))))))
    return np.stack(rows)


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def every_other_step(self: Clean, decay: float, history: Any) -> Any:
    """The average is updated after steps 1, 3, 5, ...

    Meant: an update after every step.

    Seen: plausible, as `update_every` of https://github.com/lucidrains/ema-pytorch, whose decay is per update.
    """
    rows = [history[0]]
    for k, row in enumerate(history[1:], start=1):
        rows.append(Clean.updated(self, rows[-1], row, decay) if k % 2 else rows[-1])
    return np.stack(rows)


@FAULTS.plant("averages", breaks="TRN-1")
def one_step_late(self: Clean, decay: float, history: Any) -> Any:
    """The average after step k has the weights up to step k - 1.

    Meant: the average after step k has w_k.

    Seen: plausible, as an average that is updated before the optimizer.
    """
    return Clean.averages(self, decay, history[[0, *range(len(history) - 1)]])


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def from_zero(self: Clean, decay: float, history: Any) -> Any:
    """a_0 = (1 - d) w_0.

    Meant: a_0 = w_0.

    Seen: plausible, as Adam's moments, without their correction.
    """
    return Clean.averages(self, decay, np.concatenate([np.zeros_like(history[:1]), history]))[1:]


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def corrected_for_its_start(self: Clean, decay: float, history: Any) -> Any:
    """a_k is divided by 1 - d^(k + 1), although it began at w_0.

    Meant: a_0 = w_0, and no correction.

    Seen: plausible, as Adam's correction.
    """
    found = Clean.averages(self, decay, history)
    return found / (1.0 - decay ** np.arange(1.0, len(found) + 1.0))[:, None]


@FAULTS.plant("averages", breaks="TRN-1")
def copy_of_the_first(self: Clean, decay: float, history: Any) -> Any:
    """The first update copies the weights.

    Meant: a_1 = d w_0 + (1 - d) w_1.

    Seen: plausible, as a count of updates that starts at 1; `AveragedModel` of torch copies at its first call.
    """
    return np.concatenate([history[:1], Clean.averages(self, decay, history[1:])]) if len(history) > 1 else history


@FAULTS.plant("ema", breaks="CON-2")
def without_the_first(self: Clean, decay: float, history: Array) -> Array:
    """The averages begin after step 1.

    Meant: as many rows as the history has, the first a_0 = w_0.

    Seen: plausible.
    """
    return Clean.ema(self, decay, history)[1:]


# A decay that is not what it says.


@FAULTS.plant("decay", breaks="TRN-1 TRN-3")
def decay_squared(self: Clean, decay: float, k: int) -> float:
    """d^2.

    Meant: d.

    Seen: plausible, as two updates in one step, one of them by a hook.
    """
    return decay**2


@FAULTS.plant("decay", breaks="TRN-1 TRN-3")
def root_of_the_decay(self: Clean, decay: float, k: int) -> float:
    """sqrt(d).

    Meant: d.

    Seen: plausible, as a decay rescaled for half of the batch.
    """
    return float(np.sqrt(decay))


@FAULTS.plant("decay", breaks="TRN-1 TRN-3", on=NoProcess())
def plain_mean(self: Clean, decay: float, k: int) -> float:
    """k/(k + 1), the mean of all weights.

    Meant: d at every step.

    Seen: plausible; it is the default of torch's `AveragedModel`.
    """
    return k / (k + 1.0)


@FAULTS.plant("decay", breaks="TRN-1 TRN-3")
def warm_up_where_none_is_claimed(self: Clean, decay: float, k: int) -> float:
    """min(d, (1 + k)/(10 + k)).

    Meant: d at every step, or a warm-up that the claim states.

    Seen: https://github.com/yang-song/score_sde_pytorch has it by default.
    """
    return min(decay, (1.0 + k) / (10.0 + k))


@FAULTS.plant("averages", breaks="TRN-1 TRN-3")
def warm_up_overwrites_the_decay(self: Clean, decay: float, history: Any) -> Any:
    """The decay of the first step of a warm-up, 2/11, is kept for all steps.

    Meant: min(d, (1 + k)/(10 + k)), with d unchanged.

    Seen: https://github.com/huggingface/diffusers/issues/1864.
    """
    rows, kept = [history[0]], decay
    for k, row in enumerate(history[1:], start=1):
        kept = min(kept, (1.0 + k) / (10.0 + k))
        rows.append(Clean.updated(self, rows[-1], row, kept))
    return np.stack(rows)
