"""The page of the gallery, and its plots."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator

import numpy as np

from refdiff.conformance.clauses import clauses
from refdiff.conformance.diagnosis import concluded, searched
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.report import assemble, described
from refdiff.conformance.terminal import problems

from ...checks.suite import checks
from ...faults.catalogue import named
from ...faults.clean.target import CleanTarget
from ...faults.fault import Fault
from .curves import Curve
from .exhibits import EXHIBITS, Exhibit

LINES = 4
"""Lines of a report that are shown."""
WIDTH = 150


def said(fault: Fault) -> list[str]:
    """Return the first lines of the report on a fault in float32, and its diagnosis."""
    target = fault.target("float32")
    judge = Judge.of(target, Settings(seconds=60.0))
    outcomes = judge.judge(checks())
    report = assemble(clauses().values(), outcomes, target=described(judge.claim, "", judge.members))
    lines = [line for line in problems(report) if not line.endswith(":") and not line.startswith("    clause")]
    found = concluded([searched("validation", judge, (), 60.0)])
    return [line.replace(fault.name, "mylib", 1) for line in lines[:LINES]] + [f"diagnosis: {x}" for x in found.lines()]


def drawn(exhibit: Exhibit) -> Curve:
    """Return the error of an exhibit: in float32 where digits are lost, else in float64."""
    fault = named(exhibit.fault)
    claim = fault.claim("float32" if fault.name.startswith("number-") else "float64")
    process = next(process for process in fault.processes if not isinstance(process, type))
    return exhibit.measure(
        CleanTarget(claim).build(process), CleanTarget(claim, {fault.formula: fault.by}).build(process)
    )


def plot(curve: Curve) -> str:
    """Return a curve as SVG, the same text for the same curve."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "refdiff", "svg.fonttype": "none", "font.size": 9.0}):
        figure = Figure(figsize=(5.0, 2.4), layout="constrained")
        axes = figure.subplots()
        kept = np.isfinite(curve.y) & ((curve.y > 0.0) | (not curve.is_log))
        axes.plot(curve.x[kept], curve.y[kept], color="#b2182b", marker="o" if kept.sum() < 20 else "")
        if curve.is_log:
            axes.set(xscale="log", yscale="log")
        else:
            axes.axhline(0.0, color="#777777", linewidth=0.8)
        axes.set(xlabel=curve.against, ylabel="\n".join(textwrap.wrap(curve.of, 26)))
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Ten classic bugs, and what the suite says of them"
    yield ""
    yield "Written by `python -m validation.tools.gallery`."
    yield "Each bug is a fault of the [catalogue](faults/): a right target with one formula replaced."
    yield "The library that has it is called mylib here, computes in float32, and claims what the bug touches."
    yield "The [kill matrix](faults/MATRIX.md) has all faults, and the clauses that find them."
    for number, exhibit in enumerate(EXHIBITS, start=1):
        yield from section(number, exhibit)


def section(number: int, exhibit: Exhibit) -> Iterator[str]:
    """Yield the lines of one bug."""
    fault = named(exhibit.fault)
    yield from ("", f"## {number}. {exhibit.title}", "")
    yield from ("```diff", f"- {exhibit.wrong}", f"+ {exhibit.right}", "```", "")
    yield exhibit.looks
    yield from ("", "```text", *(part for line in said(fault) for part in _wrapped(line)), "```", "")
    yield f"![error of {fault.name}](gallery/{fault.name}.svg)"
    yield ""
    yield f"Seen: {fault.seen.rstrip('.')}."


def _wrapped(line: str) -> list[str]:
    """Return a line of the terminal in lines of the page."""
    more = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, WIDTH, subsequent_indent=more, break_long_words=False, break_on_hyphens=False)
