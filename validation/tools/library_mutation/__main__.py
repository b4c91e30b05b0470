"""The command line of the mutation of libraries: parsing only."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from validation.tools import library_mutation
from validation.tools.library_mutation import page
from validation.tools.library_mutation.record import RECORD, read, write
from validation.tools.library_mutation.subjects import SUBJECTS
from validation.tools.library_mutation.work import Work


def main() -> int:
    """Judge the mutants of each module, and write the record and the page after each of them."""
    options = _parser().parse_args()
    folders = dict(given.split("=", 1) for given in options.tests)
    if not options.page:
        for name in options.only or SUBJECTS:
            subject = SUBJECTS[name]
            parts = read(options.out)
            before = {verdict.key: verdict for verdict in parts[name].judged} if name in parts else {}
            folder = folders.get(subject.library)
            work = Work(subject, Path(folder).resolve() if folder else None, options.measured)
            started = time.monotonic()
            for part in work.part(options.mutants, options.seed, before, again=options.again):
                write({**read(options.out), name: part}, options.out)
                killed = sum(bool(verdict.clause) for verdict in part.judged)
                took = time.monotonic() - started
                print(f"{name}: {killed} of {len(part.judged)} killed, {took:.0f} s", flush=True)
    if options.out == RECORD:
        page.PAGE.write_text(page.page(read()), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation.tools.library_mutation", description=library_mutation.__doc__
    )
    parser.add_argument("--only", nargs="+", choices=tuple(SUBJECTS), help="modules to change, by default all")
    parser.add_argument("--tests", nargs="+", default=(), metavar="LIBRARY=FOLDER", help="folders of the own tests")
    parser.add_argument("--measured", type=Path, help="folder where it is kept which lines the checks reach")
    parser.add_argument("--mutants", type=int, default=60, help="mutants judged in each module")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record that is written")
    parser.add_argument("--again", action="store_true", help="judge the survivors of the record again")
    parser.add_argument("--page", action="store_true", help="only write the page again, from the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
