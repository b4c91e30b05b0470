"""diffusionjax, in JAX, as targets, `validation.targets.diffusionjax:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `vp` | `VP`, `RVP`, `EulerMaruyama` | `mean_coeff`, `variance`, `std`, `sde`, `get_loss`, `update` |
| `chain` | `DDPM`, `DDIMVP` on 1000 times of the same schedule | their tables, `update` |

The loss predicts eps (`score_scaling`) or -score; its draws are replayed by patching `jax.random`, outside `jit`.

Not claimed: weights of half sums; correctors; EDM2's loss; the cosine schedule, whose alpha is not 1 at t = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, final
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from diffusionjax.sde import VP
from diffusionjax.solvers import DDIMVP, DDPM, EulerMaruyama
from diffusionjax.utils import get_linear_beta_function, get_loss, get_score

from refdiff.conformance.adapters import Library, from_jax, to_jax
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Denoiser,
    Linear,
    Parameterization,
    Process,
    Reduction,
    Rule,
    Target,
    Times,
    Unsupported,
    Weighting,
)

_STEPS = 1000
_CHAIN = Chain(betas=tuple((0.1 + 19.9 * k / _STEPS) / _STEPS for k in range(1, _STEPS + 1)))
"""The library's discretisation of the schedule from 0.1 to 20: beta(t) dt at t = k dt."""

_LINEAR = Linear(beta_min=0.1, beta_max=20.0)
"""The library's default; one process, as each shape is compiled anew."""

_KEY = jax.random.key(0)


def vp() -> Target:
    """Return VP, its reverse by Euler-Maruyama, and the loss."""
    return Library(_claim("VP", _LINEAR, "all_mean", "schedule", "perturb", "sde", "loss", "step"), _Vp)


def chain() -> Target:
    """Return the solvers DDPM and DDIMVP."""
    return Library(_claim("DDPM and DDIMVP", _CHAIN, "none", "schedule", "step"), _Chain)


def _claim(name: str, process: Process, reduction: Reduction, *capabilities: Capability) -> Claim:
    return Claim(
        name=f"diffusionjax {name}",
        version=version("diffusionjax"),
        dtype="float32",
        processes=(process,),
        capabilities=frozenset(capabilities),
        t_min=1e-3,  # the order of the first time of its own runs; below 1e-8 its sigma rounds to 0
        reduction=reduction,
    )


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    return to_jax(array, "float32")


def _array(array: Any) -> Array:
    return from_jax(array, "float32")


@contextmanager
def _replay(**draws: Any) -> Iterator[None]:
    """Let jax.random return these arrays, once each."""
    left = dict(draws)
    fakes: dict[str, Any] = {name: lambda *_, name=name, **__: left.pop(name) for name in draws}
    with patch.multiple(jax.random, **fakes):
        yield
    assert not left


@final
class _Vp:
    """One linear schedule."""

    def __init__(self, process: Process) -> None:
        assert isinstance(process, Linear)
        self._sde = VP(*get_linear_beta_function(process.beta_min, process.beta_max))

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
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call the function that `get_loss` returns, with its own noise and times replayed."""
        if (prediction, weight) not in (("eps", "uniform"), ("eps", "likelihood"), ("score", "likelihood")):
            raise Unsupported(f"get_loss has no weight {weight} of {prediction}")
        sign = 1 if prediction == "eps" else -1

        def apply(_: Any, x: Any, time: Any) -> Any:
            return sign * _tensor(denoiser(_array(x), _array(time)))

        return _array(self._loss(apply, prediction == "eps", weight == "likelihood", x_0, eps, t))

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `EulerMaruyama.update` of the reverse SDE on the times s and t, for each example by `jax.vmap`."""
        if rule != "em":
            raise Unsupported(f"diffusionjax has no rule {rule} for an SDE")

        def one(x: Any, e: Any, t: Any, s: Any, z: Any) -> Any:
            model = SimpleNamespace(apply=lambda *_: e[None])
            reverse = self._sde.reverse(get_score(self._sde, model, None, True))
            solver = EulerMaruyama(reverse, ts=jnp.stack([s, t]))
            with _replay(normal=z[None]):
                return solver.update(_KEY, x[None], t[None])[0][0]

        return _array(jax.vmap(one)(*(_tensor(array) for array in (x_t, eps_hat, t, s, noise))))

    def _loss(self, apply: Any, scaled: bool, likelihood: bool, x_0: Array, eps: Array, t: Times) -> Any:
        solver = SimpleNamespace(ts=jnp.zeros(1), t1=1.0)
        loss = get_loss(self._sde, solver, SimpleNamespace(apply=apply), scaled, likelihood, reduce_mean=True)
        with _replay(normal=_tensor(eps), uniform=_tensor(t)):
            return loss(None, _KEY, _tensor(x_0))


@final
class _Chain:
    """The library's own chain of 1000 steps; a time is k/1000."""

    def __init__(self, process: Process) -> None:
        del process
        self._table = DDPM(None)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the tables."""
        names = {"alpha_bar": "alphas_cumprod", "alpha": "sqrt_alphas_cumprod", "sigma": "sqrt_1m_alphas_cumprod"}
        return {name: _array(getattr(self._table, table)[t - 1]) for name, table in names.items()}

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `update` of DDPM, whose score is -eps/sigma by its own table, or of DDIMVP with eta = 0."""
        if rule not in ("ddpm", "ddim") or not (t - s == 1).all():
            raise Unsupported("DDPM and DDIMVP step over one k, and have no other rule")
        x, e = _tensor(_rows(x_t)), _tensor(_rows(eps_hat))
        score = -e / self._table.sqrt_1m_alphas_cumprod[t - 1][:, None]
        solver = DDPM(lambda *_: score) if rule == "ddpm" else DDIMVP(lambda *_: e, eta=0.0)
        with _replay(normal=_tensor(_rows(noise))):
            return _array(solver.update(_KEY, x, self._table.ts.flatten()[t - 1])[0]).reshape(x_t.shape)


def _rows(array: Array) -> Array:
    return np.reshape(array, (len(array), -1))
