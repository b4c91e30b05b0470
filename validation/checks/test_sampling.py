"""Chapter 10: do a target's steps obey SMP-1 to SMP-6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Cosine, Linear, Own, Rule, Times

from ..expected.posteriors import Tolerances, scales_of
from ..expected.steps import ROUNDINGS, Inputs, Sum, ancestral, step
from ..expected.tiers import KNOWN, Scales
from ..oracles.certified import Floats
from .grids import drawn_data, drawn_times, event_of, times
from .inferred import placed, scales, unit_scales
from .posteriors import tolerances
from .probes import earlier, every, first_served, step_inputs
from .serving import served

SILENT = 2.0**-30
"""Deviation of noise, in the last step, that counts as none (SMP-6)."""


def _strides(case: Case) -> Mapping[str, tuple[Times, Times]]:
    """Return pairs (s, t) to step between; apart, as a library may serve one kind of stride only."""
    t = times(case, count=48)
    if not isinstance(case.process, Chain):
        s = earlier(case, t, case.rng().random(len(t)))
        return {"any stride": (s[s < t], t[s < t])}
    stride = max(len(case.process.betas) // 10, 2)
    far = t[t >= stride]
    found = {"adjacent": (t - 1, t)}
    return found | ({f"stride {stride}": (far - stride, far)} if len(far) else {})


def _judge(case: Case, rule: Sum, s: Times, t: Times) -> None:
    """Compare a step with a sum of terms, where no divisor is near 0 and nothing leaves the range of the format."""
    t, s, inputs = step_inputs(case, s, t)
    if len(t):
        expected = step(rule, Inputs.of(*inputs, s, t), case.process, s, t, case.format)
        _compare(case, rule, s, t, inputs, expected)


def _compare(
    case: Case, rule: Rule, s: Times, t: Times, inputs: tuple[Array, Array, Array], expected: Expected
) -> None:
    """Step from the examples that lie in the domain."""
    rows = every(expected.domain)
    if rows.any():
        x_t, eps_hat, noise = (y[rows] for y in inputs)
        got = case.built.step(x_t, eps_hat, t[rows], s[rows], noise, rule)
        case.expect(f"{rule} step", got, expected.rows(rows), at={"t": t[rows], "s": s[rows]})


def _euler(case: Case, rule: Sum) -> None:
    """Judge em or ode by steps of any stride, and by steps to the first time that is served: there too it is itself."""
    ((s, t),) = _strides(case).values()
    first = np.full_like(t, first_served(case))
    pairs = {"any stride": (s, t), "to the first time": (first[first < t], t[first < t])}
    served(case, tuple(pairs), lambda kind: _judge(case, rule, *pairs[kind]))


@check("SMP-1", "step", on=(Linear, Cosine))
def test_euler_maruyama(case: Case) -> None:
    """SMP-1: em is one Euler-Maruyama step of the reverse SDE."""
    _euler(case, "em")


@check("SMP-4", "step", on=(Linear, Cosine))
def test_flow(case: Case) -> None:
    """SMP-4: ode is one Euler step of the probability flow."""
    _euler(case, "ode")


@check("SMP-3", "step", on=KNOWN)
def test_ddim(case: Case) -> None:
    """SMP-3: ddim is alpha_s x_0_hat + sigma_s eps_hat, for steps of any length."""
    pairs = _strides(case)
    served(case, tuple(pairs), lambda kind: _judge(case, "ddim", *pairs[kind]))


@check("SMP-2", "step", on=KNOWN)
def test_ancestral(case: Case) -> None:
    """SMP-2: ddpm is a draw of the posterior at x_0_hat, for steps of any length."""
    pairs = _strides(case)
    served(case, tuple(pairs), lambda kind: _ancestral(case, *pairs[kind], with_noise=True))


@check("SMP-6", "step", on=KNOWN)
def test_last_step(case: Case) -> None:
    """SMP-6: the step to s = 0 returns x_0_hat, and adds no noise."""
    _goes_to_the_data(case)
    t = times(case, count=16)
    # Of a chain, its first step: the one that every library serves.
    t = np.array([1]) if isinstance(case.process, Chain) else t[t > 0.0]
    zero = np.zeros_like(t)

    def one(rule: str) -> None:
        if rule == "ddpm":
            _ancestral(case, zero, t, with_noise=False)
        else:
            _judge(case, "ddim", zero, t)

    served(case, ("ddpm", "ddim"), one)


def _goes_to_the_data(case: Case) -> None:
    """Raise NotClaimed unless the process is served at t = 0 and is the data there."""
    chain = isinstance(case.process, Chain)
    if not chain and (case.claim.t_min > 0.0 or case.inner):
        raise NotClaimed("the claim begins after t = 0: no step is the last")
    if isinstance(case.process, Own) and case.process.sigma_min > 0.0:
        raise NotClaimed("the process has noise at t = 0: its last step does not return the data")


@check("SMP-6", "step", "perturb")
def test_last_step_adds_no_noise(case: Case) -> None:
    """SMP-6: the step to s = 0 is the same for any noise."""
    _goes_to_the_data(case)
    event = event_of(case, (2,))

    def one(rule: Any) -> None:
        def body(t: Times, key: int) -> None:
            t = np.ones_like(t) if isinstance(case.process, Chain) else t[t > 0.0]
            if len(t) == 0:
                return
            q = scales(case, t)
            # What is returned is a division by alpha, by way of one by sigma^2, each known to one part in eight.
            if not ((8.0 * q.d_alpha <= q.alpha) & (8.0 * q.d_sigma <= q.sigma)).all():
                return
            x_t, eps_hat, noise = (drawn_data(case, t, event, key + i) for i in range(3))
            zero = np.zeros_like(t)
            want = case.built.step(x_t, eps_hat, t, zero, np.zeros_like(noise), rule).astype(np.float64)
            got = case.built.step(x_t, eps_hat, t, zero, noise, rule)
            bound = ROUNDINGS * case.format.u * np.abs(want) + SILENT * np.abs(noise.astype(np.float64))
            case.expect(f"{rule} step to s = 0, with noise against without", got, Expected(want, bound), at={"t": t})

        case.law(body, t=drawn_times(case, most=3), key=st.integers(0, 2**16))

    served(case, ("ddpm", "ddim"), one)


def _ancestral(case: Case, s: Times, t: Times, *, with_noise: bool) -> None:
    """Compare ddpm with the posterior at x_0_hat; without noise, what is left of it is below SILENT."""
    t, s, inputs = step_inputs(case, s, t)
    if len(t):
        limits = tolerances(case, s, t, *scales_of(case.process, s, t))
        given, silent = Inputs.of(*inputs, s, t), None if with_noise else SILENT
        expected = ancestral(given, case.process, s, t, limits, case.format, silent=silent)
        _compare(case, "ddpm", s, t, inputs, expected)


@check("SMP-5", "step")
def test_steps_land_on_the_marginal(case: Case) -> None:
    """SMP-5: with the true eps, ddim and ddpm go from the target's own marginal at t to that at s."""
    if isinstance(case.process, Chain) and len(case.process.betas) == 1:
        raise NotClaimed("a chain of one step steps to the data alone")
    served(case, ("ddim", "ddpm"), lambda rule: _lands(case, rule))


