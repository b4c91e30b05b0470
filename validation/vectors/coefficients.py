"""Vectors of coefficients, noising, posteriors and conversions: values from Arb, tolerances from the clauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import flint
import numpy as np

from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Chain, Cosine, Quantity, Times

from ..expected.conversions import converted
from ..expected.posteriors import tolerances_at
from ..expected.tiers import Scales, delta, exact, in_rho_domain, must_scales, of_variance, rho, should_scales
from ..oracles import balls
from .model import Bounds, Named, Vector, chain, cosine, hexed, linear, tolerances

SINGLE = 2.0**-24
DEFAULTS = (linear(0.1, 20.0), cosine(0.008))
OTHERS = (linear(0.0, 12.0), linear(3.0, 3.0), cosine(0.0), cosine(0.2))
TIMES = {
    "start": 0.0,
    "subnormal": 2.0**-149,
    "normal": 2.0**-126,
    "tiny": 2.0**-40,
    "early": float(np.float32(1e-5)),
    "small": 2.0**-7,
    "quarter": 0.25,
    "half": 0.5,
    "late": float(np.float32(0.9)),
    "last-but-one": 1.0 - SINGLE,
    "end": 1.0,
}
DDPM = chain("ddpm-1000", tuple(np.linspace(1e-4, 0.02, 1000).tolist()))
SHORT = chain("short-8", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75))
ONE = chain("one-step", (0.25,))
QUANTITIES: Mapping[Quantity, str] = {
    "log_alpha_bar": "SCH-3",
    "alpha_bar": "SCH-3",
    "beta": "SCH-2",
    "log_snr": "SCH-7",
    "alpha": "MAR-1",
    "sigma": "MAR-2",
}
_COSINE = {"log_alpha_bar": "SCH-4", "alpha_bar": "SCH-4", "beta": "SCH-5"}


def at(t: float) -> Times:
    """Return an array of one time (float64) or one index (int64), in the form of the contract."""
    # An index is an int, which the type checker accepts as a float.
    found: Times = np.array([t], dtype=np.int64) if type(t) is int else np.array([t], dtype=np.float64)
    return found


def flags_of(t: float, quantity: str) -> tuple[str, ...]:
    """Return the classes of bugs that a vector at t can find."""
    flags = ["Subnormal"] if 0.0 < t < 2.0**-126 else []
    if t in (0.0, 1.0):
        flags.append("EndOfTime")
    if 0.0 < t < 2.0**-6 and quantity in ("sigma", "log_snr", "log_alpha_bar", "x_t"):
        flags.append("Cancellation")
    return tuple(flags)


def _scalar(named: Named, quantity: Quantity, t: float, fmt: Format) -> Bounds:
    """Return the MUST and SHOULD tolerances of a coefficient, as absolute errors of the coefficient itself."""
    when = at(t)
    value = exact(named.process, quantity, when).value[0]
    bound = float(rho(named.process, quantity, when, fmt)[0])
    in_domain = bool(in_rho_domain(named.process, when, fmt)[0]) and not np.isnan(bound) and abs(value) <= fmt.largest
    should = bound if in_domain or value == 0.0 else None
    with np.errstate(all="ignore"):
        if quantity in ("alpha", "alpha_bar") or quantity == "beta":
            must = float(delta(named.process, quantity, when, fmt)[0])
        elif quantity == "sigma":
            must = float(of_variance(np.array([value]), delta(named.process, "variance", when, fmt))[0])
        else:
            a = exact(named.process, "alpha_bar", when).value[0]
            error = float(delta(named.process, "alpha_bar", when, fmt)[0])
            slope = a if quantity == "log_alpha_bar" else a * exact(named.process, "variance", when).value[0]
            error = error + 4.0 * fmt.u * slope * abs(value) if np.isfinite(value) else np.inf
            # An error above 1/8 of the slope is too large to linearise the logarithm: there is no tolerance then.
            must = 8.0 / 7.0 * error / slope if slope > 0.0 and 8.0 * error <= slope else np.inf
    return must, should


def quantities() -> Iterator[Vector]:
    """Yield the vectors of the coefficients of schedules and chains."""
    for named in (*DEFAULTS, *OTHERS):
        names = TIMES if named in DEFAULTS else {k: TIMES[k] for k in ("start", "early", "half", "last-but-one", "end")}
        for quantity, clause in QUANTITIES.items():
            if isinstance(named.process, Cosine):
                clause = _COSINE.get(quantity, clause)
            for label, t in names.items():
                yield _quantity(named, quantity, clause, label, t)
    for named, indices in ((DDPM, (1, 2, 500, 999, 1000)), (SHORT, (1, 2, 7, 8)), (ONE, (1,))):
        for quantity in ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr"):
            for k in indices:
                yield _quantity(named, quantity, "DIS-1", f"k-{k}", k, ("IndexShift",))


def _quantity(
    named: Named, quantity: Quantity, clause: str, label: str, t: float, flags: tuple[str, ...] = ()
) -> Vector:
    key = "k" if isinstance(named.process, Chain) else "t"
    inputs = hexed(**{key: t})
    return Vector(
        id=f"{clause}/{quantity.replace('_', '-')}-{slug(named.name)}-{label}",
        call=quantity,
        process=named,
        inputs=inputs,
        output=balls.decimal(balls.quantity(quantity, named.scales(t))),
        tolerance=tolerances(inputs, partial(_scalar, named, quantity, t)),
        flags=(*flags_of(t, quantity), *flags) if key == "t" else flags,
    )


def slug(text: str) -> str:
    """Return a name in the spelling of ids."""
    return text.replace(".", "p").replace("_", "-")


DATA = {"unit": (1.0, -0.5), "large": (-32.0, 3.25), "noiseless": (0.75, 0.0), "dataless": (0.0, 1.0)}


def _noised(named: Named, t: float, x_0: float, eps: float, fmt: Format) -> Bounds:
    """Return the MUST and SHOULD tolerances of x_t."""

    def tier(q: Scales) -> float:
        size = q.alpha[0] * abs(x_0) + q.sigma[0] * abs(eps)
        return float(abs(x_0) * q.d_alpha[0] + abs(eps) * q.d_sigma[0] + 4.0 * fmt.u * size + fmt.smallest)

    in_domain = bool(in_rho_domain(named.process, at(t), fmt)[0])
    should = tier(should_scales(named.process, at(t), fmt)) if in_domain else None
    return tier(must_scales(named.process, at(t), fmt)), should


def marginals() -> Iterator[Vector]:
    """Yield the vectors of `perturb`."""
    places: list[tuple[Named, str, float]] = [
        (named, label, TIMES[label]) for named in DEFAULTS for label in ("start", "early", "half", "end")
    ]
    places += [(DDPM, f"k-{k}", k) for k in (1, 500, 1000)]
    for named, label, t in places:
        for kind, (x_0, eps) in DATA.items():
            q = named.scales(t)
            inputs = hexed(x_0=x_0, eps=eps, **{"k" if isinstance(named.process, Chain) else "t": t})
            yield Vector(
                id=f"MAR-4/perturb-{slug(named.name)}-{label}-{kind}",
                call="perturb",
                process=named,
                inputs=inputs,
                output=balls.decimal(q.alpha * flint.arb(x_0) + q.sigma * flint.arb(eps)),
                tolerance=tolerances(inputs, partial(_noised, named, t, x_0, eps)),
                flags=(*flags_of(t, "x_t"), "VarianceForStd"),
            )


PAIRS = {"adjacent": (0.25, 0.3125), "long": (0.125, 0.875), "to-start": (0.0, 0.5), "early": (2.0**-12, 2.0**-10)}
STRIDES = {"adjacent": (499, 500), "strided": (400, 500), "to-start": (0, 1), "whole": (0, 1000)}


def posteriors() -> Iterator[Vector]:
    """Yield the vectors of the coefficients and the variance of the posterior."""
    for named in (*DEFAULTS, DDPM):
        pairs: Mapping[str, tuple[float, float]] = STRIDES if named is DDPM else PAIRS
        for label, (s, t) in pairs.items():
            names = ("k_s", "k_t") if named is DDPM else ("s", "t")
            inputs = hexed(**dict(zip(names, (s, t), strict=True)))
            for name, value in balls.posterior(named.scales(s), named.scales(t)).items():
                yield Vector(
                    id=f"MAR-7/{name.replace('_', '-')}-{slug(named.name)}-{label}",
                    call=f"posterior_{name}",
                    process=named,
                    inputs=inputs,
                    output=balls.decimal(value),
                    tolerance=tolerances(inputs, partial(_posterior, named, s, t, name)),
                    flags=("StridedStep",) if t - s != 1 else (),
                )


def _posterior(named: Named, s: float, t: float, name: str, fmt: Format) -> Bounds:
    """Return the MUST tolerance of one coefficient of the posterior, or of its variance."""
    bounds = tolerances_at(named.process, at(s), at(t), fmt)
    if not bounds.domain[0]:
        return float("inf"), None
    return float((bounds.variance if name == "variance" else bounds.coefficient)[0]), None


def conversions() -> Iterator[Vector]:
    """Yield the vectors of the twelve conversions."""
    clauses = {"x_0": "PAR-1", "eps": "PAR-2", "v": "PAR-3", "score": "PAR-4"}
    for (source, to), formula in balls.CONVERSIONS.items():
        clause = "PAR-3" if source == "v" and to != "score" else clauses[to]
        for named, label, t in (
            *((named, label, TIMES[label]) for named in DEFAULTS for label in ("small", "half", "late")),
            (DDPM, "k-300", 300),
        ):
            value, x_t = CONVERTED
            key = "k" if isinstance(named.process, Chain) else "t"
            inputs = hexed(value=value, x_t=x_t, **{key: t}) | {"source": source, "to": to}
            yield Vector(
                id=f"{clause}/{source.replace('_', '-')}-to-{to.replace('_', '-')}-{slug(named.name)}-{label}",
                call="convert",
                process=named,
                inputs=inputs,
                output=balls.decimal(formula(named.scales(t), flint.arb(x_t), flint.arb(value))),
                tolerance=tolerances(inputs, partial(_converted, named, (source, to), t)),
                flags=("SignOfScore",) if "score" in (source, to) else (),
            )


CONVERTED = (0.625, -1.5)
"""The value that is converted, and x_t."""


def _converted(named: Named, pair: Any, t: float, fmt: Format) -> Bounds:
    """Return the MUST and SHOULD tolerances of a conversion."""
    value, x_t = (fmt.rounded(np.array([[y]])) for y in CONVERTED)
    found = []
    for scales in (must_scales, should_scales):
        expected = converted(pair, value, x_t, scales(named.process, at(t), fmt), fmt)
        found.append(float(expected.tolerance[0, 0]) if expected.domain[0, 0] else np.inf)
    return found[0], found[1] if np.isfinite(found[1]) else None
