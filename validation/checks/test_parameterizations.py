"""Chapter 4: do a target's conversions obey PAR-1 to PAR-8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Chain, Own, Parameterization, Process, Times

from ..expected.conversions import PARTS, TERMS, Pair, converted, parts, sensitivity
from ..expected.tiers import KNOWN, Scales, in_rho_domain, must_scales, should_scales
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_times, event_of, times
from .inferred import scales
from .narrowing import conversions, trips
from .serving import served

KEYS = st.integers(0, 2**16)
SOURCES: tuple[Pair, ...] = (("eps", "x_0"), ("x_0", "eps"), ("v", "x_0"), ("score", "x_0"))
TO_V: tuple[Pair, ...] = (("v", "x_0"), ("v", "eps"), ("eps", "v"), ("x_0", "v"))
NO_DIVISOR: tuple[Pair, ...] = (("v", "x_0"), ("v", "eps"), ("score", "eps"))
WITH_SCORE: tuple[Pair, ...] = tuple(pair for pair in TERMS if "score" in pair)


def _inputs(case: Case, pair: Pair, t: Times, at: Scales, key: int) -> tuple[Array, Array]:
    """Return a value of pair[0] and the x_t that go together, rounded to the format."""
    event = event_of(case, (2,))
    x_0, eps = (drawn_data(case, t, event, key + i).astype(np.float64) for i in (0, 1))
    q = at.shaped(x_0.ndim)
    return (
        case.format.rounded(parts(x_0, eps, at)[pair[0]]),
        case.format.rounded(q.alpha * x_0 + q.sigma * eps),
    )


def _compare(
    case: Case, pairs: tuple[Pair, ...], tier: Callable[[Process, Times, Format], Scales], relative: bool = False
) -> None:
    def one(pair: Pair) -> None:
        t = times(case, count=48, event=event_of(case, (2,)))
        if relative:
            t = t[in_rho_domain(case.process, t, case.format)]
        if len(t) == 0:
            return
        at = tier(case.process, t, case.format)
        value, x_t = _inputs(case, pair, t, at, 1)
        rows = np.flatnonzero(converted(pair, value, x_t, at, case.format).domain.reshape(len(t), -1).all(axis=1))
        if len(rows) == 0:
            return
        value, x_t, t, at = value[rows], x_t[rows], t[rows], at.rows(rows)
        got = case.built.convert(value, x_t, t, *pair)
        expected = converted(pair, value, x_t, at, case.format, by_any_way=not relative)
        case.expect(f"{pair[1]} from {pair[0]}", got, expected, at={"t": t})

    served(case, conversions(case, pairs), one, again=True)


@check("PAR-1", "convert", on=KNOWN)
def test_x_0_from_eps(case: Case) -> None:
    """PAR-1: x_0 = (x_t - sigma eps)/alpha."""
    _compare(case, (("eps", "x_0"),), must_scales)


@check("PAR-2", "convert", on=KNOWN)
def test_eps_from_x_0(case: Case) -> None:
    """PAR-2: eps = (x_t - alpha x_0)/sigma."""
    _compare(case, (("x_0", "eps"),), must_scales)


@check("PAR-3", "convert", on=KNOWN)
def test_velocity(case: Case) -> None:
    """PAR-3: v = alpha eps - sigma x_0, both ways."""
    _compare(case, TO_V, must_scales)


@check("PAR-4", "convert", on=KNOWN)
def test_score(case: Case) -> None:
    """PAR-4: score = -eps/sigma, from and to every other."""
    _compare(case, WITH_SCORE, must_scales)


@check("PAR-8", "convert", on=KNOWN)
def test_relative_accuracy(case: Case) -> None:
    """PAR-8: conversions are as accurate as their terms, wherever the divisor is above 0."""
    _compare(case, tuple(TERMS), should_scales, relative=True)


@check("PAR-4", "convert", "perturb")
def test_score_is_minus_eps_over_own_sigma(case: Case) -> None:
    """PAR-4: score = -eps/sigma with the sigma of the target's own `perturb`."""
    conversions(case, (("eps", "score"),))

    def body(t: Times, key: int) -> None:
        at = scales(case, t)
        value, x_t = _inputs(case, ("eps", "score"), t, at, key)
        expected = converted(("eps", "score"), value, x_t, at, case.format, by_any_way=True)
        if expected.domain.all():
            got = case.built.convert(value, x_t, t, "eps", "score")
            case.expect("score from eps", got, expected, at={"t": t})

    case.law(body, t=drawn_times(case, most=3), key=KEYS)


