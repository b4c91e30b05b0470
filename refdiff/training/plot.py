"""The plot of a run, from its rows of metrics."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(rows: list[dict[str, Any]]) -> bytes:
    """Return the plot of a run as PNG."""
    from matplotlib.figure import Figure  # lazy import: takes half a second, only needed here

    trained = [row for row in rows if row["kind"] == "train"]
    held_out = next((row["bucket_loss"] for row in reversed(rows) if row["kind"] == "held_out"), None)
    evaluated = [row for row in rows if row["kind"] == "evaluation"]
    figure = Figure(figsize=(16, 8), layout="constrained")
    course, time, slope, distance, shares, copies = figure.subplots(2, 3).ravel()
    _losses(course, trained)
    _losses_by_time(time, trained, held_out)
    _gradients(slope, trained)
    _distances(distance, evaluated)
    _shares(shares, evaluated)
    _copies(copies, evaluated)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _losses(axes: Axes, trained: list[dict[str, Any]]) -> None:
    axes.plot([row["step"] for row in trained], [row["loss"] for row in trained])
    axes.set(title="loss, mean over all times", xlabel="step", yscale="log")
    if trained:
        axes.axhline(trained[-1]["trivial"], color="grey", ls=":", label="loss of predicting 0")
        axes.legend()


def _losses_by_time(axes: Axes, trained: list[dict[str, Any]], held_out: list[float] | None) -> None:
    axes.set(title="loss by time, at the end", xlabel="position in the range of times", xlim=(0, 1))
    if not trained:
        return
    last = [loss if loss is not None else 0.0 for loss in trained[-1]["bucket_loss"]]
    middles = [(i + 0.5) / len(last) for i in range(len(last))]
    axes.bar(middles, last, width=0.9 / len(last), color="C0", alpha=0.6, label="training")
    if held_out:
        axes.plot(middles, held_out, "C1o", label="held out, EMA weights")
    if least := trained[-1]["bucket_irreducible"]:
        error = trained[-1]["bucket_irreducible_error"]
        axes.errorbar(middles, least, error, fmt="k_", ms=20, mew=2, label="irreducible loss (training examples)")
    axes.legend()


def _gradients(axes: Axes, trained: list[dict[str, Any]]) -> None:
    steps = [row["step"] for row in trained]
    axes.plot(steps, [row["gradient_norm"] for row in trained], label="gradient norm, mean")
    axes.plot(steps, [row["learning_rate"] for row in trained], label="learning rate")
    axes.set(title="gradient norm and learning rate", xlabel="step", yscale="log")
    axes.legend()


def _distances(axes: Axes, evaluated: list[dict[str, Any]]) -> None:
    axes.plot([row["step"] for row in evaluated], [row["frechet"] for row in evaluated], "o-", label="samples")
    axes.set(title="Fréchet distance to held-out examples", xlabel="step")
    if evaluated:
        axes.axhline(evaluated[-1]["baseline"], color="grey", ls=":", label="baseline: training examples")
        axes.legend()


def _shares(axes: Axes, evaluated: list[dict[str, Any]]) -> None:
    """Precision, recall and coverage; rows of earlier versions have none."""
    told = [row for row in evaluated if "neighbours" in row]
    steps = [row["step"] for row in told]
    for i, name in enumerate(("precision", "recall", "coverage")):
        axes.plot(steps, [row["neighbours"][name] for row in told], f"C{i}o-", label=name)
        if told:
            axes.axhline(told[-1]["neighbours_baseline"][name], color=f"C{i}", ls=":")
    axes.set(title="nearest neighbours (dotted: training examples)", xlabel="step", ylim=(0, 1.05))
    axes.legend()


def _copies(axes: Axes, evaluated: list[dict[str, Any]]) -> None:
    """Duplicates and near copies; rows of earlier versions have none."""
    told = [row for row in evaluated if "duplicates" in row]
    steps = [row["step"] for row in told]
    for i, name in enumerate(("duplicates", "near_copies")):
        axes.plot(steps, [row[name] for row in told], f"C{i}o-", label=name.replace("_", " "))
        if told:
            axes.axhline(told[-1][f"{name}_held_out"], color=f"C{i}", ls=":")
    axes.set(title="copies of training examples (dotted: held out)", xlabel="step", ylim=(-0.02, 1.02))
    axes.legend()
