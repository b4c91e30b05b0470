"""Chapter 10: do a target's steps obey SMP-1 to SMP-6."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Cosine, Linear, Own, Rule, Times
from refdiff.conformance.step import Step

from ..expected.posteriors import scales_of
from ..expected.steps import ROUNDINGS, Inputs, expected
from ..expected.tiers import KNOWN
from .grids import drawn_data, drawn_times, event_of, times
from .inferred import scales
from .landing import SILENT, lands
from .posteriors import tolerances
from .probes import earlier, every, first_served, step_inputs
from .serving import each_step, few_steps, served

LAST: tuple[Rule, ...] = ("ddpm", "ddim")
"""Rules whose step to s = 0 returns x_0_hat."""
EVEN = 2.0**-6
"""Length of the steps of a library that has steps of 1/n only; every format has t - EVEN for each t that it has."""


def _strides(case: Case) -> Mapping[str, tuple[Times, Times]]:
    """Return pairs (s, t) to step between; apart, as a library may serve one kind of stride only."""
    t = times(case, count=48)
    if not case.steps:
        s = earlier(case, t, case.rng().random(len(t)))
        return {"any stride": (s[s < t], t[s < t])}
    stride = max(case.steps // 10, 2)
    far = t[t >= stride]
    found = {"adjacent": (t - 1, t)}
    return found | ({f"stride {stride}": (far - stride, far)} if len(far) else {})


def _judge(case: Case, asked: Step, s: Times, t: Times, silent: float | None = None) -> None:
    """Compare a step with its formula, from the examples that lie in the domain.

    That is where no divisor is near 0 and nothing leaves the range of the format. silent: deviation of noise that
    counts as none.
    """
    t, s, inputs = step_inputs(case, s, t)
    if not len(t):
        return
    limits = tolerances(case, s, t, *scales_of(case.process, s, t), zero_too=True)
    want = expected(asked, Inputs.of(*inputs, s, t), case.process, s, t, limits, case.format, silent=silent)
    rows = every(want.domain)
    if rows.any():
        x_t, value, noise = (y[rows] for y in inputs)
        got = case.built.step(x_t, value, t[rows], s[rows], noise, asked)
        case.expect(f"{asked} step", got, want.rows(rows), at={"t": t[rows], "s": s[rows]})


def _strided(case: Case, kind: Rule, pairs: Mapping[str, tuple[Times, Times]]) -> None:
    """Judge each claimed step of a kind by each kind of stride."""
    each_step(case, (kind,), lambda asked: served(case, tuple(pairs), lambda name: _judge(case, asked, *pairs[name])))


def _euler(case: Case, kind: Rule) -> None:
    """Judge em or ode by steps of any stride, of 1/64, and to the first time that is served: there too it is itself."""
    ((s, t),) = _strides(case).values()
    first = np.full_like(t, first_served(case))
    far = t[t.astype(np.float64) - EVEN >= first_served(case)]
    even = case.format.rounded(far.astype(np.float64) - EVEN)
    ways = {"any stride": (s, t), "to the first time": (first[first < t], t[first < t])}
    _strided(case, kind, ways | ({"a 64th": (even, far)} if len(far) else {}))


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
    """SMP-3: ddim is alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c noise, for steps of any length."""
    _strided(case, "ddim", _strides(case))


@check("SMP-2", "step", on=KNOWN)
def test_ancestral(case: Case) -> None:
    """SMP-2: ddpm is a draw of the posterior at x_0_hat, for steps of any length."""
    _strided(case, "ddpm", _strides(case))


@check("SMP-6", "step", on=KNOWN)
def test_last_step(case: Case) -> None:
    """SMP-6: the step to s = 0 returns x_0_hat, and adds no noise."""
    _goes_to_the_data(case)
    t = times(case, count=16)
    # Of a chain, its first step: the one that every library serves.
    t = np.array([1]) if case.steps else t[t > 0.0]
    zero = np.zeros_like(t)
    each_step(case, LAST, lambda asked: _judge(case, asked, zero, t, SILENT))


def _goes_to_the_data(case: Case) -> None:
    """Raise NotClaimed unless the process is served at t = 0 and is the data there."""
    chain = case.steps
    if not chain and (case.claim.t_min > 0.0 or case.inner):
        raise NotClaimed("the claim begins after t = 0: no step is the last")
    if isinstance(case.process, Own) and case.process.sigma_min > 0.0:
        raise NotClaimed("the process has noise at t = 0: its last step does not return the data")


@check("SMP-6", "step", "perturb")
def test_last_step_adds_no_noise(case: Case) -> None:
    """SMP-6: the step to s = 0 is the same for any noise."""
    _goes_to_the_data(case)
    event = event_of(case, (2,))

    def one(asked: Step) -> None:
        def body(t: Times, key: int) -> None:
            t = np.ones_like(t) if case.steps else t[t > 0.0]
            if len(t) == 0:
                return
            q = scales(case, t)
            # What is returned is a division by alpha, by way of one by sigma^2, each known to one part in eight.
            if not ((8.0 * q.d_alpha <= q.alpha) & (8.0 * q.d_sigma <= q.sigma)).all():
                return
            x_t, eps_hat, noise = (drawn_data(case, t, event, key + i) for i in range(3))
            zero = np.zeros_like(t)
            want = case.built.step(x_t, eps_hat, t, zero, np.zeros_like(noise), asked).astype(np.float64)
            got = case.built.step(x_t, eps_hat, t, zero, noise, asked)
            bound = ROUNDINGS * case.format.u * np.abs(want) + SILENT * np.abs(noise.astype(np.float64))
            case.expect(f"{asked} step to s = 0, with noise against without", got, Expected(want, bound), at={"t": t})

        case.law(body, t=drawn_times(case, most=3), key=st.integers(0, 2**16))

    few_steps(case, LAST, one)


@check("SMP-5", "step")
def test_steps_land_on_the_marginal(case: Case) -> None:
    """SMP-5: with the true prediction, ddim and ddpm go from the target's own marginal at t to that at s."""
    if case.steps == 1:
        raise NotClaimed("a chain of one step steps to the data alone")
    few_steps(case, ("ddim", "ddpm"), lambda asked: lands(case, asked))
