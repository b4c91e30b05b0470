"""What a release says of itself agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

from refdiff import __version__
from refdiff.conformance import protocol, report
from refdiff.conformance.clauses import clauses
from validation.checks.suite import checks

ROOT = Path(__file__).parents[1]
CHANGES = (ROOT / "spec" / "changelog.md").read_text(encoding="utf-8")


def test_versions_agree() -> None:
    """The table of versions has those of the code, and so has the citation."""
    stated = dict(re.findall(r"^\| ([^|]+?) \| ([\d.]+) \|", CHANGES, re.M))
    assert stated == {
        "the specification, the suite and the library": __version__,
        "the contract between the suite and a target": "2",
        "the protocol of targets in another process": str(protocol.VERSION),
        "the report, `report.json`": report.SCHEMA_VERSION,
    }
    citation = (ROOT / "spec" / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.M) == [__version__]


def test_newest_entry_is_that_of_this_version() -> None:
    """The first entry of the changelog is that of the version in the code, and its counts are those of the suite."""
    newest = CHANGES[re.search(r"^## \d", CHANGES, re.M).start() :]  # type: ignore[union-attr]  # a match, or the test fails
    assert newest.startswith(f"## {__version__}")
    counts = re.search(r"(\d+) clauses in (\d+) chapters, of which the suite judges (\d+)", newest)
    assert counts
    chapters = {clause.chapter for clause in clauses().values()}
    judged = {check.clause for check, _ in checks()}
    assert [int(count) for count in counts.groups()] == [len(clauses()), len(chapters), len(judged)]
