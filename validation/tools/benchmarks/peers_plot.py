"""The plot of `peers`: quality against seconds of training, one line for each row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import exp, log
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .peers_rows import DDIM, ROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS, LINES = "os^Dv", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def draw(runs: Sequence[dict[str, Any]]) -> Figure:
    """Return the figure: a point for each run, and a line through the geometric means over seeds."""
    from matplotlib.figure import Figure  # lazy import: takes half a second, only needed here

    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.subplots()
    for i, row in enumerate(ROWS):
        _line(axes, i, row.name, [run for run in runs if run["row"] == row.name])
    axes.axhline(1.0, color="grey", ls=":", lw=1)
    budgets = sorted({run["budget"] for run in runs})
    axes.set(xscale="log", yscale="log", xlabel="seconds of training, one thread")
    axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set_ylabel("Fréchet distance to held-out digits,\nas a multiple of training digits'")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(which="both", axis="y", lw=0.4, alpha=0.5)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure


def _line(axes: Axes, i: int, name: str, mine: list[dict[str, Any]]) -> None:
    if not mine:
        return
    points = [(run["budget"], run["samplings"][str(DDIM)]["ratio"]) for run in mine]
    budgets = sorted({budget for budget, _ in points})
    means = [exp(fmean(log(ratio) for at, ratio in points if at == budget)) for budget in budgets]
    look: dict[str, Any] = {"color": f"C{i}", "marker": MARKERS[i]}
    axes.plot(budgets, means, ls=LINES[i], label=name, **look)
    axes.plot(*zip(*points, strict=True), ls="", alpha=0.5, ms=4, **look)
    others = [
        (run["budget"], found["ratio"])
        for run in mine
        for sampler, found in run["samplings"].items()
        if sampler != str(DDIM)
    ]
    if others:
        label = f"{name}: {next(iter(s for run in mine for s in run['samplings'] if s != str(DDIM)))} steps"
        axes.plot(*zip(*others, strict=True), ls="", mfc="none", ms=9, label=label, **look)


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG, with text as text and without a date, so that runs are reproducible."""
    import matplotlib as mpl  # lazy import: as above

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "peers", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
