"""What is written beside report.md and report.json: report.html, and a badge."""

from __future__ import annotations

from pathlib import Path

from refdiff.conformance.badge import badge
from refdiff.conformance.files import replace_file
from refdiff.conformance.report import Report
from refdiff.conformance.stored import stored
from refdiff.errors import ConfigError, plain


def write_pages(report: Report, folder: Path) -> str:
    """Write badge.json and report.html; return why there is no page, or nothing. An older page never stays."""
    replace_file(folder / "badge.json", badge(report))
    from refdiff.conformance.html import page

    try:
        replace_file(folder / "report.html", page(stored(report.as_json())))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  # the page is no part of the verdict, and must not change it
        (folder / "report.html").unlink(missing_ok=True)
        own = isinstance(error, ConfigError)
        return str(error) if own else plain(f"report.html was not made, please report it to refdiff: {error!r}")
    return ""
