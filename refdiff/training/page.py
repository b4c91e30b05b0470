"""run.html: a run as one page that needs no network, written again and again while the run goes on."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from refdiff.errors import plain
from refdiff.templates import filled
from refdiff.training import files
from refdiff.training.drawing import Chart, Line, chart

TEMPLATE = Path(__file__).parent / "templates" / "run.html.j2"
REFRESH = 15
"""Seconds after which a browser loads the page of a run that goes on again."""
PICTURES, BYTES = 6, 1_000_000
"""Most pictures of samples on the page, and their size in all; the newest and those at even distances before it."""
EVALUATIONS = 20
"""Most evaluations in the table: the last."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a run is."""

    says: str
    """One line: data, network and device."""
    step: int
    steps: int
    end: str = ""
    """How it ended; empty while it goes on."""


def page(course: Course, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], out: Path) -> str:
    """Return run.html. rows: of `metrics.jsonl`; out: the folder of the run, for its pictures."""
    trained = [row for row in rows if row["kind"] == "train"]
    evaluated = [row for row in rows if row["kind"] == "evaluation"]
    held_out = next((row for row in reversed(rows) if row["kind"] == "held_out"), None)
    drawn = [_losses(trained), _by_time(trained, held_out), _distances(evaluated), _gradients(trained), _rates(trained)]
    return filled(
        TEMPLATE,
        course=course,
        refresh=REFRESH,
        state=_state(course, trained),
        charts=[one for one in drawn if one is not None],
        findings=[row for row in rows if row["kind"] == "finding"],
        evaluated=[_evaluation(row) for row in evaluated[-EVALUATIONS:]],
        pictures=pictures(out),
        settings=sorted(flat(settings).items()),
    )


def _state(course: Course, trained: Sequence[Mapping[str, Any]]) -> str:
    """Return one sentence: how far the run is, and its loss beside the least that any network can have."""
    how = course.end or "running"
    if not trained:
        return f"{how}: step {course.step:,} of {course.steps:,}"
    last = trained[-1]
    least = _floor(last)
    beside = f", of which {least:.4g} is irreducible" if least is not None else ""
    return f"{how}: step {course.step:,} of {course.steps:,}, loss {last['loss']:.4g}{beside}"


def _floor(row: Mapping[str, Any]) -> float | None:
    """Return the irreducible loss, the mean over the buckets of time."""
    least = row["bucket_irreducible"]
    return sum(least) / len(least) if least else None


def _losses(trained: Sequence[Mapping[str, Any]]) -> Chart | None:
    floors = [(row["step"], floor) for row in trained if (floor := _floor(row)) is not None]
    lines = [
        Line("loss, mean over all times", "solid", [(row["step"], row["loss"]) for row in trained]),
        Line("loss of predicting 0", "dotted", [(row["step"], row["trivial"]) for row in trained]),
        Line("irreducible loss on the training examples", "dashed", floors),
    ]
    return chart("Loss beside its floor", lines, across="step", logarithmic=True)


def _by_time(trained: Sequence[Mapping[str, Any]], held_out: Mapping[str, Any] | None) -> Chart | None:
    if not trained:
        return None
    last = trained[-1]
    lines = [
        Line("training, since the row before", "dots", _buckets(last["bucket_loss"])),
        Line("irreducible", "dashed", _buckets(last["bucket_irreducible"])),
        Line("held out, averaged weights", "crosses", _buckets(held_out["bucket_loss"] if held_out else None)),
    ]
    return chart("Loss by time", lines, across="position in the range of times", logarithmic=True)


def _buckets(values: Sequence[float | None] | None) -> list[tuple[float, float]]:
    found = values or ()
    return [((i + 0.5) / len(found), value) for i, value in enumerate(found) if value is not None]


def _distances(evaluated: Sequence[Mapping[str, Any]]) -> Chart | None:
    lines = [
        Line("samples", "solid", [(row["step"], row["frechet"]) for row in evaluated]),
        Line("samples, each evaluation", "dots", [(row["step"], row["frechet"]) for row in evaluated]),
        Line("training examples", "dashed", [(row["step"], row["baseline"]) for row in evaluated]),
    ]
    return chart("Fréchet distance to held-out examples", lines, across="step")


def _gradients(trained: Sequence[Mapping[str, Any]]) -> Chart | None:
    lines = [
        Line("mean", "solid", [(row["step"], row["gradient_norm"]) for row in trained]),
        Line("largest", "dotted", [(row["step"], row["gradient_norm_max"]) for row in trained]),
    ]
    return chart("Norm of the gradient", lines, across="step", logarithmic=True)


def _rates(trained: Sequence[Mapping[str, Any]]) -> Chart | None:
    lines = [Line("learning rate", "solid", [(row["step"], row["learning_rate"]) for row in trained])]
    return chart("Learning rate", lines, across="step")


def _evaluation(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the measures of samples, each with that of real examples in brackets; earlier versions had fewer."""
    found = {"step": f"{row['step']:,}", "Fréchet distance": f"{row['frechet']:.3g} ({row['baseline']:.3g})"}
    for name in ("precision", "recall", "coverage"):
        if "neighbours" in row:
            found[name] = f"{row['neighbours'][name]:.0%} ({row['neighbours_baseline'][name]:.0%})"
    for name in ("duplicates", "near_copies"):
        if name in row:
            found[name.replace("_", " ")] = f"{row[name]:.1%} ({row[f'{name}_held_out']:.1%})"
    return found


def pictures(out: Path) -> list[tuple[str, str]]:
    """Return names and addresses of pictures of samples, from the first to the last; the address holds the picture."""
    folder = out / "samples"
    names = sorted(path.name for path in folder.glob("step-*.png")) if files.is_folder(folder) else []
    if len(names) > PICTURES:
        names = [names[i * (len(names) - 1) // (PICTURES - 1)] for i in range(PICTURES)]
    paths = [folder / name for name in names] + [out / "samples.png"] * files.is_present(out / "samples.png")
    found: list[tuple[str, str]] = []
    left = BYTES
    for path in reversed(paths):
        content = _content(path)
        left -= len(content)
        if content and left >= 0:
            address = f"data:image/png;base64,{b64encode(content).decode('ascii')}"
            found.append((path.relative_to(out).as_posix(), address))
    return found[::-1]


def _content(path: Path) -> bytes:
    """Return a picture, or nothing if it cannot be read: a page is no reason to end a run."""
    try:
        with files.opened(path) as file:
            return file.read(BYTES + 1)
    except OSError:
        return b""


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as `table.name`, with their values as text."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = plain(str(value))
    return found
