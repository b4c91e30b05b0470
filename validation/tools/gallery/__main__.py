"""Write the gallery: `python -m validation.tools.gallery`."""

from __future__ import annotations

import sys
from pathlib import Path

from validation.faults.catalogue import named
from validation.tools.gallery.exhibits import EXHIBITS
from validation.tools.gallery.page import drawn, page, plot

FOLDER = Path(__file__).parents[2]


def main() -> int:
    """Write the page, and a plot for each bug."""
    (FOLDER / "gallery.md").write_text(page(), encoding="utf-8")
    (FOLDER / "gallery").mkdir(exist_ok=True)
    for exhibit in EXHIBITS:
        path = FOLDER / "gallery" / f"{named(exhibit.fault).name}.svg"
        path.write_text(plot(drawn(exhibit)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
