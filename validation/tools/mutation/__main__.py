"""Mutate the mathematical modules, and see which changes no test and no check kills.

    python -m validation.tools.mutation [--module refdiff/sde.py ...] [--sample 60 --seed 0] [--survivors] [--jobs 2]
    python -m validation.tools.mutation --report        writes validation/MUTATION.md from the record
    python -m validation.tools.mutation --check         says what is wrong with the record; names stale modules

Needs the extras `dev` and `mutation`. Mutants are made on a copy of the repository. What was found is kept in a session
folder until a module changes, so a run that was stopped goes on; `--survivors` tests again what survived.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from . import page, record
from .checkout import ROOT
from .plan import PLANS

SESSIONS = ROOT / "validation-report" / "mutation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    options = _parsed(arguments)
    if options.check:
        return _checked()
    if options.report:
        page.PATH.write_text(page.written(record.loaded()), "utf-8")
        return 0
    from .mutants import run  # lazy import: cosmic-ray is needed only here

    with TemporaryDirectory(prefix="mutation-") as folder:
        for module in options.module or PLANS:
            run(module, Path(folder), options)
    return 0


def _parsed(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m validation.tools.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("--module", nargs="+", choices=sorted(PLANS), metavar="PATH", help="default: all of the plan")
    parser.add_argument("--sample", type=int, metavar="N", help="number of mutants of a module; default: all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--survivors", action="store_true", help="test again what survived in this session")
    parser.add_argument(
        "--quick", action="store_true", help="unit tests with few examples only, to be followed by a run"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--sessions", type=Path, default=SESSIONS, help="folder of the work lists")
    parser.add_argument("--report", action="store_true", help="write the page from the record, and run nothing")
    parser.add_argument("--check", action="store_true", help="check the record, and run nothing")
    return parser.parse_args(arguments)


def _checked() -> int:
    """Say what is wrong with the record and its page, and which modules are stale; 1 if something is wrong."""
    found = record.loaded()
    wrong = record.faults(found)
    if page.PATH.read_text("utf-8") != page.written(found):
        wrong.append("expected validation/MUTATION.md as the record gives it; run with --report")
    for line in wrong:
        print(line, file=sys.stderr)
    for module in record.stale(found):
        print(f"stale: {module} changed since its mutants were tested")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
