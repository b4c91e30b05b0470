"""report.html: a report as one page that needs no network, made from report.json alone.

    python -m refdiff.conformance.html report.json

makes the page again. Jinja2 is imported only when a page is made.
"""

from __future__ import annotations

from refdiff.conformance.html.page import page as page
