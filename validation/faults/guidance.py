"""Faults of classifier-free guidance (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import NoProcess

from .clean.target import Clean
from .fault import Chapter

FAULTS = Chapter("guide", "guide", on=NoProcess())


@FAULTS.plant("guided", breaks="SMP-9")
def counted_from_the_conditional(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """c + w (c - u).

    Meant: u + w (c - u), which is c at w = 1.

    Seen: https://arxiv.org/abs/2207.12598 counts so; an adapter gives such a library w - 1.
    """
    return conditional + scale * (conditional - unconditional)


@FAULTS.plant("guided", breaks="SMP-9")
def one_less(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + (w - 1) (c - u).

    Meant: u + w (c - u).

    Seen: plausible, as an adapter that subtracts 1 of a library that does not add it.
    """
    return unconditional + (scale - 1.0) * (conditional - unconditional)


@FAULTS.plant("guided", breaks="SMP-9")
def predictions_swapped(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """c + w (u - c).

    Meant: u + w (c - u).

    Seen: plausible, as the order of the two halves of a doubled batch.
    """
    return Clean.guided(self, unconditional, conditional, scale)


@FAULTS.plant("guided", breaks="SMP-9")
def minus_for_plus(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u - w (c - u).

    Meant: u + w (c - u).

    Seen: plausible.
    """
    return unconditional - scale * (conditional - unconditional)


@FAULTS.plant("guided", breaks="SMP-9")
def difference_to_the_conditional(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """c + (1 - w) (c - u).

    Meant: c + (w - 1) (c - u), which is u + w (c - u).

    Seen: plausible.
    """
    return conditional + (1.0 - scale) * (conditional - unconditional)


@FAULTS.plant("guided", breaks="SMP-9")
def unconditional_left_out(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """w (c - u).

    Meant: u + w (c - u).

    Seen: plausible.
    """
    return scale * (conditional - unconditional)


@FAULTS.plant("guided", breaks="SMP-9")
def conditional_scaled_alone(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + w c.

    Meant: u + w (c - u).

    Seen: plausible.
    """
    return unconditional + scale * conditional


@FAULTS.plant("guided", breaks="SMP-9")
def deviation_restored(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + w (c - u), scaled to the standard deviation of c.

    Meant: u + w (c - u).

    Seen: `guidance_rescale` of https://arxiv.org/abs/2305.08891, as diffusers has it, where it is not asked for.
    """
    found = Clean.guided(self, conditional, unconditional, scale)
    return found * (np.std(conditional) / np.maximum(np.std(found), 1e-30))


@FAULTS.plant("guided", breaks="SMP-9")
def no_guidance_up_to_one(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """c for w <= 1.

    Meant: u + w (c - u) for every w, which is u at w = 0.

    Seen: `do_classifier_free_guidance = guidance_scale > 1` of https://github.com/huggingface/diffusers.
    """
    return conditional if scale <= 1.0 else Clean.guided(self, conditional, unconditional, scale)


@FAULTS.plant("guided", breaks="SMP-9")
def scale_clipped(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + min(w, 10) (c - u).

    Meant: u + w (c - u).

    Seen: plausible.
    """
    return Clean.guided(self, conditional, unconditional, min(scale, 10.0))


@FAULTS.plant("guided", breaks="SMP-9")
def batch_mean_of_the_unconditional(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u is the mean of the batch's unconditional predictions.

    Meant: u + w (c - u), with each example's own u.

    Seen: plausible, as a null prediction that is computed once and broadcast.
    """
    return Clean.guided(self, conditional, unconditional.mean(axis=0, keepdims=True), scale)


@FAULTS.plant("guided", breaks="SMP-9")
def prediction_clipped(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + w (c - u), clipped to [-1, 1].

    Meant: u + w (c - u).

    Seen: plausible, as the clip of x_0 applied to every prediction.
    """
    return np.clip(Clean.guided(self, conditional, unconditional, scale), -1.0, 1.0)


@FAULTS.plant("guided", breaks="SMP-9")
def negative_scale_clipped(self: Clean, conditional: Any, unconditional: Any, scale: float) -> Any:
    """u + max(w, 0) (c - u).

    Meant: u + w (c - u) for every w.

    Seen: plausible, as a check of the range that changes its argument.
    """
    return Clean.guided(self, conditional, unconditional, max(scale, 0.0))
