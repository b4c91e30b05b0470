"""SMP-7 at the edges of its domain: for narrow noise and extreme processes there are no false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, Chain, Claim, Cosine, DType, Linear, Own, Process, Times
from refdiff.conformance.judge import Judge
from refdiff.conformance.reference import target
from tests.meta.test_steps_targets import Only
from validation.checks.suite import checks

pytestmark = pytest.mark.usefixtures("unhooked")
"""These tests are about the suite, so they run refdiff without runtime type checks, which is several times faster."""

SHORT = Chain(betas=tuple(np.linspace(0.01, 0.3, 12).tolist()))
HARD: tuple[Process, ...] = (
    Linear(beta_min=1e-5, beta_max=1e-5),
    Linear(beta_min=1e-6, beta_max=1e-6),
    Linear(beta_min=500.0, beta_max=1000.0),
    Linear(beta_min=0.0, beta_max=1e4),
    Cosine(s=1000.0),
    Chain(betas=tuple(np.geomspace(1e-8, 0.3, 64).tolist())),
    Chain(betas=(0.5,)),
    Chain(betas=(0.5, 0.5)),
    Chain(betas=(1e-8,)),
    Chain(betas=(0.999, 0.999)),
)


@dataclass(frozen=True)
class Variational:
    """A target with VDM's process: log-SNR linear in t from 13.3 to -5; `noise` multiplies the noise of a step."""

    noise: float = 1.0
    dtype: DType = "float64"

    @property
    def claim(self) -> Claim:
        """Claim `perturb`, `step` and `posterior` for one process of its own."""
        own = Own(label="vdm", sigma_min=float(np.exp(-13.3 / 2)))
        return Claim(
            name="vdm",
            version="1",
            dtype=self.dtype,
            processes=(own,),
            capabilities=frozenset({"perturb", "step", "posterior"}),
        )

    def build(self, process: Process) -> Variational:
        """Return itself."""
        return self

    def _scales(self, t: Times, x: Array) -> tuple[Any, Any]:
        gamma = (-13.3 + 18.3 * t.astype(np.float64)).reshape(-1, *(1,) * (x.ndim - 1))
        return np.sqrt(1.0 / (1.0 + np.exp(gamma))), np.sqrt(1.0 / (1.0 + np.exp(-gamma)))

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        a, s = self._scales(t, x_0)
        return np.asarray(a * x_0 + s * eps).astype(FORMATS[self.dtype].storage)

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: str) -> Array:
        """Return x_s."""
        (a_t, d_t), (a_s, d_s) = self._scales(t, x_t), self._scales(s, x_t)
        if rule == "ddim":
            return np.asarray(a_s * (x_t - d_t * eps_hat) / a_t + d_s * eps_hat).astype(FORMATS[self.dtype].storage)
        c = -np.expm1(np.log(d_s**2 / a_s**2) - np.log(d_t**2 / a_t**2))
        mean = a_s / a_t * (x_t - c * d_t * eps_hat)
        return np.asarray(mean + self.noise * d_s * np.sqrt(c) * noise).astype(FORMATS[self.dtype].storage)

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return mean and variance."""
        (a_t, d_t), (a_s, d_s) = self._scales(t, x_t), self._scales(s, x_t)
        c = -np.expm1(np.log(d_s**2 / a_s**2) - np.log(d_t**2 / a_t**2))
        mean = a_s * c * x_0 + (1.0 - c) * a_s / a_t * x_t
        return mean, (d_s**2 * c).reshape(len(t))


def outcomes(made: Any, *clauses: str) -> dict[str, tuple[str, str]]:
    """Return status and reason of each check."""
    found = Judge.of(made).judge(c for c in checks() if c[0].clause in clauses)
    return {f"{o.clause} {o.check}": (o.status, o.reason) for o in found}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("process", HARD, ids=repr)
def test_reference_at_the_edges(process: Process, dtype: DType) -> None:
    """SMP, MAR-7, MAR-8, DIS-4: refdiff fails nothing on processes with little noise, no signal, or one step."""
    made = Only(target(dtype), frozenset({"step", "perturb", "posterior"}), (("processes", (process,)),))
    clauses = ("MAR-7", "MAR-8", "DIS-4", *(f"SMP-{i}" for i in range(1, 8)))
    found = outcomes(made, *clauses)
    assert {name: why for name, (status, why) in found.items() if status == "fail"} == {}
    assert not any("the suite itself" in why for _, why in found.values())


@pytest.mark.parametrize("process", [HARD[0], HARD[5]], ids=repr)
def test_narrow_noise_is_judged(process: Process) -> None:
    """SMP-7: in float64, sampling is judged although the noise of a step is narrower than the grid."""
    made = Only(target("float64"), frozenset({"step", "perturb"}), (("processes", (process,)),))
    assert outcomes(made, "SMP-7")["SMP-7 test_walk"][0] == "pass"


def test_last_step_of_a_process_with_least_sigma_is_not_claimed() -> None:
    """SMP-5, SMP-7 and MAR-8 judge a process with sigma(0) > 0; SMP-6, on the last step, is not claimed."""
    found = outcomes(Variational(), "SMP-5", "SMP-6", "SMP-7", "MAR-8")
    assert {name: status for name, (status, _) in found.items()} == {
        "SMP-5 test_steps_land_on_the_marginal": "pass",
        "SMP-6 test_last_step": "not_claimed",
        "SMP-6 test_last_step_adds_no_noise": "not_claimed",
        "SMP-7 test_walk": "pass",
        "MAR-8 test_posterior_undoes_the_marginal": "pass",
    }


def test_too_little_noise_fails() -> None:
    """SMP-7: 10% less noise in each step fails for VDM's process too."""
    assert outcomes(Variational(noise=0.9), "SMP-7")["SMP-7 test_walk"][0] == "fail"


