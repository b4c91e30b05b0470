"""Vectors of invalid calls, for which an implementation must raise an error."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan
from typing import Any

from .coefficients import DDPM, DEFAULTS, SHORT, TIMES
from .model import Named, NoProcess, Vector, hexed

PROCESSES: dict[str, tuple[str, dict[str, Any], str]] = {
    "negative-rate": ("SCH-2", {"linear": hexed(beta_min=-0.1, beta_max=20.0)}, "beta_min < 0"),
    "falling-rate": ("SCH-2", {"linear": hexed(beta_min=20.0, beta_max=0.1)}, "beta_min > beta_max"),
    "zero-rate": ("SCH-2", {"linear": hexed(beta_min=0.0, beta_max=0.0)}, "beta_max = 0"),
    "infinite-rate": ("SCH-2", {"linear": hexed(beta_min=0.1, beta_max=inf)}, "beta_max is infinite"),
    "nan-rate": ("SCH-2", {"linear": hexed(beta_min=nan, beta_max=20.0)}, "beta_min is NaN"),
    "negative-offset": ("SCH-4", {"cosine": hexed(s=-0.008)}, "s < 0"),
    "infinite-offset": ("SCH-4", {"cosine": hexed(s=inf)}, "s is infinite"),
    "nan-offset": ("SCH-4", {"cosine": hexed(s=nan)}, "s is NaN"),
    "empty-chain": ("DIS-1", {"chain": {"betas": []}}, "no betas"),
    "beta-zero": ("DIS-1", {"chain": {"betas": [(0.1).hex(), (0.0).hex()]}}, "beta_2 = 0"),
    "beta-one": ("DIS-1", {"chain": {"betas": [(0.1).hex(), (1.0).hex()]}}, "beta_2 = 1"),
    "beta-negative": ("DIS-1", {"chain": {"betas": [(-0.1).hex()]}}, "beta_1 < 0"),
    "beta-nan": ("DIS-1", {"chain": {"betas": [nan.hex()]}}, "beta_1 is NaN"),
}
"""Invalid processes: clause, JSON form, and the reason why it is invalid."""
OUTSIDE = {"negative": -(2.0**-149), "beyond": 1.0 + 2.0**-23, "nan": nan, "infinite": inf}


def _vector(name: str, call: str, process: Named | NoProcess, why: str, **inputs: Any) -> Vector:
    return Vector(id=name, call=call, process=process, inputs=hexed(**inputs), flags=("InvalidInput",), why=why)


def invalid() -> Iterator[Vector]:
    """Yield all vectors of invalid calls."""
    for name, (clause, written, why) in PROCESSES.items():
        process = NoProcess(f"no-{name}", written)
        given: dict[str, Any] = {"k": 1} if "chain" in written else {"t": 0.5}
        yield _vector(f"{clause}/no-{name}", "alpha", process, why, **given)
    for named in DEFAULTS:
        for label, t in OUTSIDE.items():
            for call, clause in (("alpha", "MAR-1"), ("sigma", "MAR-2"), ("log_snr", "SCH-7")):
                yield _vector(f"{clause}/{_at(named, label)}", call, named, "t outside [0, 1]", t=t)
            yield _vector(f"MAR-4/{_at(named, label)}", "perturb", named, "t outside [0, 1]", x_0=1.0, eps=1.0, t=t)
        yield from _times(named)
        yield from _divisions(named)
    for label, k in (("negative", -1), ("beyond", 1001)):
        yield _vector(f"DIS-1/alpha-ddpm-1000-{label}", "alpha", DDPM, "k outside 0..N", k=k)
    yield _vector("MAR-7/posterior-variance-short-8-equal", "posterior_variance", SHORT, "s = t", k_s=3, k_t=3)
    yield _vector("MAR-7/posterior-variance-short-8-turned", "posterior_variance", SHORT, "s > t", k_s=5, k_t=3)
    for weight, why in (("max_snr", "no such weight"), ("", "no such weight")):
        label = weight.replace("_", "-") or "empty"
        yield _vector(f"LOS-6/no-weight-{label}", "weight", DEFAULTS[0], why, t=0.5, weight=weight, prediction="eps")
    yield _vector(
        "PAR-1/no-source", "convert", DEFAULTS[0], "no such source", value=1.0, x_t=1.0, t=0.5, source="x_1", to="eps"
    )
    yield _vector(
        "LOS-10/likelihood-of-a-chain",
        "weight",
        SHORT,
        "a chain has no rate",
        k=3,
        weight="likelihood",
        prediction="eps",
    )


def _at(named: Named, label: str) -> str:
    return f"outside-{named.name.replace('.', 'p')}-{label}"


def _times(named: Named) -> Iterator[Vector]:
    slug = named.name.replace(".", "p")
    for label, (s, t) in {"equal": (0.5, 0.5), "turned": (0.75, 0.5), "late": (0.5, 1.5)}.items():
        why = "s >= t, or t > 1"
        yield _vector(f"MAR-7/posterior-variance-{slug}-{label}", "posterior_variance", named, why, s=s, t=t)
        yield _vector(
            f"SMP-2/ddpm-{slug}-{label}", "step", named, why, x_t=1.0, eps_hat=1.0, noise=1.0, s=s, t=t, rule="ddpm"
        )


def _divisions(named: Named) -> Iterator[Vector]:
    slug = named.name.replace(".", "p")
    given = {"value": 1.0, "x_t": 1.0}
    for source, to in (("x_0", "eps"), ("eps", "score"), ("x_0", "v")):
        name = f"PAR-2/{source.replace('_', '-')}-to-{to}-{slug}-start"
        yield _vector(name, "convert", named, "sigma = 0", **given, t=TIMES["start"], source=source, to=to)
    if "cosine" in slug:
        for source, to in (("eps", "x_0"), ("score", "x_0"), ("eps", "v")):
            name = f"PAR-1/{source}-to-{to.replace('_', '-')}-{slug}-end"
            yield _vector(name, "convert", named, "alpha = 0", **given, t=TIMES["end"], source=source, to=to)
        yield _vector(f"SDE-1/drift-{slug}-end", "drift", named, "beta is infinite", x=1.0, t=TIMES["end"])
