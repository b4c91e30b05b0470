"""The twelve conversions among eps, x_0, v and score, by several routes each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Process, Unsupported
from tests.meta.variants.base import over, scales
from tests.meta.variants.libraries import JAX, NUMPY, NUMPY64, TORCH, TORCH64, Library, jax_numpy
from tests.meta.variants.variant import COSINE, DDPM, FLAT, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("conversions")
ALL = (LINEAR, COSINE, SHORT)
Form = Callable[..., Any]
NAMES = ("eps", "x_0", "v", "score")


def converting(*libraries: Library, on: Claimed | tuple[Claimed, ...] = ALL, **options: Any) -> Callable[[Form], Form]:
    """Add a form (xp, a, s, x_t, value, source, to) -> value as a variant of each library."""

    def add(form: Form) -> Form:
        for library in libraries:
            FAMILY.add(
                _made(library, form),
                "convert",
                on=on,
                name=f"{form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed | options,
            )
        return form

    return add


def _made(library: Library, form: Form) -> Callable[[Process], Methods]:
    def make(p: Process) -> Methods:
        def by(source: str, to: str) -> Callable[..., Any]:
            def run(xp: Any, value: Any, x_t: Any, t: Any) -> Any:
                a, s = over(xp, p, t, x_t)
                return form(xp, a, s, x_t, value, source, to)

            return library.bound(run)

        ready = {(source, to): by(source, to) for source in NAMES for to in NAMES if source != to}
        return {"convert": lambda value, x_t, t, source, to: ready[source, to](value, x_t, t)}

    return make


@converting(NUMPY, NUMPY64, TORCH, JAX)
def one_formula_for_each_pair(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """The formula of each pair, with nothing in between."""
    return {
        ("eps", "x_0"): lambda: (x - s * y) / a,
        ("eps", "v"): lambda: (y - s * x) / a,
        ("eps", "score"): lambda: -y / s,
        ("x_0", "eps"): lambda: (x - a * y) / s,
        ("x_0", "v"): lambda: (a * x - y) / s,
        ("x_0", "score"): lambda: (a * y - x) / s**2,
        ("v", "x_0"): lambda: a * x - s * y,
        ("v", "eps"): lambda: s * x + a * y,
        ("v", "score"): lambda: -x - a / s * y,
        ("score", "eps"): lambda: -s * y,
        ("score", "x_0"): lambda: (x + s**2 * y) / a,
        ("score", "v"): lambda: -s * (y + x) / a,
    }[source, to]()


@converting(NUMPY, TORCH64, JAX)
def by_both_parts(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """x_0 and eps first, each from the value and x_t; then what is asked for."""
    if source == "v":
        x_0, eps = a * x - s * y, s * x + a * y
    elif source == "x_0":
        x_0, eps = y, (x - a * y) / s
    else:
        eps = y if source == "eps" else -s * y
        x_0 = (x - s * eps) / a
    if to == "score":
        return -eps / s
    return {"x_0": x_0, "eps": eps, "v": a * eps - s * x_0}[to]


@converting(NUMPY, TORCH, on=(LINEAR, FLAT, SHORT))
def by_way_of_eps(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """Everything to eps, and eps to everything."""
    eps = {
        "eps": lambda: y,
        "x_0": lambda: (x - a * y) / s,
        "v": lambda: s * x + a * y,
        "score": lambda: -y * s,
    }[source]()
    return {
        "eps": lambda: eps,
        "x_0": lambda: (x - s * eps) / a,
        "v": lambda: (eps - s * x) / a,
        "score": lambda: -eps / s,
    }[to]()


@converting(NUMPY, on=(LINEAR, FLAT), t_min=1e-3)
def by_way_of_x_0(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """Everything to x_0, and x_0 to everything but by v, as a library of denoisers has it."""
    x_0 = {
        "eps": lambda: (x - s * y) / a,
        "x_0": lambda: y,
        "v": lambda: a * x - s * y,
        "score": lambda: (x + s * s * y) / a,
    }[source]()
    return {
        "eps": lambda: (x - a * x_0) / s,
        "x_0": lambda: x_0,
        "v": lambda: (a * x - x_0) / s,
        "score": lambda: (a * x_0 - x) / (s * s),
    }[to]()


@converting(NUMPY, TORCH, on=(LINEAR, SHORT))
def by_reciprocal_tables(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """DDPM's: x_0 = r x_t - q eps, eps = (r x_t - x_0)/q, r = sqrt(1/alpha_bar) and q = sqrt(1/alpha_bar - 1)."""
    r = 1.0 / a
    rm1 = s / a
    if (source, to) == ("eps", "x_0"):
        return r * x - rm1 * y
    if (source, to) == ("x_0", "eps"):
        return (r * x - y) / rm1
    return one_formula_for_each_pair(xp, a, s, x, y, source, to)


