"""The discrete chain: alpha_bar_k = prod (1 - beta_i), as tables, sums, recursions, and the indices that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from math import log1p
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from refdiff.conformance.interface import Chain, DType, Process
from tests.meta.variants.libraries import JAX, NUMPY, NUMPY64, TORCH, TORCH64, Library
from tests.meta.variants.variant import DDPM, SHORT, Claimed, Family, Methods

FAMILY = Family("chain")
Table = Callable[..., Any]


def _betas(p: Chain, dtype: DType = "float32") -> Any:
    return np.array(p.betas, dtype=dtype)


def tables(
    *libraries: Library, on: Claimed | tuple[Claimed, ...] = (DDPM, SHORT), **options: Any
) -> Callable[[Table], Table]:
    """Add a form (xp, betas) -> quantities at k = 1..N, read at k - 1, as a variant of each library."""

    def add(form: Table) -> Table:
        for library in libraries:
            FAMILY.add(
                _reads(library, form),
                "schedule",
                on=on,
                name=f"{form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                dtype=library.dtype,
                **options,
            )
        return form

    return add


def _reads(library: Library, form: Table) -> Callable[[Process], Methods]:
    def make(p: Process) -> Methods:
        assert isinstance(p, Chain)
        made = form(library.xp, library.into(_betas(p, library.dtype)))
        return {
            "coefficients": lambda k: library.call(
                lambda i: {name: table[i - 1] for name, table in made.items()}, np.asarray(k)
            )
        }

    return make


def _product(xp: Any, factors: Any) -> Any:
    return xp.cumprod(factors, 0)


@tables(NUMPY, NUMPY64, TORCH, JAX)
def cumulative_product(xp: Any, betas: Any) -> Mapping[str, Any]:
    """cumprod(1 - beta), and its roots."""
    alpha_bar = _product(xp, 1.0 - betas)
    return {
        "alpha_bar": alpha_bar,
        "alpha": xp.sqrt(alpha_bar),
        "sigma": xp.sqrt(1.0 - alpha_bar),
        "log_snr": xp.log(alpha_bar) - xp.log(1.0 - alpha_bar),
    }


@tables(NUMPY, NUMPY64, TORCH64)
def sum_of_logarithms(xp: Any, betas: Any) -> Mapping[str, Any]:
    """log alpha_bar as cumsum(log(1 - beta))."""
    log_alpha_bar = xp.cumsum(xp.log(1.0 - betas), 0)
    return {
        "log_alpha_bar": log_alpha_bar,
        "alpha_bar": xp.exp(log_alpha_bar),
        "alpha": xp.exp(0.5 * log_alpha_bar),
        "sigma": xp.sqrt(1.0 - xp.exp(log_alpha_bar)),
    }


@tables(NUMPY, TORCH, JAX)
def sum_of_log1p(xp: Any, betas: Any) -> Mapping[str, Any]:
    """log alpha_bar as cumsum(log1p(-beta)), sigma by expm1."""
    log_alpha_bar = xp.cumsum(xp.log1p(-betas), 0)
    return {
        "log_alpha_bar": log_alpha_bar,
        "alpha": xp.exp(0.5 * log_alpha_bar),
        "sigma": xp.sqrt(-xp.expm1(log_alpha_bar)),
        "log_snr": -xp.log(xp.expm1(-log_alpha_bar)),
    }


@tables(NUMPY, TORCH, JAX)
def product_of_roots(xp: Any, betas: Any) -> Mapping[str, Any]:
    """alpha as cumprod(sqrt(1 - beta)), alpha_bar as its square."""
    alpha = _product(xp, xp.sqrt(1.0 - betas))
    return {"alpha": alpha, "alpha_bar": alpha**2, "sigma": xp.sqrt(1.0 - alpha**2)}


@tables(NUMPY)
def one_step_after_another(xp: Any, betas: Any) -> Mapping[str, Any]:
    """A loop: alpha_k = sqrt(1 - beta_k) alpha_{k-1}, sigma_k^2 = (1 - beta_k) sigma_{k-1}^2 + beta_k."""
    alpha, variance = [xp.float32(1)], [xp.float32(0)]
    for beta in betas:
        alpha.append(xp.sqrt(1 - beta) * alpha[-1])
        variance.append((1 - beta) * variance[-1] + beta)
    return {"alpha": xp.array(alpha[1:]), "sigma": xp.sqrt(xp.array(variance[1:]))}


@tables(NUMPY)
def noise_to_signal(xp: Any, betas: Any) -> Mapping[str, Any]:
    """Q_k = 1/alpha_bar_k by the recursion Q_k = Q_{k-1}/(1 - beta_k); alpha_bar = 1/Q."""
    inverse = [xp.float32(1)]
    for beta in betas:
        inverse.append(inverse[-1] / (1 - beta))
    q = xp.array(inverse[1:])
    return {"alpha_bar": 1 / q, "alpha": 1 / xp.sqrt(q), "sigma": xp.sqrt((q - 1) / q)}


@tables(NUMPY)
def reduced_with_the_operator(xp: Any, betas: Any) -> Mapping[str, Any]:
    """alpha_bar_k by multiplying the first k factors anew for every k, pairwise."""
    factors = 1 - betas
    return {"alpha_bar": xp.array([xp.prod(factors[: k + 1]) for k in range(len(factors))], dtype=xp.float32)}


@tables(JAX)
def associative_scan(xp: Any, betas: Any) -> Mapping[str, Any]:
    """The product as a parallel scan."""
    alpha_bar = jax.lax.associative_scan(jnp.multiply, 1.0 - betas)
    return {"alpha_bar": alpha_bar, "sigma": xp.sqrt(1.0 - alpha_bar)}


@tables(JAX)
def scan(xp: Any, betas: Any) -> Mapping[str, Any]:
    """The product as a sequential scan."""
    _, alpha_bar = jax.lax.scan(lambda kept, beta: (kept * (1 - beta),) * 2, xp.ones((), betas.dtype), betas)
    return {"alpha_bar": alpha_bar, "alpha": xp.sqrt(alpha_bar)}


def _float64_then_cast(p: Chain) -> tuple[Any, Any]:
    alpha_bar = np.cumprod(1.0 - np.array(p.betas))
    return np.sqrt(alpha_bar).astype(np.float32), np.sqrt(1.0 - alpha_bar).astype(np.float32)


@FAMILY.of("schedule", on=(DDPM, SHORT, Chain))
def float64_tables_cast(p: Process) -> Methods:
    """Products in float64, roots too, then buffers in float32, as most libraries keep them."""
    assert isinstance(p, Chain)
    alpha, sigma = _float64_then_cast(p)
    return {"coefficients": lambda k: {"alpha": alpha[k - 1], "sigma": sigma[k - 1], "alpha_bar": alpha[k - 1] ** 2}}


@FAMILY.of("schedule", on=(DDPM, SHORT))
def alpha_bar_cast_before_the_roots(p: Process) -> Methods:
    """The product in float64, cast, and the roots of the float32 table, as diffusers has them."""
    assert isinstance(p, Chain)
    table = np.cumprod(1.0 - np.array(p.betas)).astype(np.float32)
    return {
        "coefficients": lambda k: {
            "alpha_bar": table[k - 1],
            "alpha": table[k - 1] ** 0.5,
            "sigma": (1 - table[k - 1]) ** 0.5,
        }
    }


@FAMILY.of("schedule", on=(DDPM, SHORT))
def table_with_a_leading_one(p: Process) -> Methods:
    """N + 1 entries, alpha_bar_0 = 1 first, read at k."""
    assert isinstance(p, Chain)
    table = np.append(np.float32(1), np.cumprod(1 - _betas(p)))
    return {"coefficients": lambda k: {"alpha_bar": table[k], "sigma": np.sqrt(1 - table[k])}}


@FAMILY.of("schedule", on=(DDPM, SHORT))
def table_of_the_end_first(p: Process) -> Methods:
    """A table from N down to 1, as a sampler keeps it, read at N - k."""
    assert isinstance(p, Chain)
    table = np.cumprod(1 - _betas(p))[::-1]
    return {"coefficients": lambda k: {"alpha_bar": table[len(table) - k]}}


@FAMILY.of("schedule", on=(DDPM, SHORT))
def embedding_of_an_index(p: Process) -> Methods:
    """A torch embedding with one row for each index."""
    assert isinstance(p, Chain)
    table = torch.cumprod(1 - torch.tensor(_betas(p)), 0)[:, None]
    return {
        "coefficients": lambda k: {
            "alpha_bar": torch.nn.functional.embedding(torch.tensor(k - 1), table)[:, 0].numpy(),
        }
    }


@FAMILY.of("schedule", on=(DDPM, SHORT))
def interpolated_between_indices(p: Process) -> Methods:
    """log alpha_bar interpolated over the indices, which it is asked at: nothing to interpolate."""
    assert isinstance(p, Chain)
    table = np.cumsum(np.log1p(-np.array(p.betas)))
    nodes = np.arange(1, len(table) + 1)
    return {
        "coefficients": lambda k: {
            "log_alpha_bar": np.interp(k, nodes, table).astype(np.float32),
            "alpha": np.exp(0.5 * np.interp(k, nodes, table)).astype(np.float32),
        }
    }


@FAMILY.of("schedule", on=(SHORT, Chain(betas=(0.5,)), Chain(betas=(0.3, 0.6))))
def one_at_a_time(p: Process) -> Methods:
    """A function of one index, in numbers of Python."""
    assert isinstance(p, Chain)

    def alpha_bar(k: int) -> float:
        return reduce(lambda kept, beta: kept * (1.0 - beta), p.betas[:k], 1.0)

    def coefficients(k: Any) -> Mapping[str, Any]:
        bars = np.array([alpha_bar(int(one)) for one in k])
        return {
            "alpha_bar": bars.astype(np.float32),
            "sigma": np.sqrt(1.0 - bars).astype(np.float32),
            "log_snr": np.log(bars / (1.0 - bars)).astype(np.float32),
        }

    return {"coefficients": coefficients}


@FAMILY.of("schedule", on=(DDPM, SHORT), dtype="float64")
def summed_exactly(p: Process) -> Methods:
    """Sums of log1p by fsum, in float64."""
    assert isinstance(p, Chain)
    from math import fsum

    logs = [log1p(-beta) for beta in p.betas]
    table = np.array([fsum(logs[: k + 1]) for k in range(len(logs))])
    return {"coefficients": lambda k: {"log_alpha_bar": table[k - 1], "sigma": np.sqrt(-np.expm1(table[k - 1]))}}


@FAMILY.of("schedule", on=(DDPM, SHORT, Chain))
def betas_of_float32_then_float64(p: Process) -> Methods:
    """Betas stored in float32, all else in float64."""
    assert isinstance(p, Chain)
    table = np.cumprod(1.0 - _betas(p).astype(np.float64))
    return {"coefficients": lambda k: {"alpha_bar": table[k - 1].astype(np.float32)}}
