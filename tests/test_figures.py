"""The figures that the specification shows are those that the tool makes, and it shows all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from refdiff.conformance.clauses import spec_folder
from validation.tools.figures import FIGURES, FOLDER, main


def test_figures_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One SVG and one PNG each; two steps of training suffice for that."""
    main(["--folder", str(tmp_path), "--iterations", "2"])
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")
    }
    assert "no-solver.svg" in capsys.readouterr().out


def test_every_figure_is_shown() -> None:
    """Each is committed, light, and referred to by a chapter; each that a chapter refers to is there."""
    shown = set()
    for chapter in spec_folder().glob("*.md"):
        shown |= set(re.findall(r"\]\(figures/([\w-]+)\.svg\)", chapter.read_text(encoding="utf-8")))
    assert shown == set(FIGURES)
    for name in shown:
        assert 1_000 < (FOLDER / f"{name}.svg").stat().st_size < 100_000
