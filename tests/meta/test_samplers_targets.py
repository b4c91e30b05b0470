"""Chapter 10: right grids and samplers pass, and wrong ones fail the clause that they break (SMP-10 to SMP-13)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Cosine, DType, Grid, Own, Process, Sampler, Unsupported
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.remote import Launch
from tests.meta.targets.samplers import (
    DDPM,
    LINEAR,
    At,
    Method,
    Runner,
    Walk,
    ancestral,
    by_v,
    ddim,
    euler_maruyama,
    even,
    flow,
    heun,
    multistep,
    rosenbrock,
)
from validation.checks.suite import checks
from validation.targets.chains import with_zero_snr

CLAUSES = ("SMP-10", "SMP-11", "SMP-12", "SMP-13")
SHORT = Chain(betas=tuple(np.linspace(0.01, 0.3, 12).tolist()))


def outcomes(target: Runner, *clauses: str, seed: int = 0) -> list[Outcome]:
    """Return what the checks of these clauses, by default all four, found."""
    judge = Judge.of(target, Settings(seed=seed))
    return judge.judge(c for c in checks() if c[0].clause in (clauses or CLAUSES))


def failing(target: Runner, *clauses: str, seed: int = 0) -> dict[str, str]:
    """Return the clauses that fail, with their reasons."""
    return {o.clause: o.reason for o in outcomes(target, *clauses, seed=seed) if o.status not in OTHER}


def passing(target: Runner, *clauses: str) -> set[str]:
    """Return the clauses with a check that passes."""
    return {o.clause for o in outcomes(target, *clauses) if o.status == "pass"}


OTHER = ("pass", "not_claimed", "unsupported")
EXACT = Sampler(name="ddim", exact=True)
SECOND = Sampler(name="heun", order=2, exact=True)
OF_X_0 = Sampler(name="2m", prediction="x_0", order=2, exact=True)
OF_THE_FLOW = Sampler(name="flow", prediction="score")
NOISY = Sampler(name="ddpm", stochastic=True, exact=True)
SDE = Sampler(name="em", prediction="score", stochastic=True)
RIGHT: dict[str, tuple[Method, Sampler]] = {
    "ddim": (ddim, EXACT),
    "by v": (by_v, Sampler(name="v", prediction="v", exact=True)),
    "heun": (heun, SECOND),
    "2m": (multistep(), OF_X_0),
    "flow": (flow, OF_THE_FLOW),
    "ancestral": (ancestral, NOISY),
    "euler-maruyama": (euler_maruyama, SDE),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_sampler_passes(name: str, dtype: DType) -> None:
    """SMP-11 to SMP-13: a right sampler passes what its claim says, on a schedule and on a library's own process."""
    method, sampler = RIGHT[name]
    target = Runner(method, sampler, dtype=dtype, processes=(LINEAR, Own(label="sech")))
    assert failing(target) == {}
    wanted = {"SMP-10", "SMP-13"} if sampler.stochastic else {"SMP-10", "SMP-11"}
    assert passing(target) >= wanted | ({"SMP-12"} if sampler.exact else set())


@pytest.mark.parametrize("process", [LINEAR, Cosine(s=0.008), DDPM, SHORT], ids=repr)
def test_right_grid_passes(process: Process) -> None:
    """SMP-10: even times, and for a chain their ceilings, pass for every n."""
    found = outcomes(Runner(processes=(process,)), "SMP-10")
    assert [o.status for o in found] == ["pass"]


def test_grid_of_a_narrower_range_passes_as_claimed() -> None:
    """SMP-10: a grid that ends at 1e-3 passes if the claim says so, and fails if not."""

    def to_a_thousandth(n: int, process: Process) -> Any:
        return np.linspace(1.0, 1e-3, n + 1)

    right = Runner(grid_of=to_a_thousandth, narrowed=(("grid", Grid(t_min=1e-3)),))
    assert (failing(right), passing(right)) == ({}, {"SMP-10"})
    assert "last time of grid" in failing(Runner(grid_of=to_a_thousandth))["SMP-10"]


OWN_CHAIN = Own(label="its own", steps=1000)


