"""Judge every library that is installed, side by side, and write RESULTS.md: `python -m validation.targets`.

With `--check` it also says what differs from the last record, and exits with 1 if anything does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter

from validation.targets import record
from validation.targets.listing import LIBRARIES, installed
from validation.targets.matrix import load, matrix

_HERE = Path(__file__).parent


def main() -> int:
    """Run the suite on each target in a process of its own. Return 1 if a target has no report."""
    options, start = _parser().parse_args(), perf_counter()
    versions = installed()
    missing = [name for name in LIBRARIES if name not in versions]
    targets = [target for name in versions for target in LIBRARIES[name]]
    chosen = [target for target in targets if not options.only or target in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(partial(_judge, folder=options.reports, seconds=options.seconds), chosen))
    reports = {target: load(options.reports / _name(target)) for target in targets}
    found = [report for report in reports.values() if report is not None]
    without = [target for target, report in reports.items() if report is None]
    minutes = (perf_counter() - start) / 60.0 if len(chosen) == len(targets) else None
    today = datetime.now(tz=UTC).date()
    options.out.write_text(matrix(found, missing, today, without, minutes, options.jobs), encoding="utf-8")
    print(f"{options.out}: {len(found)} targets; not installed: {', '.join(missing) or 'none'}")
    if without:
        print(f"no report: {', '.join(without)}")
    told = record.statuses(found)
    changed = list(record.changes(record.read(), told)) if options.check else []
    print(*changed, sep="\n")
    if options.out == _HERE / "RESULTS.md":
        record.write(told)
    return 1 if without or changed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m validation.targets", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets judged at the same time")
    parser.add_argument("--only", nargs="+", default=(), help="judge these, and take the others' last reports")
    parser.add_argument("--reports", type=Path, default=Path("validation-report/targets"), help="folder of the reports")
    parser.add_argument("--out", type=Path, default=_HERE / "RESULTS.md", help="the page that is written")
    parser.add_argument(
        "--check", action="store_true", help="compare with the last record, and exit with 1 if it differs"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="timeout of one call of a target")
    return parser


def _judge(target: str, *, folder: Path, seconds: float) -> None:
    """Run the suite on one target; its exit status is in the report."""
    suite = ["-q", "-p", "no:cacheprovider", str(_HERE.parent / "checks"), "--refdiff-timeout", str(seconds)]
    where = ["--refdiff-target", f"validation.targets.{target}", "--refdiff-report", str(folder / _name(target))]
    command = [sys.executable, "-m", "pytest", *suite, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)  # noqa: S603  # this Python
    print(f"{target}: {(done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]}", flush=True)


def _name(target: str) -> str:
    return target.replace(":", "-")


if __name__ == "__main__":
    sys.exit(main())
