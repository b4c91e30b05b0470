"""The noised example x_t = alpha x_0 + sigma eps, from scales with their tolerances (MAR-4)."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array

from .tiers import JUDGE_U, Scales


def noised(x_0: Array, eps: Array, at: Scales, fmt: Format) -> Expected:
    """Return x_t within |x_0| d_alpha + |eps| d_sigma + 4u (alpha |x_0| + sigma |eps|); data (n, *event)."""
    q, x, e = at.shaped(x_0.ndim), x_0.astype(np.float64), eps.astype(np.float64)
    size = q.alpha * np.abs(x) + q.sigma * np.abs(e)
    scaled = np.abs(x) * q.d_alpha + np.abs(e) * q.d_sigma
    return Expected(q.alpha * x + q.sigma * e, scaled + (4.0 * fmt.u + JUDGE_U) * size + fmt.smallest)