@pytest.mark.parametrize("process", [DDPM, OWN_CHAIN], ids=repr)
def test_grid_of_a_chain_ends_where_the_claim_says(process: Process) -> None:
    """SMP-10: a grid to k = 1 passes if the claim says so, and fails if not; one to 0 the other way round."""

    def to_the_first(n: int, process: Process) -> Any:
        return np.round(np.linspace(1000, 1, n + 1))

    def to_the_data(n: int, process: Process) -> Any:
        return np.round(np.linspace(1000, 0, n + 1))

    ends: dict[str, Any] = {"processes": (process,), "narrowed": (("grid", Grid(last=1)),)}
    right = Runner(grid_of=to_the_first, **ends), Runner(grid_of=to_the_data, processes=(process,))
    wrong = Runner(grid_of=to_the_data, **ends), Runner(grid_of=to_the_first, processes=(process,))
    assert [failing(target, "SMP-10") for target in right] == [{}, {}]
    assert all("last time of grid" in failing(target, "SMP-10")["SMP-10"] for target in wrong)


def test_no_run_goes_beyond_the_end_of_the_grids() -> None:
    """SMP-12: a sampler that goes to k = 1 at most, as its claim says of grids, is not run to the data."""

    def to_the_first(walk: Walk, x: Any) -> Any:
        assert walk.times[-1].t > 0
        return ddim(walk, x)

    target = Runner(to_the_first, EXACT, processes=(DDPM,), narrowed=(("grid", Grid(last=1)),))
    assert failing(target, "SMP-12") == {}
    assert passing(target, "SMP-12") == {"SMP-12"}


def test_a_refused_count_is_shown() -> None:
    """SMP-10: a library that serves divisors of N alone passes in part, and the report has its refusals."""

    def divisors(n: int, process: Process) -> Any:
        if 1000 % n:
            raise Unsupported("n does not divide 1000")
        return even(n, process)

    (found,) = outcomes(Runner(grid_of=divisors, processes=(DDPM,)), "SMP-10")
    assert found.status == "pass"
    assert "grid(7): n does not divide 1000" in found.results[0].refusals


