"""Chapter 10: do a target's steps obey SMP-1 to SMP-6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.interface import Array, Chain, Cosine, Linear, Times
from refdiff.conformance.subject import Subject

from .certify import KNOWN, delta, exact, must_scales, of_variance
from .conversions import converted
from .grids import drawn_data, drawn_times, times
from .oracles.certified import Floats
from .posteriors import bounds, coefficients, scales_of
from .propagation import Ingredients, Terms, propagated
from .readings import scales, unit_scales
from .serving import served

ROUNDINGS = 12.0
"""Of the terms of a step (chapter 10)."""


def _strides(subject: Subject) -> Mapping[str, tuple[Times, Times]]:
    """Return pairs (s, t) to step between; apart, as a library may serve one kind of stride only."""
    t = times(subject, count=48)
    if not isinstance(subject.process, Chain):
        share = subject.rng().random(len(t))
        s = subject.format.rounded(t * share)
        return {"any stride": (s[s < t], t[s < t])}
    stride = max(len(subject.process.betas) // 10, 2)
    far = t[t >= stride]
    found = {"adjacent": (t - 1, t)}
    return found | ({f"stride {stride}": (far - stride, far)} if len(far) else {})


def _inputs(subject: Subject, t: Times) -> tuple[Array, Array, Array]:
    """Return x_t, eps_hat and noise, of two numbers each."""
    x_t, eps_hat, noise = (drawn_data(subject, t, (2,), key) for key in (1, 2, 3))
    return x_t, eps_hat, noise


def _ingredients(subject: Subject, s: Times, t: Times) -> dict[str, tuple[Floats, Floats]]:
    """Return alpha and sigma at both times, and of a schedule the rate at t and its root, shaped for data."""
    at_t, at_s = (must_scales(subject.process, x, subject.format).shaped(2) for x in (t, s))
    found = {
        "a_t": (at_t.alpha, at_t.d_alpha),
        "s_t": (at_t.sigma, at_t.d_sigma),
        "a_s": (at_s.alpha, at_s.d_alpha),
        "s_s": (at_s.sigma, at_s.d_sigma),
    }
    if isinstance(subject.process, Chain):
        return found
    beta = exact(subject.process, "beta", t).value[:, None]
    d_beta = delta(subject.process, "beta", t, subject.format)[:, None]
    with np.errstate(all="ignore"):
        return found | {"beta": (beta, d_beta), "g": (np.sqrt(beta), of_variance(np.sqrt(beta), d_beta))}


def _judge(subject: Subject, rule: Any, inputs: tuple[Array, Array, Array], s: Times, t: Times, terms: Terms) -> None:
    """Compare a step with a sum of terms, where no divisor is near 0 and nothing leaves the range of the format."""
    known: Ingredients = _ingredients(subject, s, t)
    value, off = known["s_t"]
    clear = (value[:, 0] > 0.0) & (8.0 * off[:, 0] <= value[:, 0])
    if rule == "ddim":
        # Its general form divides the posterior's variance by sigma_t^2, whatever eta is.
        value, off = known["a_t"]
        clear &= (value[:, 0] > 0.0) & (8.0 * off[:, 0] <= value[:, 0])
    found = propagated(terms, known, subject.format, ROUNDINGS)
    with np.errstate(all="ignore"):
        widest = (np.abs(found.want) + found.bound) / value
        if rule in ("em", "ode"):
            # The slope may leave the range of the format though the step would not.
            slope = known["beta"][0] * (
                np.abs(inputs[0].astype(np.float64)) + np.abs(inputs[1].astype(np.float64)) / value
            )
            widest = np.maximum(widest, 2.0 * slope)
    clear &= (widest < subject.format.largest).all(axis=1)
    if rule == "em":
        # A rate that delta lets fall below 0 has no root.
        clear &= (known["beta"][0] > known["beta"][1])[:, 0]
    if not clear.any():
        return
    x_t, eps_hat, noise = (x[clear] for x in inputs)
    s, t = s[clear], t[clear]
    got = subject.built.step(x_t, eps_hat, t, s, noise, rule)
    subject.expect(f"{rule} step", got, found.want[clear], found.bound[clear], at={"t": t, "s": s})


@check("SMP-1", "step", on=(Linear, Cosine))
def test_euler_maruyama(subject: Subject) -> None:
    """SMP-1: em is one Euler-Maruyama step of the reverse SDE."""
    ((s, t),) = _strides(subject).values()
    inputs = _inputs(subject, t)
    x, e, z = (y.astype(np.float64) for y in inputs)
    h = (t.astype(np.float64) - s.astype(np.float64))[:, None]
    _judge(
        subject,
        "em",
        inputs,
        s,
        t,
        lambda q: (x, 0.5 * h * q["beta"] * x, -h * q["beta"] * e / q["s_t"], np.sqrt(h) * q["g"] * z),
    )


@check("SMP-4", "step", on=(Linear, Cosine))
def test_flow(subject: Subject) -> None:
    """SMP-4: ode is one Euler step of the probability flow."""
    ((s, t),) = _strides(subject).values()
    inputs = _inputs(subject, t)
    x, e, _ = (y.astype(np.float64) for y in inputs)
    h = 0.5 * (t.astype(np.float64) - s.astype(np.float64))[:, None]
    _judge(subject, "ode", inputs, s, t, lambda q: (x, h * q["beta"] * x, -h * q["beta"] * e / q["s_t"]))


@check("SMP-3", "step", on=KNOWN)
def test_ddim(subject: Subject) -> None:
    """SMP-3: ddim is alpha_s x_0_hat + sigma_s eps_hat, for steps of any length."""
    pairs = _strides(subject)

    def one(kind: str) -> None:
        s, t = pairs[kind]
        inputs = _inputs(subject, t)
        x, e, _ = (y.astype(np.float64) for y in inputs)
        _judge(
            subject,
            "ddim",
            inputs,
            s,
            t,
            lambda q: (q["a_s"] * x / q["a_t"], -q["a_s"] * q["s_t"] * e / q["a_t"], q["s_s"] * e),
        )

    served(subject, tuple(pairs), one)


@check("SMP-2", "step", on=KNOWN)
def test_ancestral(subject: Subject) -> None:
    """SMP-2: ddpm is a draw of the posterior at x_0_hat, for steps of any length."""
    pairs = _strides(subject)
    served(subject, tuple(pairs), lambda kind: _ancestral(subject, *pairs[kind], with_noise=True))


@check("SMP-6", "step", on=KNOWN)
def test_last_step(subject: Subject) -> None:
    """SMP-6: the step to s = 0 returns x_0_hat, whatever the noise is."""
    t = times(subject, count=16)
    # Of a chain, its first step: the one that every library serves.
    t = np.array([1]) if isinstance(subject.process, Chain) else t[t > 0.0]
    zero = np.zeros_like(t)

    def one(rule: str) -> None:
        if rule == "ddpm":
            _ancestral(subject, zero, t, with_noise=False)
            return
        inputs = _inputs(subject, t)
        x, e, _ = (y.astype(np.float64) for y in inputs)
        _judge(subject, "ddim", inputs, zero, t, lambda q: (x / q["a_t"], -q["s_t"] * e / q["a_t"]))

    served(subject, ("ddpm", "ddim"), one)


@check("SMP-6", "step", "perturb")
def test_last_step_adds_no_noise(subject: Subject) -> None:
    """SMP-6: the step to s = 0 is the same for any noise."""

    def one(rule: Any) -> None:
        def body(t: Times, key: int) -> None:
            t = np.ones_like(t) if isinstance(subject.process, Chain) else t[t > 0.0]
            q = scales(subject, t)
            # What is returned is a division by alpha, by way of one by sigma^2, each known to one part in eight.
            if len(t) == 0 or not ((8.0 * q.d_alpha <= q.alpha) & (8.0 * q.d_sigma <= q.sigma)).all():
                return
            x_t, eps_hat, noise = (drawn_data(subject, t, (2,), key + i) for i in range(3))
            zero = np.zeros_like(t)
            want = subject.built.step(x_t, eps_hat, t, zero, np.zeros_like(noise), rule).astype(np.float64)
            got = subject.built.step(x_t, eps_hat, t, zero, noise, rule)
            bound = ROUNDINGS * subject.format.u * np.abs(want) + 2.0**-30 * np.abs(noise.astype(np.float64))
            subject.expect(f"{rule} step to s = 0, with noise against without", got, want, bound, at={"t": t})

        subject.law(body, t=drawn_times(subject, most=3), key=st.integers(0, 2**16))

    served(subject, ("ddpm", "ddim"), one)


def _ancestral(subject: Subject, s: Times, t: Times, *, with_noise: bool) -> None:
    """Compare ddpm with the posterior; without noise in the bound, it has no part in the result."""
    limits = bounds(subject, s, t, *scales_of(subject, s, t))
    inputs, at = _inputs(subject, t), must_scales(subject.process, t, subject.format)
    x_0_hat = converted(("eps", "x_0"), inputs[1], inputs[0], at, subject.format)
    clear = limits.clear & x_0_hat.domain.all(axis=1)
    if not clear.any():
        return
    s, t = s[clear], t[clear]
    q = coefficients(subject, s, t)
    x, _, z = (y[clear].astype(np.float64) for y in inputs)
    start, root = x_0_hat.want[clear], np.sqrt(q.variance)[:, None] * z
    terms = (q.on_x_0[:, None] * start, q.on_x_t[:, None] * x, root)
    bound = limits.coefficient[clear][:, None] * (np.abs(start) + np.abs(x))
    bound = bound + q.on_x_0[:, None] * x_0_hat.bound[clear] + ROUNDINGS * subject.format.u * sum(map(np.abs, terms))
    if with_noise:
        bound = bound + of_variance(np.sqrt(q.variance), limits.variance[clear])[:, None] * np.abs(z)
    x_t, eps_hat, noise = (y[clear] for y in inputs)
    got = subject.built.step(x_t, eps_hat, t, s, noise, "ddpm")
    subject.expect("ddpm step", got, sum(terms), bound, at={"t": t, "s": s})


@check("SMP-5", "step", "perturb")
def test_steps_land_on_the_marginal(subject: Subject) -> None:
    """SMP-5: with the true eps, ddim and ddpm go from the target's own marginal at t to that at s."""
    served(subject, ("ddim", "ddpm"), lambda rule: _lands(subject, rule))


