"""All variants, right and wrong."""

from __future__ import annotations

from tests.meta.variants import (
    bare,
    chain,
    conversions,
    cosine,
    ema,
    indices,
    linear,
    losses,
    marginal,
    posteriors,
    steps,
    times,
    weights,
    wrong_losses,
    wrong_weights,
)
from tests.meta.variants.variant import Variant

FAMILIES = (
    linear.FAMILY,
    cosine.FAMILY,
    chain.FAMILY,
    marginal.FAMILY,
    conversions.FAMILY,
    losses.FAMILY,
    weights.FAMILY,
    times.FAMILY,
    indices.FAMILY,
    steps.FAMILY,
    posteriors.FAMILY,
    posteriors.SDE,
    ema.FAMILY,
    bare.FAMILY,
)
RIGHT: tuple[Variant, ...] = tuple(variant for family in FAMILIES for variant in family)
WRONGS = (
    wrong_losses.FAMILY,
    wrong_weights.FAMILY,
    bare.WRONG,
)
WRONG: tuple[Variant, ...] = tuple(variant for family in WRONGS for variant in family)
