"""Chapter 10: do a target's steps obey SMP-1 to SMP-6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Cosine, Linear, Own, Rule, Times
from refdiff.conformance.subject import Subject

from ..expected.conversions import converted
from ..expected.posteriors import coefficients, scales_of
from ..expected.propagation import Ingredients, Terms, propagated
from ..expected.tiers import KNOWN, delta, exact, must_scales, of_variance
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_times, event_of, times
from .inferred import placed, scales, unit_scales
from .posteriors import bounds
from .probes import column, earlier, every, first_served, step_inputs
from .serving import served

ROUNDINGS = 12.0
"""Of the terms of a step (chapter 10)."""
SILENT = 2.0**-30
"""Deviation of noise, in the last step, that counts as none (SMP-6)."""


def _strides(subject: Subject) -> Mapping[str, tuple[Times, Times]]:
    """Return pairs (s, t) to step between; apart, as a library may serve one kind of stride only."""
    t = times(subject, count=48)
    if not isinstance(subject.process, Chain):
        s = earlier(subject, t, subject.rng().random(len(t)))
        return {"any stride": (s[s < t], t[s < t])}
    stride = max(len(subject.process.betas) // 10, 2)
    far = t[t >= stride]
    found = {"adjacent": (t - 1, t)}
    return found | ({f"stride {stride}": (far - stride, far)} if len(far) else {})


def _ingredients(subject: Subject, s: Times, t: Times, ndim: int) -> dict[str, tuple[Floats, Floats]]:
    """Return alpha and sigma at both times, and of a schedule the rate at t and its root, shaped for data."""
    at_t, at_s = (must_scales(subject.process, x, subject.format).shaped(ndim) for x in (t, s))
    found = {
        "a_t": (at_t.alpha, at_t.d_alpha),
        "s_t": (at_t.sigma, at_t.d_sigma),
        "a_s": (at_s.alpha, at_s.d_alpha),
        "s_s": (at_s.sigma, at_s.d_sigma),
    }
    if isinstance(subject.process, Chain):
        return found
    beta = column(exact(subject.process, "beta", t).value, ndim)
    d_beta = column(delta(subject.process, "beta", t, subject.format), ndim)
    return found | {"beta": (beta, d_beta), "g": (np.sqrt(beta), of_variance(np.sqrt(beta), d_beta))}


@final
@dataclass(frozen=True, slots=True)
class _Inputs:
    """Arguments of a step, in binary64."""

    x: Floats
    eps: Floats
    noise: Floats
    h: Floats
    """t - s, shaped for data."""


def _judge(subject: Subject, rule: Any, s: Times, t: Times, terms_of: Callable[[_Inputs], Terms]) -> None:
    """Compare a step with a sum of terms, where no divisor is near 0 and nothing leaves the range of the format."""
    t, s, inputs = step_inputs(subject, s, t)
    if len(t) == 0:
        return
    ndim = inputs[0].ndim
    known: Ingredients = _ingredients(subject, s, t, ndim)
    value, off = known["s_t"]
    clear = every((value > 0.0) & (8.0 * off <= value))
    if rule == "ddim":
        # Its general form divides the posterior's variance by sigma_t^2, whatever eta is.
        value, off = known["a_t"]
        clear &= every((value > 0.0) & (8.0 * off <= value))
    h = column(t.astype(np.float64) - s.astype(np.float64), ndim)
    x, eps, z = (y.astype(np.float64) for y in inputs)
    given = _Inputs(x, eps, z, h)
    found = propagated(terms_of(given), known, subject.format, ROUNDINGS)
    widest = (np.abs(found.value) + found.tolerance) / value
    if rule in ("em", "ode"):
        # The slope may leave the range of the format though the step would not.
        slope = known["beta"][0] * (np.abs(given.x) + np.abs(given.eps) / value)
        widest = np.maximum(widest, 2.0 * slope)
    clear &= every(widest < subject.format.largest)
    if rule == "em":
        # A rate that delta lets fall below 0 has no root.
        clear &= every(known["beta"][0] > known["beta"][1])
    if not clear.any():
        return
    x_t, eps_hat, noise = (y[clear] for y in inputs)
    s, t = s[clear], t[clear]
    got = subject.built.step(x_t, eps_hat, t, s, noise, rule)
    subject.expect(f"{rule} step", got, found.rows(clear), at={"t": t, "s": s})


def _euler(subject: Subject, rule: Rule, terms_of: Callable[[_Inputs], Terms]) -> None:
    """Judge em or ode by steps of any stride, and by steps to the first time that is served: there too it is itself."""
    ((s, t),) = _strides(subject).values()
    first = np.full_like(t, first_served(subject))
    pairs = {"any stride": (s, t), "to the first time": (first[first < t], t[first < t])}
    served(subject, tuple(pairs), lambda kind: _judge(subject, rule, *pairs[kind], terms_of))


@check("SMP-1", "step", on=(Linear, Cosine))
def test_euler_maruyama(subject: Subject) -> None:
    """SMP-1: em is one Euler-Maruyama step of the reverse SDE."""

    def terms_of(i: _Inputs) -> Terms:
        return lambda q: (
            i.x,
            0.5 * i.h * q["beta"] * i.x,
            -i.h * q["beta"] * i.eps / q["s_t"],
            np.sqrt(i.h) * q["g"] * i.noise,
        )

    _euler(subject, "em", terms_of)


@check("SMP-4", "step", on=(Linear, Cosine))
def test_flow(subject: Subject) -> None:
    """SMP-4: ode is one Euler step of the probability flow."""

    def terms_of(i: _Inputs) -> Terms:
        return lambda q: (i.x, 0.5 * i.h * q["beta"] * i.x, -0.5 * i.h * q["beta"] * i.eps / q["s_t"])

    _euler(subject, "ode", terms_of)


def _deterministic(i: _Inputs) -> Terms:
    return lambda q: (q["a_s"] * i.x / q["a_t"], -q["a_s"] * q["s_t"] * i.eps / q["a_t"], q["s_s"] * i.eps)


@check("SMP-3", "step", on=KNOWN)
def test_ddim(subject: Subject) -> None:
    """SMP-3: ddim is alpha_s x_0_hat + sigma_s eps_hat, for steps of any length."""
    pairs = _strides(subject)
    served(subject, tuple(pairs), lambda kind: _judge(subject, "ddim", *pairs[kind], _deterministic))


@check("SMP-2", "step", on=KNOWN)
def test_ancestral(subject: Subject) -> None:
    """SMP-2: ddpm is a draw of the posterior at x_0_hat, for steps of any length."""
    pairs = _strides(subject)
    served(subject, tuple(pairs), lambda kind: _ancestral(subject, *pairs[kind], with_noise=True))


@check("SMP-6", "step", on=KNOWN)
def test_last_step(subject: Subject) -> None:
    """SMP-6: the step to s = 0 returns x_0_hat, and adds no noise."""
    _goes_to_the_data(subject)
    t = times(subject, count=16)
    # Of a chain, its first step: the one that every library serves.
    t = np.array([1]) if isinstance(subject.process, Chain) else t[t > 0.0]
    zero = np.zeros_like(t)

    def one(rule: str) -> None:
        if rule == "ddpm":
            _ancestral(subject, zero, t, with_noise=False)
        else:
            _judge(subject, "ddim", zero, t, _deterministic)

    served(subject, ("ddpm", "ddim"), one)


def _goes_to_the_data(subject: Subject) -> None:
    """Raise NotClaimed unless the process is served at t = 0 and is the data there."""
    chain = isinstance(subject.process, Chain)
    if not chain and (subject.claim.t_min > 0.0 or subject.inner):
        raise NotClaimed("the claim begins after t = 0: no step is the last")
    if isinstance(subject.process, Own) and subject.process.sigma_min > 0.0:
        raise NotClaimed("the process has noise at t = 0: its last step does not return the data")


@check("SMP-6", "step", "perturb")
def test_last_step_adds_no_noise(subject: Subject) -> None:
    """SMP-6: the step to s = 0 is the same for any noise."""
    _goes_to_the_data(subject)
    event = event_of(subject, (2,))

    def one(rule: Any) -> None:
        def body(t: Times, key: int) -> None:
            t = np.ones_like(t) if isinstance(subject.process, Chain) else t[t > 0.0]
            if len(t) == 0:
                return
            q = scales(subject, t)
            # What is returned is a division by alpha, by way of one by sigma^2, each known to one part in eight.
            if not ((8.0 * q.d_alpha <= q.alpha) & (8.0 * q.d_sigma <= q.sigma)).all():
                return
            x_t, eps_hat, noise = (drawn_data(subject, t, event, key + i) for i in range(3))
            zero = np.zeros_like(t)
            want = subject.built.step(x_t, eps_hat, t, zero, np.zeros_like(noise), rule).astype(np.float64)
            got = subject.built.step(x_t, eps_hat, t, zero, noise, rule)
            bound = ROUNDINGS * subject.format.u * np.abs(want) + SILENT * np.abs(noise.astype(np.float64))
            subject.expect(f"{rule} step to s = 0, with noise against without", got, Expected(want, bound), at={"t": t})

        subject.law(body, t=drawn_times(subject, most=3), key=st.integers(0, 2**16))

    served(subject, ("ddpm", "ddim"), one)


def _ancestral(subject: Subject, s: Times, t: Times, *, with_noise: bool) -> None:
    """Compare ddpm with the posterior at x_0_hat; without noise, what is left of it is below SILENT."""
    t, s, inputs = step_inputs(subject, s, t)
    if len(t) == 0:
        return
    limits, ndim = bounds(subject, s, t, *scales_of(subject.process, s, t)), inputs[0].ndim
    at = must_scales(subject.process, t, subject.format)
    x_0_hat = converted(("eps", "x_0"), inputs[1], inputs[0], at, subject.format)
    clear = limits.clear & every(x_0_hat.domain)
    if not clear.any():
        return
    s, t = s[clear], t[clear]
    q = coefficients(subject.process, s, t)
    x, _, z = (y[clear].astype(np.float64) for y in inputs)
    on_x_0, on_x_t, root = (column(y, ndim) for y in (q.on_x_0, q.on_x_t, np.sqrt(q.variance)))
    start = x_0_hat.value[clear]
    terms = (on_x_0 * start, on_x_t * x, root * z)
    bound = column(limits.coefficient[clear], ndim) * (np.abs(start) + np.abs(x))
    bound = bound + on_x_0 * x_0_hat.tolerance[clear] + ROUNDINGS * subject.format.u * sum(map(np.abs, terms))
    loose = of_variance(np.sqrt(q.variance), limits.variance[clear]) if with_noise else np.full(len(t), SILENT)
    bound = bound + column(loose, ndim) * np.abs(z)
    x_t, eps_hat, noise = (y[clear] for y in inputs)
    got = subject.built.step(x_t, eps_hat, t, s, noise, "ddpm")
    subject.expect("ddpm step", got, Expected(sum(terms), bound), at={"t": t, "s": s})


@check("SMP-5", "step")
def test_steps_land_on_the_marginal(subject: Subject) -> None:
    """SMP-5: with the true eps, ddim and ddpm go from the target's own marginal at t to that at s."""
    if isinstance(subject.process, Chain) and len(subject.process.betas) == 1:
        raise NotClaimed("a chain of one step steps to the data alone")
    served(subject, ("ddim", "ddpm"), lambda rule: _lands(subject, rule))


