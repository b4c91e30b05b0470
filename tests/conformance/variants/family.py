"""All variants, right and wrong."""

from __future__ import annotations

from tests.conformance.variants import (
    chain,
    conversions,
    cosine,
    ema,
    linear,
    losses,
    marginal,
    posteriors,
    steps,
    times,
    wrong_processes,
    wrong_training,
)
from tests.conformance.variants.variant import Variant

FAMILIES = (
    linear.FAMILY,
    cosine.FAMILY,
    chain.FAMILY,
    marginal.FAMILY,
    conversions.FAMILY,
    losses.FAMILY,
    times.FAMILY,
    steps.FAMILY,
    posteriors.FAMILY,
    posteriors.SDE,
    ema.FAMILY,
)
WRONGS = (wrong_processes.FAMILY, wrong_training.FAMILY)
RIGHT: tuple[Variant, ...] = tuple(v for family in FAMILIES for v in family)
WRONG: tuple[Variant, ...] = tuple(v for family in WRONGS for v in family)
