"""The points that a report draws: what is kept of a comparison, and how much."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from refdiff.conformance.clauses import spec_folder
from refdiff.conformance.comparison import Expected, compare
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain, Claim, Linear, Process, Times
from refdiff.conformance.judge import Judge
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.portable import dumped
from refdiff.conformance.series import MOST, POINTS, QUANTITIES, TIMES, Curves, Series, bounded
from tests.conformance.reports import series
from validation.checks.laws import record_draws
from validation.checks.suite import checks

FORM = FORMATS["float32"]
ULP = float(FORM.ulp(1.0))


def recorded(got: Sequence[float], bound: float = 4 * ULP, axis: str = "t", value: float = 1.0) -> tuple[Series, ...]:
    """Return what is recorded of one comparison at times 1, 2, 3, ..."""
    curves = Curves()
    at = np.arange(1.0, len(got) + 1.0)
    curves.compared("q", compare(got, Expected(value, bound)), axis, at, FORM)
    return curves.series("p")


def test_errors_are_in_ulp_of_the_expected_value() -> None:
    """Error and bound are counted in the distance of neighbours at the value; NaN is an infinite error."""
    (found,) = recorded([1.0, 1.0 + 2 * ULP, 1.0 - 7 * ULP, np.nan])
    assert found.points == ((1.0, 0.0, 4.0), (2.0, 2.0, 4.0), (3.0, 7.0, 4.0), (4.0, np.inf, 4.0))
    assert found.ratio == np.inf
    assert recorded([1.0 + ULP] * 4)[0].ratio == 0.25


def test_of_many_points_the_worst_of_each_interval_is_kept() -> None:
    """At most POINTS stay, in the order of time, and the worst of all is among them, wherever it was."""
    for place in (0, 1, 4321, 9999):
        got = 1.0 + ULP * np.random.default_rng(place).random(10_000)
        got[place] = 1.0 + 9 * ULP
        (found,) = recorded(got.tolist())
        assert POINTS // 2 <= len(found.points) <= POINTS
        assert found.of == 10_000
        # The axis is logarithmic: its beginning is shown as well as its end.
        assert sum(point[0] < 100.0 for point in found.points) >= POINTS // 5
        assert list(found.points) == sorted(found.points)
        assert (place + 1.0, 9.0) in [point[:2] for point in found.points]


def test_of_an_event_the_worst_number_is_kept() -> None:
    """An example has one time and many numbers: that closest to its bound stands for it."""
    got = np.ones((3, 2, 2))
    got[:, 1, 0] += np.array([1.0, 5.0, 2.0]) * ULP
    curves = Curves()
    curves.compared("q", compare(got, Expected(1.0, ULP)), "t", np.arange(3.0), FORM)
    assert [point[1] for point in curves.series("p")[0].points] == [1.0, 5.0, 2.0]


def test_what_has_no_time_or_no_ulp_is_left_out() -> None:
    """One number, a place that is no time, an expected 0, and what is outside of the domain are not drawn."""
    assert not recorded([1.0])
    assert not recorded([1.0] * 4, axis="n")
    assert not recorded([1.0] * 4, value=0.0)
    assert not recorded([1.0] * 4, bound=np.inf)
    assert recorded([1.0] * 4)


def test_a_check_cannot_flood_the_report() -> None:
    """However often a check compares, and however many quantities, what it records is bounded."""
    curves = Curves()
    for quantity in range(3 * QUANTITIES):
        for _ in range(3 * TIMES):
            comparison = compare(np.ones(100), Expected(1.0, ULP))
            curves.compared(f"q{quantity}", comparison, "t", np.arange(100.0), FORM)
            curves.law(f"q{quantity}", "p", [(0.5, 0.0, 1.0)] * 1000)
    found = curves.series("p")
    assert len(found) == 2 * QUANTITIES
    assert {one.of for one in found if one.kind == "errors"} == {100 * TIMES}
    assert max(len(one.points) for one in found) <= POINTS


def test_the_worst_series_are_kept_in_their_order() -> None:
    """Of more than MOST, those closest to their bounds stay, and so do runs and laws."""
    many = [series(bound=float(i)) for i in range(1, 2 * MOST)] + [series("order"), series("law")]
    kept = bounded(many)
    assert len(kept) == MOST
    assert list(kept) == [*many[: MOST - 2], *many[-2:]]
    assert bounded(many[:3]) == tuple(many[:3])


def test_json_round_trip_and_schema() -> None:
    """A series travels from a worker as strict JSON that meets the schema, infinite errors included."""
    schema = json.loads((spec_folder() / "report.schema.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator({**schema["$defs"]["outcome"], "$defs": schema["$defs"]})
    own = (*recorded([1.0, np.nan, 1.0, 2.0]), series("order"), series("law"))
    sent = json.loads(
        json.dumps(Outcome(clause="ABC-1", check="c", status="pass", series=own).as_json(), allow_nan=False)
    )
    validator.validate(sent)
    assert Outcome.from_json(sent).series == own
    sent["series"][0]["points"] = sent["series"][0]["points"] * POINTS
    assert not validator.is_valid(sent)


def test_a_report_without_series_is_read() -> None:
    """A report that was written before there were series has none."""
    data = Outcome(clause="ABC-1", check="c", status="pass").as_json()
    del data["series"]
    assert Outcome.from_json(data).series == ()


class Cancelling:
    """Computes sigma with a cancellation, in continuous time and on a chain."""

    claim = Claim(
        name="cancelling",
        version="1",
        dtype="float32",
        capabilities=frozenset({"schedule"}),
        processes=(Linear(beta_min=0.1, beta_max=20.0), Chain(betas=(0.1, 0.2, 0.3, 0.4))),
    )

    process: Process

    def build(self, process: Process) -> Cancelling:
        """Return one that keeps the process."""
        built = Cancelling()
        built.process = process
        return built

    def coefficients(self, t: Times) -> dict[str, object]:
        """Return alpha and sigma in float32."""
        if isinstance(self.process, Chain):
            log = np.cumsum(np.log1p(-np.array(self.process.betas)))[t - 1]
        else:
            log = -np.asarray(0.1 * t + 9.95 * t.astype(np.float64) ** 2)
        alpha = np.exp(log / 2).astype(np.float32)
        return {"alpha": alpha, "sigma": np.sqrt(1 - alpha * alpha)}


def test_a_judgement_records_passing_and_failing_comparisons() -> None:
    """Points of what passes and of what fails, by time and by index."""
    wanted = [
        one for one in checks() if one[0].clause in ("MAR-2", "MAR-3", "MAR-10") and one[0].needs == ("schedule",)
    ]
    found = [one for result in Judge.of(Cancelling()).judge(wanted) for one in result.series if "sigma" in one.quantity]
    assert {one.ratio > 1.0 for one in found} == {True, False}
    assert {(one.axis, one.process[:5]) for one in found} == {("t", "Linea"), ("k", "Chain")}


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_draws_are_shown_against_the_uniform_law(shift: float) -> None:
    """Draws of the law are near 0, and the difference of shifted ones is as large as the shift."""

    class Held:
        """Stands for a case."""

        curves = Curves()
        process = "p"

    record_draws(Held(), "q", np.clip(np.linspace(0.0, 1.0, 1001) - shift, 0.0, 1.0), 0.05)  # type: ignore[arg-type]  # what it reads of a case
    (one,) = Held.curves.series("p")
    assert max(abs(point[1]) for point in one.points) == pytest.approx(shift, abs=0.02)
    assert {point[2] for point in one.points} == {0.05}


def test_points_stand_on_one_line_and_change_nothing() -> None:
    """JSON of a report is the same data, whatever its texts say; only the points are not one number a line."""
    data = {
        "points": [[1.0, 2.0, "inf"], [3.0, 4.0, 5.0]],
        "texts": ('"points": 1', "[\n 1\n]"),
        "more": [{"points": []}],
    }
    text = dumped(data)
    assert json.loads(text) == {**data, "texts": ['"points": 1', "[\n 1\n]"]}
    assert ' "points": [[1.0, 2.0, "inf"], [3.0, 4.0, 5.0]],' in text.splitlines()
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumped({"points": [float("nan")]})
