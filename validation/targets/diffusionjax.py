"""diffusionjax, in JAX, as targets, `validation.targets.diffusionjax:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `vp` | `VP` | `mean_coeff`, `variance`, `std`, `sde`, `get_loss`, `get_score`, `get_epsilon` |
| | `RVP`, `EulerMaruyama` | `get_estimate_x_0`, `update`; for runs `get_times`, `get_sampler` |
| `chain` | `DDPM`, `DDIMVP` | their tables for 1000 times, `update`, `posterior`, `get_estimate_x_0` |

The loss predicts eps (`score_scaling`) or -score; its draws are replayed by patching `jax.random`, outside `jit`.
A run asks the denoiser from within `scan`. `DDPM.posterior` is given a score: that of data of the one point x_0.

Not claimed: weights of half sums; correctors; EDM2's loss; the cosine schedule, whose alpha is not 1 at t = 0;
`perturb` of the chain, which has no such call; its runs, which go over every k, so that no number of steps is doubled.
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from diffusionjax.sde import VP
from diffusionjax.solvers import DDIMVP, DDPM, EulerMaruyama
from diffusionjax.utils import (
    get_epsilon,
    get_linear_beta_function,
    get_loss,
    get_sampler,
    get_score,
    get_times,
    get_timestep,
)

from refdiff.conformance.adapters import Library, asking_jax, from_jax, replay_jax, to_jax
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Denoiser,
    Draws,
    Grid,
    Linear,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
    Unsupported,
    Weight,
)
from refdiff.conformance.step import Step

_STEPS = 1000
_CHAIN = Chain(betas=tuple((0.1 + 19.9 * k / _STEPS) / _STEPS for k in range(1, _STEPS + 1)))
"""The library's discretisation of the schedule from 0.1 to 20: beta(t) dt at t = k dt."""

_LINEAR = Linear(beta_min=0.1, beta_max=20.0)
"""The library's default; one process, as each shape is compiled anew."""

_KEY = jax.random.key(0)
_TIMES = get_times(_STEPS)[0]
"""The times of the library's own runs, rising from 1/1000 to 1."""
_WEIGHTS: dict[Weight, tuple[Parameterization, ...]] = {
    "uniform": ("eps",),
    "snr": ("eps", "score"),
    "likelihood": ("eps", "score"),
}


def vp() -> Target:
    """Return VP, its reverse by Euler-Maruyama, and the loss."""
    claim = _claim(
        "VP",
        _LINEAR,
        ("schedule", "perturb", "sde", "convert", "loss", "times", "step", "grid", "sample"),
        reduction="all_mean",
        weights=("uniform", "snr", "likelihood"),
        draws=Draws(t_min=float(_TIMES[0, 0])),
        grid=Grid(t_min=0.0),
        steps=(Step(kind="em"),),
        samplers=(Sampler(name="euler_maruyama", stochastic=True),),
    )
    return Library(claim, _Vp)


def chain() -> Target:
    """Return the solvers DDPM and DDIMVP."""
    steps = (Step(kind="ddpm", prediction="score"), *(Step(kind="ddim", eta=eta) for eta in (0.0, 0.5, 1.0)))
    claim = _claim("DDPM and DDIMVP", _CHAIN, ("schedule", "convert", "posterior", "step", "grid"), steps=steps)
    return Library(claim, _Chain)


def _claim(name: str, process: Process, capabilities: tuple[Capability, ...], **claimed: Any) -> Claim:
    return Claim(
        name=f"diffusionjax {name}",
        version=version("diffusionjax"),
        dtype="float32",
        processes=(process,),
        capabilities=frozenset(capabilities),
        t_min=1e-3,  # the order of the first time of its own runs; below 1e-8 its sigma rounds to 0
        contract=2,
        **claimed,
    )


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    return to_jax(array, "float32")


def _array(array: Any) -> Array:
    return from_jax(array, "float32")


class _Sde:
    """One linear schedule, and the loss."""

    def __init__(self, process: Process) -> None:
        assert isinstance(process, Linear)
        self._sde = VP(*get_linear_beta_function(process.beta_min, process.beta_max))
        self._drawn = jax.jit(self._times_of_the_loss, static_argnums=1)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call `mean_coeff`, `std` and `beta`."""
        time = _tensor(t)
        return {
            "alpha": _array(self._sde.mean_coeff(time)),
            "sigma": _array(self._sde.std(time)),
            "beta": _array(self._sde.beta(time)),
        }

    def drift(self, x: Array, t: Times) -> Array:
        """Call `sde`."""
        return _array(self._sde.sde(_tensor(x), _tensor(t))[0])

    def diffusion(self, t: Times) -> Array:
        """Call `sde`."""
        return _array(self._sde.sde(jnp.zeros((len(t), 1)), _tensor(t))[1])

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t as the network of the loss sees it."""
        seen: list[Any] = []

        def apply(_: Any, x: Any, __: Any) -> Any:
            seen.append(x)
            return x

        self._loss(apply, True, False, x_0, eps, t)
        return _array(seen[0])

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call the function that `get_loss` returns, with its own noise and times replayed."""
        if prediction not in _WEIGHTS[weight]:
            raise Unsupported(f"get_loss has no weight {weight} of {prediction}")
        sign = 1 if prediction == "eps" else -1

        def apply(_: Any, x: Any, time: Any) -> Any:
            return sign * _tensor(denoiser(_array(x), _array(time)))

        return _array(self._loss(apply, prediction == "eps", weight == "likelihood", x_0, eps, t))

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return the times that the loss draws from those of the library's runs; nothing is weighted."""
        return _array(self._drawn(jax.random.key(seed), n)), _array(jnp.ones(n))

    def _times_of_the_loss(self, key: Any, n: int) -> Any:
        seen: list[Any] = []

        def apply(_: Any, x: Any, t: Any) -> Any:
            seen.append(t)
            return x

        solver = SimpleNamespace(ts=_TIMES, t1=_TIMES[-1])
        get_loss(self._sde, solver, SimpleNamespace(apply=apply))(None, key, jnp.zeros((n, 1)))
        return seen[0]

    def _loss(self, apply: Any, scaled: bool, likelihood: bool, x_0: Array, eps: Array, t: Times) -> Any:
        solver = SimpleNamespace(ts=jnp.zeros(1), t1=1.0)
        loss = get_loss(self._sde, solver, SimpleNamespace(apply=apply), scaled, likelihood, reduce_mean=True)
        with replay_jax(normal=_tensor(eps), uniform=_tensor(t)):
            return loss(None, _KEY, _tensor(x_0))