def _lands(subject: Subject, rule: Any) -> None:
    def body(t: Times, fraction: float) -> None:
        chain = isinstance(subject.process, Chain)
        # Adjacent, as every library serves; the stride of a chain is judged by SMP-2 and SMP-3.
        s: Times = t - 1 if chain else subject.format.rounded(t * fraction)
        if not ((s < t) & (s >= (1 if chain else 0))).all():
            return
        at_s, at_t = (scales(subject, x) for x in (s, t))
        if not ((8.0 * at_t.d_alpha <= at_t.alpha) & (at_t.alpha > 0.0)).all():
            return
        (a_s, v_s), (a_t, v_t) = ((a, q**2) for a, q in (unit_scales(subject, s), unit_scales(subject, t)))
        limits = bounds(subject, s, t, (a_s, a_t), (v_s, v_t))
        if not limits.clear.all():
            return
        one = np.ones((len(t), 1), dtype=subject.format.carrier)
        none = np.zeros_like(one)

        def walked(x_0: Array, eps: Array, noise: Array) -> Floats:
            x_t = subject.built.perturb(x_0, eps, t)
            return np.asarray(subject.built.step(x_t, eps, t, s, noise, rule)[:, 0].astype(np.float64))

        signal, by_eps = walked(one, none, none), walked(none, one, none)
        at = {"t": t, "s": s}
        # One rounding of x_t, and what is not known of alpha_t and sigma_t, are carried over by the step.
        ratio, u = at_s.alpha / at_t.alpha, subject.format.u
        carried = 2.0 * (at_s.d_alpha + ratio * at_t.d_alpha) + ROUNDINGS * u * at_s.alpha
        loss = 2.0 * (at_s.d_sigma + ratio * at_t.d_sigma) + ROUNDINGS * u * (at_s.sigma + ratio * at_t.sigma)
        loss = loss + 2.0 * ratio * (at_t.sigma + at_t.d_sigma) * at_t.d_alpha / at_t.alpha
        if rule == "ddim":
            subject.expect("ddim of alpha_t against alpha_s", signal, a_s, carried, at=at)
            subject.expect("ddim of sigma_t against sigma_s", by_eps, np.sqrt(v_s), loss, at=at)
            return
        by_noise = walked(none, none, one)
        slack = 4.0 * limits.coefficient + carried
        subject.expect("ddpm of alpha_t against alpha_s", signal, a_s, slack, at=at)
        power = by_eps**2 + by_noise**2
        more = 2.0 * limits.variance + 8.0 * u * v_s + 2.0 * at_s.d_sigma * at_s.sigma + at_s.d_sigma**2
        limit = more + (2.0 * np.abs(by_eps) + slack + loss) * (slack + loss)
        # A bound that grows with what the target says is none where that is infinite.
        limit = np.where(np.isfinite(power), limit, 0.0)
        subject.expect("ddpm: variance by eps and by noise against sigma_s^2", power, v_s, limit, at=at)

    subject.law(body, t=drawn_times(subject, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))
