"""Chapter 2: does a target's marginal obey MAR-1 to MAR-11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Cosine, Linear, Own, Process, Times

from ..expected.marginal import noised
from ..expected.tiers import (
    KNOWN,
    Scales,
    column,
    delta,
    exact,
    in_rho_domain,
    must,
    must_scales,
    root,
    should,
    should_scales,
)
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_events, drawn_times, edges, event_of, span, times
from .inferred import inferred, scales, uncertainty, unit_scales

KEYS = st.integers(0, 2**16)


def _alpha(case: Case, got: Array | Floats, t: Times) -> None:
    case.expect("alpha", got, must(case.process, "alpha", t, case.format), at={"t": t})


def _sigma(case: Case, got: Array | Floats, t: Times) -> None:
    # The clause bounds sigma^2; reported as an error of sigma, which is what the target gave.
    sigma, d_variance = exact(case.process, "sigma", t), delta(case.process, "variance", t, case.format)
    tolerance = root(got.astype(np.float64), sigma.value, d_variance)
    case.expect("sigma", got, Expected(sigma.value, tolerance, residual=sigma.residual), at={"t": t})


@check("MAR-1", "schedule", on=KNOWN)
def test_alpha(case: Case) -> None:
    """MAR-1: alpha = sqrt(alpha_bar), as `coefficients` has it."""
    t = times(case)
    _alpha(case, case.built.quantity("alpha", t), t)


@check("MAR-2", "schedule", on=KNOWN)
def test_sigma(case: Case) -> None:
    """MAR-2: sigma = sqrt(1 - alpha_bar), as `coefficients` has it."""
    t = times(case)
    _sigma(case, case.built.quantity("sigma", t), t)


@check("MAR-1", "perturb", on=KNOWN)
def test_alpha_of_perturb(case: Case) -> None:
    """MAR-1: what `perturb` makes of x_0 = 1 and no noise is alpha."""
    t = times(case)
    _alpha(case, unit_scales(case, t)[0], t)


@check("MAR-2", "perturb", on=KNOWN)
def test_sigma_of_perturb(case: Case) -> None:
    """MAR-2: what `perturb` makes of x_0 = 0 and eps = 1 is sigma."""
    t = times(case)
    _sigma(case, unit_scales(case, t)[1], t)


@check("MAR-1", "schedule", "perturb", on=(Chain, Own))
def test_perturb_has_the_alpha_of_the_schedule(case: Case) -> None:
    """MAR-1: the alpha of `perturb` is the root of the alpha_bar that `coefficients` has, of a library's own too."""

    def body(t: Times) -> None:
        alpha, _ = unit_scales(case, t)
        bound = uncertainty(case, t) + 4.0 * case.format.u * alpha**2
        for one in inferred(case, t, ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")):
            name = f"alpha^2 of perturb against alpha_bar by {one.name}"
            case.expect(name, alpha**2, Expected(one.alpha_bar, one.tolerance + bound), at={"t": t})

    case.law(body, t=drawn_times(case))


def _preserved(case: Case, alpha: Array | Floats, sigma: Array | Floats, t: Times) -> None:
    power = alpha.astype(np.float64) ** 2 + sigma.astype(np.float64) ** 2
    # delta is for the alpha_bar that both halves share, and a floor of sigma; 4u for roots, and squaring them here.
    bound = 4.0 * case.format.u + uncertainty(case, t)
    case.expect("alpha^2 + sigma^2", power, Expected(1.0, bound), at={"t": t})


@check("MAR-3", "schedule")
def test_variance_is_preserved(case: Case) -> None:
    """MAR-3: alpha^2 + sigma^2 = 1, as `coefficients` has them."""

    def body(t: Times) -> None:
        found = case.built.coefficients(t)
        if not {"alpha", "sigma"} <= set(found):
            raise NotClaimed("coefficients has not both alpha and sigma")
        _preserved(case, found["alpha"], found["sigma"], t)

    case.law(body, t=drawn_times(case))


@check("MAR-3", "perturb")
def test_perturb_preserves_variance(case: Case) -> None:
    """MAR-3: alpha^2 + sigma^2 = 1, as `perturb` has them."""
    case.law(lambda t: _preserved(case, *unit_scales(case, t), t), t=drawn_times(case))


@check("MAR-4", "perturb", on=KNOWN)
def test_perturb(case: Case) -> None:
    """MAR-4: x_t = alpha x_0 + sigma eps."""
    event = event_of(case, (3,))
    t = times(case, event=event)
    x_0, eps = (drawn_data(case, t, event, key) for key in (1, 2))
    got = case.built.perturb(x_0, eps, t)
    expected = noised(x_0, eps, must_scales(case.process, t, case.format), case.format)
    case.expect("x_t", got, expected, at={"t": t})


@check("MAR-4", "perturb")
def test_perturb_is_linear(case: Case) -> None:
    """MAR-4: x_t is x_0 times one number of t plus eps times another."""
    event = event_of(case, (2,))

    def body(t: Times, key: int) -> None:
        x_0, eps = (drawn_data(case, t, event, key + i) for i in (0, 1))
        own = Scales(*unit_scales(case, t), np.zeros(len(t)), np.zeros(len(t)))
        got = case.built.perturb(x_0, eps, t)
        case.expect("x_t", got, noised(x_0, eps, own, case.format), at={"t": t})

    case.law(body, t=drawn_times(case), key=KEYS)


@check("MAR-5", "perturb")
def test_batch_order(case: Case) -> None:
    """MAR-5: permuting the batch permutes the result."""
    event = event_of(case, (2,))

    def body(t: Times, key: int) -> None:
        x_0, eps = (drawn_data(case, t, event, key + i) for i in (0, 1))
        order = np.random.default_rng(key).permutation(len(t))
        before = case.built.perturb(x_0, eps, t)
        got = case.built.perturb(x_0[order], eps[order], t[order])
        tolerance = 2.0 * noised(x_0, eps, scales(case, t), case.format).tolerance
        expected = Expected(before, tolerance).rows(order)
        case.expect("x_t of the permuted batch", got, expected, at={"t": t[order]})

    case.law(body, t=drawn_times(case, least=2), key=KEYS)


@check("MAR-5", "perturb")
def test_event_shape(case: Case) -> None:
    """MAR-5: an event may have any rank and size, the batch's size included."""

    def body(t: Times, event: tuple[int, ...], key: int) -> None:
        event = tuple(size or len(t) for size in event)
        x_0, eps = (drawn_data(case, t, event, key + i) for i in (0, 1))
        got = case.built.perturb(x_0, eps, t)
        apart = by_columns(x_0, eps, t) if case.claim.events is None else by_rows(x_0, eps, t)
        tolerance = 2.0 * noised(x_0, eps, scales(case, t), case.format).tolerance
        case.expect(f"x_t of event shape {event}", got, Expected(apart, tolerance), at={"t": t})

    def by_columns(x_0: Array, eps: Array, t: Times) -> Array:
        flat_x_0, flat_eps = (x.reshape(len(t), -1) for x in (x_0, eps))
        columns = [case.built.perturb(flat_x_0[:, [j]], flat_eps[:, [j]], t) for j in range(flat_x_0.shape[1])]
        return np.concatenate(columns, axis=1).reshape(x_0.shape)

    def by_rows(x_0: Array, eps: Array, t: Times) -> Array:
        # Of shapes that are claimed one by one, no number can be noised alone: its example can.
        rows = [slice(i, i + 1) for i in range(len(t))]
        return np.concatenate([case.built.perturb(x_0[row], eps[row], t[row]) for row in rows])

    # A size of 0 stands for that of the batch.
    shapes = drawn_events(case, st.lists(st.integers(0, 3), max_size=3).map(tuple))
    case.law(body, t=drawn_times(case, least=2, most=4), event=shapes, key=KEYS)


@check("MAR-6", "perturb", on=(Linear, Chain))
def test_semigroup(case: Case) -> None:
    """MAR-6: noising from 0 to s, and on from s by the rest of the process, is noising from 0 to t."""

    def body(way: tuple[Times, Process, Times, Times]) -> None:
        s, rest, on_rest, t = way
        rest_built = case.others(rest)
        # The rest of the process is called first: a failure is reproduced on the process itself.
        on = unit_scales(replace(case, built=rest_built, member=replace(case.member, process=rest)), on_rest)
        until_s, until_t = (unit_scales(case, x) for x in (s, t))
        fmt, process = case.format, case.process
        d_s, d_t, d_on = (delta(p, "variance", x, fmt) for p, x in ((process, s), (process, t), (rest, on_rest)))
        at = {"t": t, "s": s}
        alphas = [delta(p, "alpha", x, fmt) for p, x in ((process, s), (process, t), (rest, on_rest))]
        mean = on[0] * until_s[0]
        case.expect(
            "alpha_t|s alpha_s against alpha_t", mean, Expected(until_t[0], 1.01 * np.sum(alphas, axis=0)), at=at
        )
        variance = on[0] ** 2 * until_s[1] ** 2 + on[1] ** 2
        bound = 1.01 * (d_s + d_t + d_on + 2.0 * alphas[2])
        case.expect("variance by way of s against sigma_t^2", variance, Expected(until_t[1] ** 2, bound), at=at)

    case.law(body, way=st.sampled_from(_ways(case)))


def _ways(case: Case) -> list[tuple[Times, Process, Times, Times]]:
    """Return s, the process that is left after s, a time of it, and the t = s + ... that this is, all served.

    Sixteenths, so that every time is exact in every format: t = s + r (1 - s) has 8 bits.
    """
    if isinstance(case.process, Chain):
        steps = len(case.process.betas)
        # What is left after the way point is a chain, so it has more than a last beta of 1.
        ways = case.process.last_signal - 1
        if ways < 1:
            raise NotClaimed("a chain of one step with signal has no way point")
        firsts = sorted({1 + i * (ways - 1) // 15 for i in range(16)})
        return [
            (np.array([step]), Chain(betas=case.process.betas[step:]), np.array([more]), np.array([step + more]))
            for step in firsts
            for more in sorted({1 + j * (steps - step - 1) // 15 for j in range(16)})
        ]
    assert isinstance(case.process, Linear)
    (low, high), beta_min, beta_max = span(case), case.process.beta_min, case.process.beta_max
    found: list[tuple[Times, Process, Times, Times]] = []
    for way, on in ((i / 16.0, j / 16.0) for i in range(16) for j in range(1, 17)):
        t = way + on * (1.0 - way)
        if way >= low and on >= low and max(on, t) <= high:
            start = (1.0 - way) * (beta_min + way * (beta_max - beta_min))
            rest = Linear(beta_min=start, beta_max=max(start, (1.0 - way) * beta_max))
            s, r, end = (np.array([x], dtype=case.format.storage) for x in (way, on, t))
            found.append((s, rest, r, end))
    if not found:
        raise NotClaimed("the claimed range has no way point in sixteenths")
    return found


@check("MAR-10", "schedule", on=(Linear, Cosine))
def test_relative_accuracy(case: Case) -> None:
    """MAR-10: alpha and sigma are accurate relative to themselves, as `coefficients` has them."""
    t = np.concatenate([times(case), edges(case)])
    found = case.built.coefficients(t)
    if not {"alpha", "sigma"} & set(found):
        raise NotClaimed("coefficients has neither alpha nor sigma")
    _relative(case, {name: found[name] for name in ("alpha", "sigma") if name in found}, t)


@check("MAR-10", "perturb", on=(Linear, Cosine))
def test_relative_accuracy_of_perturb(case: Case) -> None:
    """MAR-10: alpha and sigma are accurate relative to themselves, as `perturb` has them."""
    t = np.concatenate([times(case), edges(case)])
    alpha, sigma = unit_scales(case, t)
    _relative(case, {"alpha": alpha, "sigma": sigma}, t)


def _relative(case: Case, found: Mapping[str, Array | Floats], t: Times) -> None:
    for name in ("alpha", "sigma"):
        if name in found:
            case.expect(name, found[name], should(case.process, name, t, case.format), at={"t": t})


@check("MAR-11", "perturb", on=KNOWN)
def test_perturb_relative_accuracy(case: Case) -> None:
    """MAR-11: x_t is as accurate as its terms."""
    event, fmt = event_of(case, (3,)), case.format
    t = np.concatenate([times(case, event=event), edges(case)])
    x_0, eps = (drawn_data(case, t, event, key) for key in (1, 2))
    got = case.built.perturb(x_0, eps, t)
    expected = noised(x_0, eps, should_scales(case.process, t, fmt), fmt)
    domain = column(in_rho_domain(case.process, t, fmt), x_0.ndim)
    case.expect("x_t", got, replace(expected, domain=domain), at={"t": t})
