"""Findings of a run from its rows of metrics (TRN-12). Each kind of finding is said once.

| finding | condition, with L +- e the loss of a row and of a bucket, I +- i its irreducible loss |
|---|---|
| stuck | after 500 steps, L > 0.98 times the loss of predicting 0 |
| below | in a bucket, I - L > 7 sqrt(e^2 + i^2) |
| rises | the median of the last 3 rows is more than 1.1 times M and M + 7 e, M the least median of 3 rows before |
| plateau | over 10 rows compared with the 10 before, the mean of L fell by less than 2 errors, and L > 3 I |

A normal variable is more than 7 standard deviations below its mean with probability 1.3e-12, so that over 1,000 rows
of 8 buckets and 1,000 comparisons of medians a false alarm has a probability below 1e-7. Errors of real losses have
heavier tails; the factor 1.1 and the medians, which one outlier does not move, make up for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import hypot, sqrt
from statistics import median
from typing import Any, TypeAlias, final

from refdiff.training import checks

Row: TypeAlias = dict[str, Any]
SIGMAS = 7.0
"""Number of standard errors of a significant difference."""
WINDOW = 3
"""Number of rows whose median is compared."""
RISE = 1.1
"""Least ratio of a loss that rises to the least loss before."""
LONG = 10
"""Number of rows of a plateau."""
FAR = 3.0
"""Ratio of loss to irreducible loss above which a plateau is reported."""


@final
@dataclass(slots=True, eq=False)
class Findings:
    """Finds each kind of fault once, in the rows of metrics of a run."""

    said: set[str] = field(default_factory=set)
    """Kinds that were found."""

    def of(self, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
        """Yield kind and sentence of what the last row of metrics shows, except for kinds found before."""
        trained = [row for row in rows if row["kind"] == "train" and "loss_error" in row]
        last = trained[-1]
        stuck = next(checks.stuck(last["loss"], last["trivial"], last["step"]), None)
        found = (("stuck", stuck), ("below", below(last)), ("rises", rises(trained)), ("plateau", plateau(trained)))
        for kind, finding in found:
            if finding and kind not in self.said:
                self.said.add(kind)
                yield kind, finding

    def resume(self, rows: Sequence[Row]) -> None:
        """Take over what the rows of an earlier part of the run say."""
        self.said.update(row["finding"] for row in rows if row["kind"] == "finding" and "finding" in row)


def below(row: Row) -> str | None:
    """Return a finding if the loss of a bucket is significantly below the irreducible loss."""
    least = row["bucket_irreducible"]
    if least is None:
        return None
    columns = (row["bucket_loss"], row["bucket_loss_error"], least, row["bucket_irreducible_error"])
    for bucket, (loss, error, floor, floor_error) in enumerate(zip(*columns, strict=True)):
        # With fewer than two losses an error is 0.
        if loss is not None and error and floor - loss > SIGMAS * hypot(error, floor_error):
            return (
                f"the loss of bucket {bucket} is {loss:.4g} +- {error:.2g}, below the irreducible loss "
                f"{floor:.4g} +- {floor_error:.2g} of any denoiser: check noise, target and weight of the loss"
            )
    return None


def rises(rows: Sequence[Row]) -> str | None:
    """Return a finding if the loss rose significantly above its least value so far."""
    losses, count = [row["loss"] for row in rows], len(rows) - WINDOW + 1
    if count <= WINDOW:
        return None
    medians = [median(losses[i : i + WINDOW]) for i in range(count)]
    last, before = medians[-1], medians[:-WINDOW]
    least = min(before)
    at = before.index(least)
    # The median of three rows has a smaller error than one of them.
    error = hypot(_error(rows[-WINDOW:]), _error(rows[at : at + WINDOW]))
    if last > RISE * least and last - least > SIGMAS * error:
        return (
            f"the loss rose from {least:.4g} near step {rows[at + 1]['step']} to {last:.4g}: check the learning rate, "
            "gradient clipping and precision"
        )
    return None


def plateau(rows: Sequence[Row]) -> str | None:
    """Return a note if the loss stopped falling far above the irreducible loss."""
    least = rows[-1]["bucket_irreducible"]
    if least is None or len(rows) < 2 * LONG:
        return None
    earlier, later = rows[-2 * LONG : -LONG], rows[-LONG:]
    one, other = (sum(row["loss"] for row in part) / LONG for part in (earlier, later))
    error = hypot(_error(earlier), _error(later)) / sqrt(LONG)
    # Both are means over the buckets, uniform in time.
    known = [loss for loss in rows[-1]["bucket_loss"] if loss is not None]
    mean, floor = sum(known) / max(1, len(known)), sum(least) / len(least)
    if one - other < 2.0 * error and mean > FAR * floor:
        ratio = mean / max(floor, 1e-30)
        return (
            f"the loss has not fallen significantly for {2 * LONG} rows, and {mean:.4g} is {ratio:.3g} times the "
            "irreducible loss: expected of a network that generalises; a larger network or another learning rate may "
            "lower it"
        )
    return None


def _error(rows: Sequence[Row]) -> float:
    """Return the root mean square of the standard errors of the losses."""
    return sqrt(sum(float(row["loss_error"]) ** 2 for row in rows) / len(rows))