def _lands(subject: Subject, rule: Any) -> None:
    def body(t: Times, fraction: float) -> None:
        chain = isinstance(subject.process, Chain)
        # Adjacent, as every library serves; the stride of a chain is judged by SMP-2 and SMP-3.
        s: Times = t - 1 if chain else earlier(subject, t, fraction)
        if not ((s < t) & (s >= (1 if chain else 0))).all():
            return
        at_s, at_t = (scales(subject, x) for x in (s, t))
        if not ((8.0 * at_t.d_alpha <= at_t.alpha) & (at_t.alpha > 0.0)).all():
            return
        (a_s, v_s), (a_t, v_t) = ((a, q**2) for a, q in (unit_scales(subject, s), unit_scales(subject, t)))
        limits = bounds(subject, s, t, (a_s, a_t), (v_s, v_t))
        if not limits.clear.all():
            return
        one = np.ones((len(t), *event_of(subject, (1,))), dtype=subject.format.carrier)
        none = np.zeros_like(one)

        def walked(x_0: Array, eps: Array, noise: Array) -> Floats:
            x_t = placed(subject, x_0, eps, t)
            x_s = subject.built.step(x_t, eps, t, s, noise, rule)
            return np.asarray(x_s.reshape(len(t), -1)[:, 0].astype(np.float64))

        signal, by_eps = walked(one, none, none), walked(none, one, none)
        at = {"t": t, "s": s}
        # One rounding of x_t, and what is not known of alpha_t and sigma_t, are carried over by the step.
        ratio, u = at_s.alpha / at_t.alpha, subject.format.u
        carried = 2.0 * (at_s.d_alpha + ratio * at_t.d_alpha) + ROUNDINGS * u * at_s.alpha
        loss = 2.0 * (at_s.d_sigma + ratio * at_t.d_sigma) + ROUNDINGS * u * (at_s.sigma + ratio * at_t.sigma)
        loss = loss + 2.0 * ratio * (at_t.sigma + at_t.d_sigma) * at_t.d_alpha / at_t.alpha
        if rule == "ddim":
            subject.expect("ddim of alpha_t against alpha_s", signal, Expected(a_s, carried), at=at)
            subject.expect("ddim of sigma_t against sigma_s", by_eps, Expected(np.sqrt(v_s), loss), at=at)
            return
        by_noise = walked(none, none, one)
        slack = 4.0 * limits.coefficient + carried
        subject.expect("ddpm of alpha_t against alpha_s", signal, Expected(a_s, slack), at=at)
        power = by_eps**2 + by_noise**2
        more = 2.0 * limits.variance + 8.0 * u * v_s + 2.0 * at_s.d_sigma * at_s.sigma + at_s.d_sigma**2
        limit = more + (2.0 * np.abs(by_eps) + slack + loss) * (slack + loss)
        # A bound that grows with what the target says is none where that is infinite.
        limit = np.where(np.isfinite(power), limit, 0.0)
        subject.expect("ddpm: variance by eps and by noise against sigma_s^2", power, Expected(v_s, limit), at=at)
        if isinstance(subject.process, Own):
            # Of a process that is known, SMP-2 says so. Both sides know the scales as well as limits.variance has it.
            variance = v_s * (1.0 - (a_t / a_s) ** 2 * v_s / v_t)
            known = 2.0 * limits.variance + ROUNDINGS * u * v_s
            subject.expect(
                "ddpm: variance by noise against the posterior's", by_noise**2, Expected(variance, known), at=at
            )

    subject.law(body, t=drawn_times(subject, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))