@pytest.mark.parametrize(
    "narrower",
    [
        {"events": ((3, 8, 8),)},
        {"events": ((),)},
        {"events": ((5,), (2, 2))},
        {"t_min": 1e-3},
    ],
    ids=repr,
)
def test_calls_stay_within_the_claim(narrower: dict[str, Any]) -> None:
    """CON: the checks of chapters 2, 7 and 10 use only claimed events and times, and s = 0 if t_min is 0."""
    events, least, most = narrower.get("events"), narrower.get("t_min", 0.0), narrower.get("t_max", 1.0)
    right = target("float32")
    seen: set[str] = set()

    class Strict:
        claim = Only(
            right,
            frozenset({"step", "perturb", "posterior"}),
            (("processes", (Linear(beta_min=0.1, beta_max=20.0), SHORT)), *narrower.items()),
        ).claim

        def build(self, process: Process) -> Any:
            built = right.build(process)
            chain = isinstance(process, Chain)

            def checked(method: str) -> Any:
                def call(*arguments: Any) -> Any:
                    arrays = [x for x in arguments if isinstance(x, np.ndarray)]
                    data, times = arrays[0], [x for x in arrays if x.shape == (len(arrays[0]),) and x is not arrays[0]]
                    assert len(data) > 0, "an empty batch"
                    assert events is None or data.shape[1:] in events, data.shape
                    inside = [x[(x != 0) if least == 0.0 else slice(None)] for x in times if x.dtype.kind == "f"]
                    if events != ((),):
                        assert chain or all(((x >= least) & (x <= most)).all() for x in inside), method
                    seen.add(method)
                    return getattr(built, method)(*arguments)

                return call

            methods = {name: staticmethod(checked(name)) for name in ("step", "perturb", "posterior")}
            return type("Built", (), methods)()

    found = outcomes(Strict(), "MAR-7", "DIS-4", *(f"SMP-{i}" for i in (1, 2, 3, 4, 6, 7)))
    assert {name: why for name, (status, why) in found.items() if status == "fail"} == {}
    assert seen == {"step", "posterior", "perturb"}
