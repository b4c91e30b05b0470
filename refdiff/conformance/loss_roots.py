"""Order of failures of losses: which weight was wrong, by what the failing comparisons compared (chapter 5).

LOS-1 and LOS-2 are judged with a weight, and fail where that alone is wrong. A weight's own clause tells: if LOS-1
fails only on weights that are wrong by their own clauses, it may follow from those, and else they may follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

WEIGHTS: Mapping[str, str] = {
    "inverse_snr": "LOS-7",
    "min_snr": "LOS-8",
    "likelihood": "LOS-10",
    "snr": "LOS-16",
    "snr_plus_one": "LOS-17",
}
"""By weight: the clause that states it. `uniform` is stated by LOS-1, and for eps on chains by LOS-6."""
_NAMED = re.compile(rf"\b(uniform|{'|'.join(WEIGHTS)})(?:\(gamma=[^)]*\))? (?:eps|x_0|v|score) loss\b")
"""A loss as the checks name it."""


@final
@dataclass(frozen=True, slots=True)
class Losses:
    """What failed of losses, in a run."""

    is_loss_wrong: bool
    """LOS-1 fails, also beside the weights that are wrong by their own clauses."""
    is_reduction_wrong: bool
    """The same of LOS-2."""

    @staticmethod
    def of(lines: Mapping[str, Collection[str]]) -> Losses:
        """Return what failed; lines: by clause, the failing comparisons, in sentences."""
        wrong = {weight for weight, clause in WEIGHTS.items() if lines.get(clause)}
        beside = {
            clause: any(not weights_in(line) or weights_in(line) - wrong for line in lines.get(clause, ()))
            for clause in ("LOS-1", "LOS-2")
        }
        return Losses(beside["LOS-1"], beside["LOS-2"])

    def may_cause(self, clause: str) -> bool:
        """Return whether other failures may follow from LOS-1 or LOS-2; of another clause it is not asked."""
        if clause == "LOS-1":
            return self.is_loss_wrong
        if clause == "LOS-2":
            return self.is_reduction_wrong and not self.is_loss_wrong  # what makes LOS-1 fail makes LOS-2 fail
        return True

    def weights_of(self, clause: str, line: str) -> list[tuple[str, str]]:
        """Return the weights that a failing comparison uses, as quantities, each with the clause that states it."""
        if clause in ("LOS-1", "LOS-2") and (self.is_loss_wrong or (clause == "LOS-2" and self.is_reduction_wrong)):
            return []
        named = [(f"the weight {weight}", WEIGHTS[weight]) for weight in WEIGHTS if weight in weights_in(line)]
        return [(quantity, stating) for quantity, stating in named if stating != clause]


def weights_in(line: str) -> set[str]:
    """Return the weights of the losses that a sentence names."""
    return set(_NAMED.findall(line))
