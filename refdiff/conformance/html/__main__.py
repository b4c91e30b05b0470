"""Make report.html again: `python -m refdiff.conformance.html report.json`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from refdiff.conformance.files import replace_file
from refdiff.conformance.html.page import page
from refdiff.conformance.stored import read
from refdiff.errors import RefdiffError


def main() -> int:
    """Write the page beside the report, or where --out says; 2 for a file that is no report."""
    parser = argparse.ArgumentParser(prog="python -m refdiff.conformance.html", description=__doc__)
    parser.add_argument("report", type=Path, help="report.json of a run")
    parser.add_argument("--out", type=Path, help="where the page goes; by default beside the report, as report.html")
    given = parser.parse_args()
    out: Path = given.out or given.report.with_suffix(".html")
    try:
        replace_file(out, page(read(given.report)))
    except (RefdiffError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