@check("PAR-3", "convert", "perturb", on=(Chain, Own))
def test_velocity_by_own_scales(case: Case) -> None:
    """PAR-3: v = alpha eps - sigma x_0, both ways, with the alpha and sigma of the target's own `perturb`.

    Conversions that take -v for v agree with one another, so of a process of the library's own only this finds them.
    """
    pairs = conversions(case, TO_V)

    def body(t: Times, key: int) -> None:
        at = scales(case, t)

        def one(pair: Pair) -> None:
            value, x_t = _inputs(case, pair, t, at, key)
            expected = converted(pair, value, x_t, at, case.format, by_any_way=True)
            if expected.domain.all():
                got = case.built.convert(value, x_t, t, *pair)
                case.expect(f"{pair[1]} from {pair[0]}", got, expected, at={"t": t})

        served(case, pairs, one)

    case.law(body, t=drawn_times(case, most=3), key=KEYS)


@check("PAR-5", "convert", "perturb")
def test_round_trips(case: Case) -> None:
    """PAR-5: there and back is where one was."""
    pairs = trips(case, tuple(TERMS), lambda pair: (pair, (pair[1], pair[0])))

    def body(t: Times, key: int) -> None:
        at = scales(case, t)

        def both_ways(there: Pair) -> None:
            back = (there[1], there[0])
            value, x_t = _inputs(case, there, t, at, key)
            first = converted(there, value, x_t, at, case.format, by_any_way=True)
            if not first.domain.all():
                return
            middle = case.built.convert(value, x_t, t, *there)
            second = converted(back, middle, x_t, at, case.format, by_any_way=True)
            if not second.domain.all():
                return
            got = case.built.convert(middle, x_t, t, *back)
            slope = sensitivity(back, middle, x_t, at)
            tolerance = second.tolerance + np.where(slope > 0.0, slope * first.tolerance, 0.0)
            case.expect(f"{there[0]} by way of {there[1]}", got, Expected(value, tolerance), at={"t": t})

        served(case, pairs, both_ways)

    case.law(body, t=drawn_times(case, most=3), key=KEYS)


@check("PAR-6", "convert", "perturb")
def test_parts_make_the_whole(case: Case) -> None:
    """PAR-6: alpha x_0 + sigma eps = x_t, for the x_0 and eps that follow from any prediction."""
    sources = trips(case, SOURCES, lambda pair: [(pair[0], to) for to in PARTS if to != pair[0]])

    def body(t: Times, key: int) -> None:
        at = scales(case, t)

        def whole(source: Pair) -> None:
            value, x_t = _inputs(case, source, t, at, key)
            found: dict[str, Array] = {source[0]: value}
            q, tolerance = at.shaped(x_t.ndim), np.zeros(x_t.shape)
            parts_of: tuple[tuple[Parameterization, Floats], ...] = (("x_0", q.alpha), ("eps", q.sigma))
            for to, scale in parts_of:
                if to == source[0]:
                    continue
                expected = converted((source[0], to), value, x_t, at, case.format, by_any_way=True)
                if not expected.domain.all():
                    return
                found[to] = case.built.convert(value, x_t, t, source[0], to)
                tolerance = tolerance + np.where(scale > 0.0, scale * expected.tolerance, 0.0)
            x_0, eps = (found[to].astype(np.float64) for to in ("x_0", "eps"))
            tolerance = tolerance + np.abs(x_0) * q.d_alpha + np.abs(eps) * q.d_sigma
            got = q.alpha * x_0 + q.sigma * eps
            case.expect(f"alpha x_0 + sigma eps from {source[0]}", got, Expected(x_t, tolerance), at={"t": t})

        served(case, sources, whole)

    case.law(body, t=drawn_times(case, most=3), key=KEYS)


@check("PAR-7", "convert", on=KNOWN)
def test_no_divisor(case: Case) -> None:
    """PAR-7: from v, and from score to eps, the result is finite at every t, the ends included."""
    event = event_of(case, (2,))

    def one(pair: Pair) -> None:
        t = times(case, count=16, event=event)
        at = must_scales(case.process, t, case.format)
        x_0, eps = (drawn_data(case, t, event, key) for key in (1, 2))
        got = case.built.convert(x_0, eps, t, *pair)
        exact = converted(pair, x_0, eps, at, case.format).value
        shown = np.where(np.isfinite(got), exact, got)
        case.expect(f"finite {pair[1]} from {pair[0]}", shown, Expected(exact, 0.0), at={"t": t})

    served(case, conversions(case, NO_DIVISOR), one, again=True)
