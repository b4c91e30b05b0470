"""JAX: draws that become arguments, and a denoiser inside of what JAX compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from refdiff.conformance.adapters.tensors import from_jax
from refdiff.conformance.interface import Denoiser, DType
from refdiff.errors import DomainError


@contextmanager
def replay_jax(**draws: Any) -> Iterator[None]:
    """Let functions of `jax.random`, named by their arguments, return these arrays in place of draws, once each.

    The library has to look the function up when it draws, as `jax.random.normal(...)` does, and not to have been
    compiled before. An array is returned as it is: ends, a mean or a shape that the library asks for are ignored.

    Raises DomainError if the library asks for a second draw of one law, and at the end, if it asked for none.

    Example:
        >>> import jax
        >>> with replay_jax(normal=np.array([1.0, 2.0])):
        ...     jax.random.normal(jax.random.key(0), (2,))
        array([1., 2.])
    """
    import jax  # only where the results are JAX's

    left = dict(draws)

    def drawn(law: str) -> Callable[..., Any]:
        def draw(*_: Any, **__: Any) -> Any:
            if law not in left:
                raise DomainError("CON-4", f"no further draw of {law}", "one")
            return left.pop(law)

        return draw

    fakes: dict[str, Any] = {law: drawn(law) for law in draws}
    with patch.multiple(jax.random, **fakes):
        yield
    if left:
        raise DomainError("CON-4", "each draw to be asked for", f"{', '.join(left)} left")


def asking_jax(denoiser: Denoiser, dtype: DType) -> Callable[[Any, Any], Any]:
    """Return the denoiser as a function of JAX arrays that `jit`, `scan` and their like can trace.

    The times are floats of the claimed dtype, or indices of a chain, which the denoiser is given as int64.

    Example:
        >>> import jax
        >>> ask = asking_jax(lambda x, t: 2 * x, "float32")
        >>> jax.jit(ask)(np.ones((1, 2), np.float32), np.zeros(1, np.float32))
        Array([[2., 2.]], dtype=float32)
    """
    import jax  # only where the results are JAX's

    def answer(x: Any, t: Any) -> Any:
        # As NumPy's, since JAX may wait for itself if it is called while it runs.
        whole = np.issubdtype(t.dtype, np.integer)  # indices of a chain, which JAX may keep in 32 bits
        given = np.array(t, dtype=np.int64) if whole else from_jax(t, dtype)
        return np.asarray(denoiser(from_jax(x, dtype), given)).astype(x.dtype)

    return lambda x, t: jax.pure_callback(answer, x, x, t)
