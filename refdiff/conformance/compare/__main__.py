"""Compare two reports: `python -m refdiff.conformance.compare old.json new.json`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from refdiff.conformance.compare.changes import compared, text
from refdiff.conformance.files import replace_file
from refdiff.conformance.stored import read
from refdiff.errors import RefdiffError


def main() -> int:
    """Print what changed, and write it as a page if asked; 1 if something got worse, 2 for a file that is no report."""
    parser = argparse.ArgumentParser(
        prog="python -m refdiff.conformance.compare",
        description="Compare two reports: what got better or worse, what is newly judged, what no longer.",
        epilog="The exit status is 1 if a clause got worse (it failed on no process, or on fewer), or the verdict did; "
        "2 if a file is no report; else 0. A clause that is no longer judged is listed, and is not worse: "
        "--refdiff-require keeps a claim from shrinking.",
    )
    parser.add_argument("old", type=Path, help="report.json of the earlier run")
    parser.add_argument("new", type=Path, help="report.json of the later run")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page, too")
    given = parser.parse_args()
    try:
        changes = compared(read(given.old), read(given.new))
        if given.html is not None:
            from refdiff.conformance.html.template import filled

            replace_file(given.html, filled("compare.html.j2", changes=changes))
    except (RefdiffError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(text(changes))
    return 1 if changes.is_worse else 0


if __name__ == "__main__":
    sys.exit(main())