REAB = Sampler(name="reab", prediction="x_0", order=2)
WRONG: dict[str, tuple[Method, Sampler, str]] = {
    "2m without a start": (multistep(unstarted=True), OF_X_0, "SMP-11"),
    "reab, sigma_t for sigma_s": (rosenbrock(earlier=True), REAB, "SMP-11"),
    "ddim as of order 2": (ddim, Sampler(name="ddim", order=2, exact=True), "SMP-11"),
    "heun as of order 3": (heun, Sampler(name="heun", order=3, exact=True), "SMP-11"),
    "flow as exact": (flow, Sampler(name="flow", prediction="score", exact=True), "SMP-12"),
    "eps taken for x_0": (multistep(), Sampler(name="2m", order=2, exact=True), "SMP-11 SMP-12"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sampler_fails(name: str) -> None:
    """SMP-11, SMP-12: a sampler that claims too much, or is of a kind of its own, fails the clauses that it breaks."""
    method, sampler, breaks = WRONG[name]
    clauses = tuple(breaks.split())
    assert set(failing(Runner(method, sampler), *clauses)) == set(clauses)


def test_repaired_multistep_method_passes() -> None:
    """SMP-11: with sigma_s, the method of Rosenbrock type has its order, and passes."""
    assert failing(Runner(rosenbrock(), REAB), "SMP-11") == {}


OWN_GRID: dict[str, tuple[Method, Sampler]] = {
    "ddim": (ddim, Sampler(name="ddim", exact=True, times="grid")),
    "2m": (multistep(), Sampler(name="2m", prediction="x_0", order=2, exact=True, times="grid")),
    "ancestral": (ancestral, Sampler(name="ddpm", stochastic=True, exact=True, times="grid")),
}


@pytest.mark.parametrize("process", [LINEAR, Cosine(s=0.008), DDPM], ids=repr)
@pytest.mark.parametrize("name", OWN_GRID)
def test_right_sampler_passes_on_its_own_grid(name: str, process: Process) -> None:
    """SMP-11 to SMP-13: a right sampler that goes along its own grid, to t = 0, passes."""
    method, sampler = OWN_GRID[name]
    target = Runner(method, sampler, processes=(process,))
    assert failing(target) == {}
    if process != Cosine(s=0.008):  # It has alpha = 0 at t = 1, by which eps is divided.
        assert passing(target) >= {"SMP-10", "SMP-12", "SMP-13" if sampler.stochastic else "SMP-11"}


ENDED = with_zero_snr(DDPM)
OF_V = Sampler(name="v", prediction="v", exact=True, times="grid")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_run_from_pure_noise_is_judged(dtype: DType) -> None:
    """SMP-11, SMP-12: from zero terminal SNR a run of v is judged, and passes; one of eps is not judged."""
    target = Runner(by_v, OF_V, dtype=dtype, processes=(ENDED,))
    assert failing(target) == {}
    assert passing(target) == {"SMP-10", "SMP-11", "SMP-12"}
    of_eps = Runner(ddim, Sampler(name="eps", exact=True, times="grid"), dtype=dtype, processes=(ENDED,))
    assert passing(of_eps) == {"SMP-10"}


def _floored(walk: Walk, x: Any) -> Any:
    """Keep alpha from 0, as in a table that is to have a finite sigma/alpha."""
    times = [At(t.t, np.maximum(t.a, 1e-2), t.s) for t in walk.times]
    return by_v(Walk(times, walk.predict, walk.noise, walk.at, walk.process), x)


def test_signal_in_pure_noise_fails() -> None:
    """SMP-12: a run that takes alpha for 0.01 where it is 0 leaves the flow."""
    assert "SMP-12" in failing(Runner(_floored, OF_V, dtype="float32", processes=(ENDED,)), "SMP-12")


def _by_whole_stride(walk: Walk, x: Any) -> Any:
    """Take steps of DDIM over N//n, whatever the times of the grid."""
    stride = 1000 // (len(walk.times) - 1)
    for t in walk.times[:-1]:
        s, eps = walk.at(np.maximum(t.t - stride, 0)), walk.predict(x, t)
        x = s.a * ((x - t.s * eps) / t.a) + s.s * eps
    return x


def test_step_of_another_length_than_the_grid_fails() -> None:
    """SMP-12: DDIM that goes on by N//n, along N round(i/n) of other distances, is seen on its own grid."""

    def grid(n: int, process: Process) -> Any:
        return np.append(np.round(np.linspace(1000, 1, n)), 0)

    sampler = Sampler(name="ddim", exact=True, times="grid")
    target = Runner(_by_whole_stride, sampler, grid_of=grid, processes=(DDPM,))
    assert set(failing(target)) == {"SMP-12"}
    right = Runner(ddim, sampler, grid_of=grid, processes=(DDPM,))
    assert failing(right) == {}


def test_step_of_a_whole_length_along_rounded_times_fails() -> None:
    """SMP-12: DDIM that goes on by N//n, along N - i N/n rounded, does not end at the data for n = 7."""

    def rounded(n: int, process: Process) -> Any:
        return np.round(np.linspace(1000, 0, n + 1))

    sampler = Sampler(name="ddim", exact=True, times="grid")
    target = Runner(_by_whole_stride, sampler, grid_of=rounded, dtype="float32", processes=(DDPM,))
    assert set(failing(target)) == {"SMP-12"}


def test_target_in_a_process_of_its_own_calls_the_denoiser() -> None:
    """SMP-11, SMP-12: `sample` calls the suite's denoiser across the pipe, and gives the same verdicts."""
    judge = Judge.of("tests.meta.targets.samplers:right", launch=Launch())
    found = judge.judge(c for c in checks() if c[0].clause in CLAUSES)
    assert {o.clause: o.status for o in found if o.check != "test_order_of_a_step"} == {
        "SMP-10": "pass",
        "SMP-11": "pass",
        "SMP-12": "pass",
        "SMP-13": "not_claimed",
    }


@pytest.mark.parametrize("clause", ["SMP-11", "SMP-12"])
def test_reproducer_repeats_the_run(clause: str, capsys: pytest.CaptureFixture[str]) -> None:
    """SMP-11, SMP-12: the code of the report, with the denoiser of Gaussian data, prints x after the run again."""
    judge = Judge.of("tests.meta.targets.samplers:wrong")
    found = judge.judge(c for c in checks() if c[0].clause == clause)
    worst = next(o.worst for o in found if o.status == "fail")
    assert worst is not None
    namespace: dict[str, Any] = {}
    exec(worst.reproducer.replace("print(built", "result = (built"), namespace)  # noqa: S102  # the text under test
    assert namespace["result"].shape == (4, 1)
    assert "expected at" in capsys.readouterr().out
    if clause == "SMP-12":
        assert worst.got in namespace["result"].ravel().tolist()


def test_sampler_that_needs_a_rate_is_not_run_on_a_chain() -> None:
    """SMP-11: a sampler that does not run on chains is judged on schedules alone, and nothing is refused."""
    sampler = Sampler(name="flow", prediction="score", chains=False)
    found = outcomes(Runner(flow, sampler, processes=(LINEAR, DDPM)), "SMP-11")
    assert {o.status for o in found} == {"pass"}
    assert all(o.skipped == () for o in found)