@final
@dataclass(frozen=True, slots=True)
class _Way:
    """A step from t to s, with the target's own (alpha, sigma) at both, and their tolerances."""

    s: Times
    t: Times
    own_s: tuple[Floats, Floats]
    own_t: tuple[Floats, Floats]
    at_s: Scales
    at_t: Scales

    @property
    def at(self) -> Mapping[str, Times]:
        """What the report shows of it."""
        return {"t": self.t, "s": self.s}


def _lands(case: Case, rule: Any) -> None:
    def body(t: Times, fraction: float) -> None:
        chain = isinstance(case.process, Chain)
        # Adjacent, as every library serves; the stride of a chain is judged by SMP-2 and SMP-3.
        s: Times = t - 1 if chain else earlier(case, t, fraction)
        if not ((s < t) & (s >= (1 if chain else 0))).all():
            return
        at_s, at_t = (scales(case, x) for x in (s, t))
        if not ((8.0 * at_t.d_alpha <= at_t.alpha) & (at_t.alpha > 0.0)).all():
            return
        (a_s, s_s), (a_t, s_t) = unit_scales(case, s), unit_scales(case, t)
        limits = tolerances(case, s, t, (a_s, a_t), (s_s**2, s_t**2))
        if limits.domain.all():
            way = _Way(s, t, (a_s, s_s), (a_t, s_t), at_s, at_t)
            _lands_by_ddim(case, way) if rule == "ddim" else _lands_by_ddpm(case, way, limits)

    case.law(body, t=drawn_times(case, most=3), fraction=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9375]))


