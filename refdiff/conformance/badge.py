"""badge.json: the verdict as an endpoint of shields.io, for a README: img.shields.io/endpoint?url=ADDRESS."""

from __future__ import annotations

import json
from collections.abc import Mapping

from refdiff.conformance.report import Report, Verdict

_WORDS: Mapping[Verdict, tuple[str, str]] = {
    "conforming": ("conforms", "brightgreen"),
    "conforming-with-known-failures": ("conforms but for known failures", "green"),
    "conforming-with-warnings": ("conforms, with warnings", "yellowgreen"),
    "non-conforming": ("does not conform", "red"),
    "suite-error": ("not judged", "lightgrey"),
    "incomplete": ("incomplete", "lightgrey"),
}
"""By verdict: what the badge says, and its colour."""


def badge(report: Report) -> str:
    """Return badge.json: the verdict, and how many clauses were judged."""
    said, colour = _WORDS[report.verdict]
    cover = report.cover()
    only = f" of {', '.join(report.chapters)}" if report.chapters else ""
    message = f"{said}: {cover['judged']} of {cover['total']} clauses{only}"
    return json.dumps({"schemaVersion": 1, "label": "refdiff", "message": message, "color": colour}) + "\n"