@final
class _Vp(_Sde):
    """The schedule with its reverse."""

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `get_score`, `get_epsilon` and `get_estimate_x_0` with a network that answers `value`."""
        if source not in ("eps", "score") or to == "v":
            raise Unsupported(f"diffusionjax has no call that gives {to} from {source}")
        scaled, y = source == "eps", _tensor(value)
        model = SimpleNamespace(apply=lambda *_: y if scaled else -y)
        score = get_score(self._sde, model, None, scaled)
        calls = {
            "score": score,
            "eps": get_epsilon(self._sde, model, None, scaled),
            "x_0": lambda x, t: self._sde.reverse(score).get_estimate_x_0(lambda x_0: x_0)(x, t)[0],
        }
        return _array(calls[to](_tensor(x_t), _tensor(t)))

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `EulerMaruyama.update` of the reverse SDE on the times s and t, for each example by `jax.vmap`."""
        del rule

        def one(x: Any, e: Any, t: Any, s: Any, z: Any) -> Any:
            with replay_jax(normal=z[None]):
                return self._solver(lambda *_: e[None], jnp.stack([s, t])).update(_KEY, x[None], t[None])[0][0]

        return _array(jax.vmap(one)(*(_tensor(array) for array in (x_t, value, t, s, noise))))

    def grid(self, n: int) -> Times:
        """Call `get_times`, from whose first time a run goes on to 0."""
        return _array(jnp.append(get_times(n)[0][::-1, 0], 0.0))

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call the function that `get_sampler` returns, from x; the solver takes its one step from its first times."""
        del sampler
        if len(times) < 3 or np.ptp(np.diff(times)) > 1e-6:
            raise Unsupported("EulerMaruyama takes even steps, and the first from two times")

        ask = asking_jax(denoiser, "float32")
        solver = self._solver(lambda _, x, t: ask(x, t), _tensor(times[-2::-1])[:, None])
        return _array(get_sampler(x.shape, solver, denoise=False)(jax.random.key(seed), _tensor(x))[0])

    def _solver(self, apply: Any, ts: Any) -> EulerMaruyama:
        score = get_score(self._sde, SimpleNamespace(apply=apply), None, True)
        return EulerMaruyama(self._sde.reverse(score), ts=ts)


@final
class _Chain:
    """The library's own chain of 1000 steps; a time is k/1000."""

    def __init__(self, _: Process) -> None:
        self._table = DDPM(None)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the tables."""
        names = {"alpha_bar": "alphas_cumprod", "alpha": "sqrt_alphas_cumprod", "sigma": "sqrt_1m_alphas_cumprod"}
        return {name: _array(getattr(self._table, table)[t - 1]) for name, table in names.items()}

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `get_estimate_x_0` of DDIMVP, which predicts eps, or of DDPM, which predicts the score."""
        if source not in ("eps", "score") or to != "x_0":
            raise Unsupported(f"DDPM and DDIMVP have no call that gives {to} from {source}")
        kind, y = (DDIMVP if source == "eps" else DDPM), _tensor(value)
        return _array(kind(lambda *_: y).get_estimate_x_0(lambda x_0: x_0)(_tensor(x_t), None, t - 1)[0])

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `posterior` of DDPM with the score (alpha x_0 - x_t)/sigma^2, by its own tables."""
        _adjacent(t, s)
        x, alpha, sigma = _rows(x_t), *(self.coefficients(t)[name][:, None] for name in ("alpha", "sigma"))
        score = (alpha.astype("float64") * _rows(x_0) - x) / sigma.astype("float64") ** 2
        mean, deviation = self._table.posterior(_tensor(score), _tensor(x), t - 1)
        return _array(mean).reshape(x_t.shape), _array(deviation**2)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `update` of DDPM, which is given the score, or of DDIMVP, which is given eps."""
        _adjacent(t, s)
        x, y = _tensor(_rows(x_t)), _tensor(_rows(value))
        solver = DDPM(lambda *_: y) if rule.kind == "ddpm" else DDIMVP(lambda *_: y, eta=rule.eta)
        with replay_jax(normal=_tensor(_rows(noise))):
            return _array(solver.update(_KEY, x, _TIMES.flatten()[t - 1])[0]).reshape(x_t.shape)

    def grid(self, n: int) -> Times:
        """Return the index of each of the solvers' times, and 0: n is the number of steps of the chain."""
        if n != _STEPS:
            raise Unsupported("on n times DDPM and DDIMVP are another chain")
        k = get_timestep(_TIMES[::-1, 0], self._table.t0, self._table.t1, _STEPS) + 1
        return np.append(np.array(k, dtype=np.int64), 0)


def _adjacent(t: Times, s: Times) -> None:
    if not (t - s == 1).all():
        raise Unsupported("DDPM and DDIMVP step over one k")


def _rows(array: Array) -> Array:
    return np.reshape(array, (len(array), -1))
