"""Judge the right variants over many seeds, and print a table.

python -m tests.meta.variants --seeds 10 [--only WORDS] [--wrong]
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.meta.variants.family import RIGHT, WRONG
from tests.meta.variants.judging import failing, judged, passing
from tests.meta.variants.variant import Variant


def main() -> int:
    """Return 0 if no right variant fails a MUST clause, and every wrong one fails the clauses that it breaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.meta.variants")
    parser.add_argument("--seeds", type=int, default=10, help="judge with the seeds 0 .. SEEDS - 1")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", default="", help="variants whose name has these words")
    parser.add_argument("--wrong", action="store_true", help="the wrong variants in place of the right ones")
    chosen = parser.parse_args()
    family = [variant for variant in (WRONG if chosen.wrong else RIGHT) if chosen.only in variant.name]
    bad = 0
    for variant in family:
        bad += not _row(variant, range(chosen.first, chosen.first + chosen.seeds))
    print(f"{len(family)} variants, {chosen.seeds} seeds: {bad} not as they should be")
    return 1 if bad else 0


def _row(variant: Variant, seeds: range) -> bool:
    """Print one line for a variant, and one for each clause with an unexpected result."""
    started, wrong, clauses = time.monotonic(), dict[str, list[str]](), set[str]()
    for seed in seeds:
        outcomes = judged(variant, seed)
        failed = failing(outcomes)
        if variant.breaks:
            failed |= failing(outcomes, "SHOULD")
        clauses |= passing(outcomes)
        for clause in variant.breaks - set(failed) if variant.breaks else failed:
            wrong.setdefault(clause, []).append(f"seed {seed}: {failed.get(clause, 'not broken')}")
    verdict = "ok " if not wrong and (clauses or variant.breaks) else "BAD"
    print(f"{verdict} {variant.name} ({len(clauses)} clauses, {time.monotonic() - started:.1f} s)", flush=True)
    for clause, lines in sorted(wrong.items()):
        print(f"      {clause} {len(lines)}/{len(seeds)} {lines[0][:400]}", flush=True)
    return verdict == "ok "


if __name__ == "__main__":
    sys.exit(main())
