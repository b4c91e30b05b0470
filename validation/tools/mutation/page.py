"""The page of the record: a table of modules, and every survivor with its reason."""

from __future__ import annotations

from typing import Any

from .checkout import ROOT

PATH = ROOT / "validation" / "MUTATION.md"
HEAD = """\
# Mutation testing

A mutant is the code with one small change: `+` in place of `-`, `<=` in place of `<`, 3 in place of 2.
A mutant that passes all tests shows a property that no test states.
`python -m validation.tools.mutation` makes the mutants of each mathematical module with cosmic-ray, and tests each one:
first by the unit tests of its module, then by checks of the suite on refdiff, until one fails.
This page is generated from [the record](records/mutation.json) by `python -m validation.tools.mutation --report`.

- **Operators.** [Those used](tools/mutation/operators.py) leave out what another operator includes,
  and bit operations on floats, which torch refuses.
- **Places left out.** Annotations, type aliases, decorators, docstrings and the arguments of `raise`:
  they say nothing of the mathematics.
- **Tests.** [The plan](tools/mutation/plan.py) says which tests and which clauses are tried for each module.
  A mutant of an expected value must make a check fail on refdiff, or on a right variant of the tests of the suite,
  or pass on a wrong one.
  Runtime checks of types and the shrinking of examples are off, because they cost time and find no more.
  A survivor of the unit tests whose reason shows that no check can tell it was not always tried on checks.
- **Not there.** A module of the plan that the table lacks is not tested yet.
- **Equivalent.** No test can tell an equivalent survivor from the code: the reason says why.
- **Sample.** Of a module with many mutants a random sample is chosen, with the seed that the record has.
  A run that was stopped has tested the first of them, in the order of the file.

"""


def written(record: dict[str, Any]) -> str:
    """Return the text of the page."""
    lines = [
        "## Modules",
        "",
        "| module | mutants | chosen | tested | killed | survived: equivalent | open |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    totals = [0] * 6
    for name, row in record.items():
        same = sum(bool(survivor["equivalent"]) for survivor in row["survivors"])
        counts = [row["mutants"], row["chosen"], row["tested"], row["killed"], same, len(row["survivors"]) - same]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        lines.append(_row(f"`{name}`", counts))
    lines += [_row("all", totals), ""]
    if totals[2]:
        lines += [f"{100.0 * totals[3] / totals[2]:.1f} % of the tested mutants are killed.", ""]
    return HEAD + "\n".join(lines) + _survivors(record)


def _row(name: str, counts: list[int]) -> str:
    return f"| {name} | " + " | ".join(map(str, counts)) + " |"


def _survivors(record: dict[str, Any]) -> str:
    found = ["\n## Survivors\n"]
    for name, row in record.items():
        if not row["survivors"]:
            continue
        found.append(
            f"\n### {name}\n\n| line | operator | the code | the mutant | equivalent | why |\n"
            "|--:|---|---|---|---|---|\n"
        )
        for one in row["survivors"]:
            same = "yes" if one["equivalent"] else "no"
            cells = (str(one["line"]), one["operator"], _code(one["was"]), _code(one["is"]), same, one["reason"])
            found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(found)


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"
