"""How accurate alpha and sigma are, side by side, in ulp of the certified value.

    python -m validation.tools.benchmarks.accuracy

Each target at 20,000 float32 times: half of them stratified over [1e-5, 1], half over its logarithm;
a chain at every index. Needs the extra `diffusers`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tabulate import tabulate

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, Chain, Claim, Linear, Process, Quantity, Target, Times
from refdiff.conformance.loading import build, load

from ...checks.grids import within_format
from ...expected.tiers import exact

QUANTITIES: tuple[Quantity, ...] = ("alpha", "sigma")
LINEAR = Linear(beta_min=0.1, beta_max=20.0)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)
ROWS: tuple[tuple[str, str, Process], ...] = (
    ("refdiff", "refdiff.conformance.reference:target", LINEAR),
    ("diffusers ScoreSdeVpScheduler", "validation.targets.diffusers:score_sde_vp", LINEAR),
    ("refdiff, chain", "refdiff.conformance.reference:target", DDPM),
    ("diffusers DDPMScheduler", "validation.targets.diffusers:ddpm", DDPM),
)


def worst_ulps(target: Target, claim: Claim, process: Process) -> Mapping[Quantity, tuple[float, float]]:
    """Return the worst error of alpha and sigma, and where, for what the target offers of them."""
    t = _times(process)
    built = build(target, claim, process, seconds=60.0)
    found: dict[str, Array] = dict(built.coefficients(t))
    if "perturb" in claim.capabilities:
        one = np.ones((len(t), 1), np.float32)
        found["alpha"] = built.perturb(one, 0 * one, t)[:, 0]
        found["sigma"] = built.perturb(0 * one, one, t)[:, 0]
    worst: dict[Quantity, tuple[float, float]] = {}
    for name in QUANTITIES:
        if name in found:
            want = exact(process, name, t)
            error = np.abs((found[name].astype(np.float64) - want.value) - want.residual)
            ulps = error / FORMATS["float32"].ulp(want.value)
            worst[name] = (float(ulps.max()), float(t[ulps.argmax()]))
    return worst


def _times(process: Process) -> Times:
    if isinstance(process, Chain):
        return np.arange(1, len(process.betas) + 1)
    rng = np.random.default_rng(0)
    strata = (np.arange(10_000) + rng.random(10_000)) / 10_000
    return within_format(np.concatenate([1e-5 + (1 - 1e-5) * strata, 1e-5 ** (1 - strata)]), FORMATS["float32"])


def main() -> None:
    """Print the table."""
    rows = []
    for label, origin, process in ROWS:
        worst = worst_ulps(*load(origin, seconds=60.0), process)
        cells = [f"{worst[q][0]:.3g} (at {worst[q][1]:.3g})" if q in worst else "" for q in QUANTITIES]
        rows.append((label, repr(process), *cells))
    print(tabulate(rows, ("float32", "process", "alpha, ulp", "sigma, ulp"), tablefmt="github"))


if __name__ == "__main__":
    main()