@converting(NUMPY, TORCH)
def reciprocals_multiplied(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """Multiplications by 1/alpha and 1/sigma in place of divisions."""
    over_a, over_s = 1.0 / a, 1.0 / s
    return {
        ("eps", "x_0"): lambda: over_a * x - over_a * s * y,
        ("eps", "v"): lambda: over_a * (y - s * x),
        ("eps", "score"): lambda: -over_s * y,
        ("x_0", "eps"): lambda: over_s * (x - a * y),
        ("x_0", "v"): lambda: over_s * (a * x - y),
        ("x_0", "score"): lambda: -over_s * (over_s * (x - a * y)),
        ("v", "x_0"): lambda: a * x - s * y,
        ("v", "eps"): lambda: s * x + a * y,
        ("v", "score"): lambda: -x - over_s * (a * y),
        ("score", "eps"): lambda: -s * y,
        ("score", "x_0"): lambda: over_a * (x + s * (s * y)),
        ("score", "v"): lambda: -(s * over_a) * (y + x),
    }[source, to]()


@converting(NUMPY, on=(LINEAR, FLAT))
def by_edm_denoiser(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """EDM's variables: z = x_t/alpha = x_0 + q eps, q = sigma/alpha; x_0 = z - q eps."""
    z, q = x / a, s / a
    return {
        ("eps", "x_0"): lambda: z - q * y,
        ("x_0", "eps"): lambda: (z - y) / q,
        ("score", "x_0"): lambda: z + q * s * y,
        ("x_0", "score"): lambda: (y - z) / (q * s),
    }.get((source, to), lambda: one_formula_for_each_pair(xp, a, s, x, y, source, to))()


@converting(NUMPY, jax_numpy("float64"), on=(LINEAR, COSINE))
def by_rotation(xp: Any, a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """(x_t, v) is (x_0, eps) turned by phi = atan2(sigma, alpha); from v a turn back, else as above."""
    phi = xp.arctan2(s, a)
    c, n = xp.cos(phi), xp.sin(phi)
    if source == "v" and to in ("x_0", "eps"):
        return c * x - n * y if to == "x_0" else n * x + c * y
    return one_formula_for_each_pair(xp, a, s, x, y, source, to)


@FAMILY.of("convert", "perturb", on=(*ALL, OWN))
def with_its_own_noising(p: Process) -> Methods:
    """Conversions beside the noising that they undo."""

    def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
        a, s = over(np, p, t, x_t)
        return by_both_parts(np, a, s, x_t, value, source, to).astype(np.float32)

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    return {"convert": convert, "perturb": perturb}


@FAMILY.of("convert", on=ALL)
def eps_and_x_0_only(p: Process) -> Methods:
    """A library that knows eps and x_0, and refuses v and score."""

    def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
        if {source, to} != {"eps", "x_0"}:
            raise Unsupported("eps and x_0 only")
        a, s = over(np, p, t, x_t)
        return (x_t - s * value) / a if to == "x_0" else (x_t - a * value) / s

    return {"convert": convert}


@FAMILY.of("convert", "perturb", on=LINEAR, t_min=1e-3)
def score_only(p: Process) -> Methods:
    """score-SDE: the network gives the score, from t = 1e-3 on, and eps follows; nothing else is served."""

    def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
        if {source, to} != {"eps", "score"}:
            raise Unsupported("eps and score only")
        assert (t >= np.float32(1e-3)).all()
        s = over(np, p, t, x_t)[1]
        return -value / s if to == "score" else -value * s

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    return {"convert": convert, "perturb": perturb}


@FAMILY.of("convert", on=(LINEAR, SHORT), events=((4,), (2, 2)))
def two_shapes_of_event(p: Process) -> Methods:
    """Vectors of 4 and grids of 2 by 2, flattened inside."""

    def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
        if x_t.shape[1:] not in ((4,), (2, 2)):
            raise ValueError(f"got {x_t.shape}")
        y, x = (z.reshape(-1, 4) for z in (value, x_t))
        a, s = (z[:, None] for z in scales(np, p, t))
        return by_both_parts(np, a, s, x, y, source, to).reshape(x_t.shape).astype(np.float32)

    return {"convert": convert}


@FAMILY.of("convert", on=(DDPM, SHORT))
def tables_of_float64_cast(p: Process) -> Methods:
    """sqrt(1/alpha_bar) and sqrt(1/alpha_bar - 1) as float64 tables, cast, read at k - 1; v and score not served."""
    betas = np.array(p.betas)  # type: ignore[union-attr]  # of chains only
    alpha_bar = np.cumprod(1.0 - betas)
    root, rest = (np.sqrt(x).astype(np.float32)[:, None] for x in (1.0 / alpha_bar, 1.0 / alpha_bar - 1.0))

    def convert(value: Any, x_t: Any, k: Any, source: str, to: str) -> Any:
        if {source, to} != {"eps", "x_0"}:
            raise Unsupported("eps and x_0 only")
        shape = (-1,) + (1,) * (x_t.ndim - 1)
        r, q = root[k - 1].reshape(shape), rest[k - 1].reshape(shape)
        return r * x_t - q * value if to == "x_0" else (r * x_t - value) / q

    return {"convert": convert}
