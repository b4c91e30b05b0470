"""The page of the mutation of libraries, validation/targets/MUTATION.md, from its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from validation.tools.library_mutation.record import Part, Verdict
from validation.tools.library_mutation.subjects import SUBJECTS

PAGE = Path(__file__).parents[2] / "targets" / "MUTATION.md"
_HEAD = """# Mutation of libraries

Written by `python -m validation.tools.library_mutation`, which changes a library's formulas in memory.
Each *mutant* has one change: of an operator, a constant, operands, a comparison, a sign, a call or an index.
It is judged through the adapters of this folder, and by the library's own tests of the same module.

refdiff *kills* a mutant if a check fails that passes on the library as it is; an own test kills it if it fails.
*Not reached* are the mutants in statements that no such check executes, found before any mutant was judged.
Of the others a seeded sample is judged.
No mutants are made of defaults of arguments, annotations, messages, checks that only raise, devices and dtypes.

*Golden sums* are own tests that compare the sum of a whole run with a number that the library gave once.
They see that something changed, and cannot say which of the two is right.

The own tests of azula are those of its source distribution.
Those of diffusers are of its repository: the tests of the two schedulers, and of their base class what is for these.
"""
_COLUMNS = (
    "module",
    "mutants",
    "not reached",
    "judged",
    "killed by refdiff",
    "killed by own tests",
    "only by golden sums",
    "by neither",
)


def page(parts: Mapping[str, Part]) -> str:
    """Return the page: a table of counts, the survivors with their reasons, and what is not reached."""
    lines = [_HEAD, *_versions(parts.values()), "", *_table(parts.values()), ""]
    lines += ["## Survivors", "", "Mutants that refdiff did not kill, each with the first own test that killed it.", ""]
    for part in parts.values():
        lines += _survivors(part)
    lines += ["## Targets", "", "| module | judged through |", "|---|---|"]
    for name, part in parts.items():
        targets = ", ".join(f"`{target}`" for target in SUBJECTS[name].targets)
        lines.append(f"| {part.module} | {targets} |")
    lines += ["", "## Not reached", "", "| module | function | mutants | why |", "|---|---|---|---|"]
    for name, part in parts.items():
        whys = SUBJECTS[name].unreached
        lines += [
            f"| {part.module} | `{function}` | {count} | {whys.get(function, '')} |"
            for function, count in part.unreached.items()
        ]
    return "\n".join(lines) + "\n"


def _versions(parts: Iterable[Part]) -> list[str]:
    found = sorted({(part.library, part.version) for part in parts})
    seeds = ", ".join(sorted({str(part.seed) for part in parts}))
    return [f"Judged: {', '.join(f'{library} {version}' for library, version in found)}; seed {seeds}."]


def _table(parts: Iterable[Part]) -> list[str]:
    """Return the rows of each module, and those of each library."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---|" + "---|" * (len(_COLUMNS) - 1)]
    by_library: dict[str, list[Part]] = {}
    for part in parts:
        by_library.setdefault(part.library, []).append(part)
        lines.append(_row(f"`{part.module}`", [part]))
    return lines + [_row(f"**{library}**", some) for library, some in by_library.items()]


def _row(label: str, parts: Sequence[Part]) -> str:
    judged = [verdict for part in parts for verdict in part.judged]
    tested = [verdict for verdict in judged if verdict.own is not None]
    golden = any(SUBJECTS[_name(part)].golden for part in parts)
    cells = (
        str(sum(part.mutants for part in parts)),
        str(sum(part.not_reached for part in parts)),
        str(len(judged)),
        _share(sum(bool(verdict.clause) for verdict in judged), len(judged)),
        _share(sum(bool(verdict.own) for verdict in tested), len(tested)),
        str(sum(verdict.golden for verdict in tested)) if golden else "none there",
        str(sum(not verdict.clause and not verdict.own for verdict in judged)),
    )
    return "| " + " | ".join((label, *cells)) + " |"


def _name(part: Part) -> str:
    return next(name for name, subject in SUBJECTS.items() if subject.module == part.module)


def _share(some: int, total: int) -> str:
    return f"{some} ({100 * some / total:.0f} %)" if total else "not run"


def _survivors(part: Part) -> list[str]:
    found = [verdict for verdict in part.judged if not verdict.clause]
    if not found:
        return [f"`{part.module}`: none.", ""]
    lines = [f"### {part.module}", "", "| line | statement | mutant | own test | why |", "|---|---|---|---|---|"]
    return [*lines, *map(_survivor, found), ""]


def _survivor(verdict: Verdict) -> str:
    own = "not run" if verdict.own is None else verdict.own.rpartition("::")[2] or "none"
    codes = (f"`{_escaped(text)}`" for text in (verdict.before, verdict.after))
    return "| " + " | ".join((str(verdict.line), *codes, own, verdict.why)) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
