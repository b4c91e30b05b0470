"""The trials of the diagnosis as a table, and as a record.

    python -m validation.faults.diagnosis --share 0.03 --pairs 30 --record

writes validation/records/diagnosis.json. Without options it tries every fault of the catalogue in each of its formats,
with the parameters of the catalogue and with others, and 60 pairs, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .trial import Trial, pairs, singles

RECORD = Path(__file__).parents[2] / "records" / "diagnosis.json"


def summary(alone: Sequence[Trial], two: Sequence[Trial]) -> dict[str, int]:
    """Return the counts that the bars are about."""
    failed = [trial for trial in alone if trial.failed]
    return {
        "single faults": len(alone),
        "that fail a check": len(failed),
        "named first": sum(trial.right for trial in failed),
        "with confidence": sum(trial.right and trial.confident for trial in failed),
        "another named with confidence": sum(trial.confident and not trial.right for trial in failed),
        "pairs": len(two),
        "pairs with a confident answer": sum(trial.confident for trial in two),
        "pairs of which both are named": sum(len(trial.found) == 2 for trial in two),
    }


def _shown(trials: Iterable[Trial]) -> list[Trial]:
    found = []
    for trial in trials:
        found.append(trial)
        is_pair = len(trial.faults) > 1
        good = not trial.confident if is_pair else trial.right
        where = "other parameters" if trial.moved else "catalogue"
        if not good:
            said = ", ".join(trial.first) or "nothing"
            sure = " with confidence" if trial.confident else ""
            print(f"{' + '.join(trial.faults)} ({trial.dtype}, {where}): {said}{sure}", flush=True)
    return found


def _entry(trial: Trial) -> Mapping[str, Any]:
    return asdict(trial)


def main() -> None:
    """Make the trials."""
    parser = argparse.ArgumentParser(prog="python -m validation.faults.diagnosis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the single faults")
    parser.add_argument("--pairs", type=int, default=60, help="number of pairs")
    parser.add_argument("--record", action="store_true", help="write validation/records/diagnosis.json")
    given = parser.parse_args()
    alone = _shown(singles(given.seed, given.share))
    two = _shown(pairs(given.seed, given.pairs))
    counts = summary(alone, two)
    for name, count in counts.items():
        print(f"{count:6} {name}")
    if given.record:
        rows = ",\n".join(f"  {json.dumps(_entry(trial))}" for trial in (*alone, *two))
        RECORD.write_text(
            f'{{\n "seeds": [{given.seed}],\n "summary": {json.dumps(counts)},\n "trials": [\n{rows}\n ]\n}}\n', "utf-8"
        )


if __name__ == "__main__":
    main()