def _lands_by_ddim(case: Case, way: _Way) -> None:
    on_x_0, on_eps = (_stepped(case, "ddim", way, name) for name in ("x_0", "eps"))
    for_alpha, for_sigma = _errors_of_step(way, case.format.u)
    case.expect("ddim of alpha_t against alpha_s", on_x_0, Expected(way.own_s[0], for_alpha), at=way.at)
    case.expect("ddim of sigma_t against sigma_s", on_eps, Expected(way.own_s[1], for_sigma), at=way.at)


def _lands_by_ddpm(case: Case, way: _Way, limits: Tolerances) -> None:
    (a_s, s_s), (a_t, s_t), at_s, u = way.own_s, way.own_t, way.at_s, case.format.u
    on_x_0, on_eps, on_noise = (_stepped(case, "ddpm", way, name) for name in ("x_0", "eps", "noise"))
    for_alpha, for_sigma = _errors_of_step(way, u)
    tolerance_of_alpha = 4.0 * limits.coefficient + for_alpha
    case.expect("ddpm of alpha_t against alpha_s", on_x_0, Expected(a_s, tolerance_of_alpha), at=way.at)
    power, v_s = on_eps**2 + on_noise**2, s_s**2
    more = 2.0 * limits.variance + 8.0 * u * v_s + 2.0 * at_s.d_sigma * at_s.sigma + at_s.d_sigma**2
    tolerance = more + (2.0 * np.abs(on_eps) + tolerance_of_alpha + for_sigma) * (tolerance_of_alpha + for_sigma)
    # A tolerance that grows with what the target returns is none where that is infinite.
    expected = Expected(v_s, np.where(np.isfinite(power), tolerance, 0.0))
    case.expect("ddpm: variance by eps and by noise against sigma_s^2", power, expected, at=way.at)
    if isinstance(case.process, Own):
        # Of a process that is known, SMP-2 says so. Both sides know the scales as well as limits.variance has it.
        variance = v_s * (1.0 - (a_t / a_s) ** 2 * v_s / s_t**2)
        expected = Expected(variance, 2.0 * limits.variance + ROUNDINGS * u * v_s)
        case.expect("ddpm: variance by noise against the posterior's", on_noise**2, expected, at=way.at)


def _stepped(case: Case, rule: Rule, way: _Way, only: str) -> Floats:
    """Return x_s of a step from the marginal at t, where one of x_0, eps and the noise is 1 and the others are 0."""
    one = np.ones((len(way.t), *event_of(case, (1,))), dtype=case.format.storage)
    x_0, eps, noise = (one if only == name else np.zeros_like(one) for name in ("x_0", "eps", "noise"))
    x_s = case.built.step(placed(case, x_0, eps, way.t), eps, way.t, way.s, noise, rule)
    return np.asarray(x_s.reshape(len(way.t), -1)[:, 0].astype(np.float64))


def _errors_of_step(way: _Way, u: float) -> tuple[Floats, Floats]:
    """Return the tolerances of alpha_s and sigma_s after a step from the marginal at t.

    One rounding of x_t, and the tolerances of alpha_t and sigma_t, are carried over by the step.
    """
    at_s, at_t = way.at_s, way.at_t
    ratio = at_s.alpha / at_t.alpha
    alpha = 2.0 * (at_s.d_alpha + ratio * at_t.d_alpha) + ROUNDINGS * u * at_s.alpha
    sigma = 2.0 * (at_s.d_sigma + ratio * at_t.d_sigma) + ROUNDINGS * u * (at_s.sigma + ratio * at_t.sigma)
    return alpha, sigma + 2.0 * ratio * (at_t.sigma + at_t.d_sigma) * at_t.d_alpha / at_t.alpha
