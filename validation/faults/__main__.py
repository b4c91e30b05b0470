"""Judge every fault, and write the kill matrix: `python -m validation.faults`.

With `--check` nothing is written: what differs from the committed matrix is printed. With `--only` the rows of these
faults are printed. The exit status is 1 if a fault is missed, right code fails, or a row differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from time import perf_counter

from refdiff.conformance.interface import DType
from validation.faults import matrix, record
from validation.faults.catalogue import CHAPTERS, FAULTS
from validation.faults.fault import DTYPES
from validation.faults.matrix import CLEAN


def main() -> int:
    """Return 1 if the matrix is not as it should be."""
    options, start = _parser().parse_args(), perf_counter()
    kinds: list[tuple[str, DType]] = [
        (fault.name, dtype) for fault in FAULTS for dtype in fault.dtypes if options.only in fault.name
    ]
    if not options.only:
        # The right target takes longest, so it comes first.
        kinds = [*((CLEAN, dtype) for dtype in DTYPES), *kinds]
    # One thread for each worker: there is a worker on each core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=spawned) as pool:
        rows = []
        for one in pool.map(matrix.verdict, kinds, [options.seed] * len(kinds), chunksize=1):
            rows.append(one)
            print(f"{one.fault} {one.dtype}: {', '.join(one.killed_by) or 'nothing fails'}", flush=True)
    if options.only:
        bad = list(matrix.missed([fault for fault in FAULTS if options.only in fault.name], rows))
        print(*bad, f"{len(rows)} rows, {len(bad)} not as they should be", sep="\n")
        return 1 if bad else 0
    bad = list(matrix.shortcomings(FAULTS, rows))
    made = record.Matrix(f"{datetime.now(tz=UTC).date()}", (perf_counter() - start) / 60.0, options.jobs, tuple(rows))
    if options.check:
        bad += record.changes(record.read().rows, rows)
    else:
        record.RECORD.write_text(made.text(), encoding="utf-8")
        record.PAGE.write_text(record.page(CHAPTERS, made), encoding="utf-8")
    print(*bad, f"{len(FAULTS)} faults, {len(rows)} rows in {made.minutes:.1f} minutes", sep="\n")
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m validation.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets judged at the same time")
    parser.add_argument("--only", default="", help="the faults whose name has these letters; nothing is written")
    parser.add_argument("--seed", type=int, default=0, help="seed of the suite")
    parser.add_argument("--check", action="store_true", help="compare with the committed matrix in place of writing it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
