"""Classifier-free guidance: two predictions combined into one (spec chapter 10, SMP-9)."""

from __future__ import annotations

from math import isfinite

from refdiff.errors import DomainError
from refdiff.loss import Denoiser
from refdiff.tensors import Data, Time


def guide(conditional: Denoiser, unconditional: Denoiser, guidance: float) -> Denoiser:
    """Return the denoiser of classifier-free guidance (SMP-9); Ho & Salimans 2022.

        y_hat = y_hat_unconditional + guidance (y_hat_conditional - y_hat_unconditional)

    1 is the conditional denoiser and 0 the unconditional one, of which only that one is evaluated. The guidance w of
    Ho & Salimans is one less. Both denoisers predict the same quantity, any of eps, x_0, v and the score.

    Args:
        conditional: Denoiser for a given condition.
        unconditional: Denoiser for no condition.
        guidance: Factor on the difference; above 1 it moves samples towards the condition.

    Returns:
        The denoiser, for `sample`.

    Raises:
        DomainError: guidance is not finite.

    Example:
        >>> import refdiff, torch
        >>> guided = refdiff.guide(lambda x, t: 0.0 * x + 3.0, lambda x, t: 0.0 * x + 1.0, 2.0)
        >>> guided(torch.zeros(1, 2), torch.tensor([0.5]))  # 1 + 2 (3 - 1)
        tensor([[5., 5.]])
    """
    if not isfinite(guidance):
        raise DomainError("SMP-9", "a finite guidance", guidance)
    if guidance in (0.0, 1.0):
        return conditional if guidance else unconditional

    def guided(x_t: Data, t: Time) -> Data:
        without = unconditional(x_t, t)
        return without + guidance * (conditional(x_t, t) - without)

    return guided
