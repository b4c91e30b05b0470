"""Worked examples of the specification: each printed number is computed again, in Python without refdiff."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from refdiff.conformance.clauses import spec_folder

_BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.S | re.M)
CHAPTERS = sorted(spec_folder().glob("[0-9][0-9]-*.md"))


def find_mistakes(text: str) -> list[str]:
    """Return the examples of a text that print something else than it shows. Its blocks share their names."""
    shown = "".join(_BLOCK.findall(text))
    test = doctest.DocTestParser().get_doctest(shown, {}, "example", None, 0)
    mistakes: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=mistakes.append)
    return mistakes


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_are_computed(chapter: Path) -> None:
    """Each chapter has one section with an example, whose numbers are those that its lines compute."""
    text = chapter.read_text(encoding="utf-8")
    _, example = re.split(r"^## Worked example$", text, flags=re.M)
    assert _BLOCK.search(example)
    assert "refdiff" not in "".join(_BLOCK.findall(text))
    assert not find_mistakes(text)


def test_wrong_numbers_are_found() -> None:
    """A wrong number is found, and so is a line that raises."""
    assert not find_mistakes("```pycon\n>>> 1 + 1\n2\n```\n")
    assert find_mistakes("```pycon\n>>> 1 + 1\n3\n```\n")
    assert find_mistakes("```pycon\n>>> x = 1\n```\n\n```pycon\n>>> y\n1\n```\n")
