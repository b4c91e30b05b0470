"""Bad targets: each ends in one plain line that names clause and cause, and the other clauses still run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.guard import Built, ContractViolation, guarded, one_line
from refdiff.conformance.interface import Claim, Linear, Process, Unsupported
from refdiff.conformance.judge import Judge, Settings
from validation.checks.suite import checks

HERE = "tests.meta.targets.bad"
BAD = {
    "missing_method": ("CON-1", "the claim lists 'perturb', but build() returned an object without it"),
    "wrong_shape": ("CON-2", "expected perturb of shape"),
    "wrong_dtype": ("CON-2", "expected perturb of dtype float32, got float64"),
    "not_an_array": ("CON-2", "expected perturb as a numpy.ndarray"),
    "raises": ("CON-5", "perturb raised KeyError: 'no such step"),
    "exits": ("CON-5", "perturb raised SystemExit: 0"),
    "writes": ("CON-3", "perturb writes to its input"),
    "mutates": ("CON-3", "perturb changed its argument number 2 in place"),
    "hangs": ("CON-5", "perturb did not return within 0.2 s"),
}
FAST = [
    (check, body) for check, body in checks() if check.clause in ("CON-1", "CON-2", "CON-3", "CON-5", "MAR-1", "MAR-4")
]


@pytest.mark.parametrize("name", BAD)
def test_bad_target(name: str) -> None:
    """The rule broken fails, and so does the clause that met it; what does not touch the method passes."""
    clause, cause = BAD[name]
    outcomes = Judge.of(f"{HERE}:{name}", Settings(seconds=0.2)).judge(FAST)
    rule = [o for o in outcomes if o.clause == clause and o.status == "fail"]
    assert rule
    assert all(cause in o.reason and "\n" not in o.reason for o in rule)
    met = [o for o in outcomes if o.clause == "MAR-4" and o.status == "fail"]
    assert met
    assert all(cause in o.reason for o in met)
    assert [o.status for o in outcomes if o.check == "test_alpha"] == ["pass"]


def test_nan_fails_the_clause_with_its_place() -> None:
    """NaN is within no bound."""
    outcomes = Judge.of(f"{HERE}:gives_nan").judge(FAST)
    failed = next(o for o in outcomes if o.clause == "MAR-4")
    assert failed.status == "fail"
    assert "got nan" in failed.reason
    assert "t=" in failed.reason


def test_own_noise_is_caught() -> None:
    """CON-4: a call that gives another result each time."""
    outcomes = Judge.of(f"{HERE}:random_results").judge(checks())
    failed = [o for o in outcomes if o.clause == "CON-4" and o.status == "fail"]
    assert failed
    assert "gives another result when called again" in failed[0].reason


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        (
            "no_such_module:target",
            "importing no_such_module raised ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (f"{HERE}:nothing", f"{HERE} has no attribute 'nothing'"),
        (f"{HERE}:HERE_IS_A_STRING", f"{HERE} has no attribute 'HERE_IS_A_STRING'"),
        (f"{HERE}:RIGHT", f"expected {HERE}:RIGHT to be a function that returns a target, got Plain"),
        (f"{HERE}:no_claim", "expected the target's claim as refdiff's Claim, got NoneType"),
        (f"{HERE}:fails_to_start", f"{HERE}:fails_to_start() raised RuntimeError: weights not found"),
    ],
)
def test_target_that_does_not_load(spec: str, cause: str) -> None:
    """CON-1 fails with the cause, and the other clauses are not run."""
    outcomes = Judge.of(spec).judge(FAST)
    assert {o.status for o in outcomes if o.clause == "CON-1"} == {"fail"}
    assert {o.status for o in outcomes if o.clause != "CON-1"} == {"not_run"}
    assert {o.reason for o in outcomes} == {cause}


def test_a_hung_method_is_not_called_again() -> None:
    """CON-5: a hang costs its limit once."""

    class Hangs:
        calls = 0

        def perturb(self, *_: object) -> None:
            self.calls += 1
            while True:
                pass

    made = Hangs()
    built = Built(made, FORMATS["float32"], 0.1, is_chain=False)
    x = np.zeros((1, 1), np.float32)
    for _ in range(3):
        with pytest.raises(ContractViolation, match=r"did not return within 0\.1 s"):
            built.perturb(x, x, x[0])
    assert made.calls == 1


def test_unsupported_passes_through() -> None:
    """A target that says so is not misbehaving."""

    def refuse() -> None:
        raise Unsupported("no such thing here")

    with pytest.raises(Unsupported, match="no such thing here"):
        guarded("refuse", 1.0, refuse)


class _Refusal(Exception):
    """How some library refuses."""


def _while_handling(error: Exception, *, chained: bool = False, hidden: bool = False) -> None:
    try:
        raise error
    except Exception as caught:  # as a careless adapter does
        if chained:
            raise Unsupported("no such thing here") from caught
        if hidden:
            raise Unsupported("no such thing here") from None
        raise Unsupported("no such thing here")  # noqa: B904  # the fault


@pytest.mark.parametrize("how", [{}, {"chained": True}, {"hidden": True}], ids=["plain", "from", "from None"])
def test_refusal_that_hides_an_exception_is_a_failure(how: dict[str, bool]) -> None:
    """CON-5: a blanket `except Exception: raise Unsupported` is the exception that it hides."""
    with pytest.raises(
        ContractViolation, match="raised Unsupported while it handled IndexError: out of range"
    ) as failure:
        guarded("refuse", 1.0, lambda: _while_handling(IndexError("out of range"), **how))
    assert failure.value.clause == "CON-5"
    # Also behind another refusal.
    with pytest.raises(ContractViolation, match="IndexError"):
        guarded("refuse", 1.0, lambda: _again(lambda: _while_handling(IndexError("out of range"), **how)))


def _again(call: Callable[[], None]) -> None:
    try:
        call()
    except Unsupported as refusal:
        raise Unsupported(f"again: {refusal}") from refusal


def test_refusal_by_the_library_passes_through() -> None:
    """CON-5: `from` an exception that the claim lists, and from no other; a refusal passed on is one."""
    for error in (NotImplementedError("not built"), NotImplementedError()):
        with pytest.raises(Unsupported, match="no such thing here"):
            guarded("refuse", 1.0, partial(_while_handling, error, chained=True))
    with pytest.raises(ContractViolation, match="while it handled NotImplementedError"):
        guarded("refuse", 1.0, lambda: _while_handling(NotImplementedError(), hidden=True))
    with pytest.raises(ContractViolation, match="while it handled _Refusal"):
        guarded("refuse", 1.0, lambda: _while_handling(_Refusal(), chained=True))
    with pytest.raises(Unsupported):
        guarded("refuse", 1.0, lambda: _while_handling(_Refusal(), chained=True), refusals=(_Refusal,))
    with pytest.raises(Unsupported, match="again: no such thing here"):
        guarded("refuse", 1.0, lambda: _again(lambda: _while_handling(NotImplementedError(), chained=True)))


def test_what_the_suite_handles_is_not_hidden_by_the_target() -> None:
    """A call made while the suite handles an exception of its own is judged as any other."""

    def refuse() -> None:
        raise Unsupported("no such thing here")

    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        with pytest.raises(Unsupported, match="no such thing here"):
            guarded("refuse", 1.0, refuse)


def test_refusals_of_the_claim_are_those_of_its_calls() -> None:
    """CON-5: `Claim.refusals` reaches `build` and every method."""

    class Careful:
        claim = Claim(
            name="careful",
            version="1",
            dtype="float32",
            processes=(Linear(beta_min=0.1, beta_max=20.0),),
            capabilities=frozenset({"perturb"}),
            refusals=(_Refusal,),
        )

        def build(self, process: Process) -> Careful:
            return self

        def perturb(self, *_: object) -> None:
            _while_handling(_Refusal("not on this device"), chained=True)

    outcomes = Judge.of(Careful()).judge(FAST)
    assert {o.status for o in outcomes if o.clause == "MAR-4"} == {"unsupported"}
    assert "fail" not in {o.status for o in outcomes}


def test_messages_are_one_line_of_print() -> None:
    """Control characters are shown escaped, not sent to the terminal."""
    assert one_line(ValueError("\x1b[2Jgone\x00" + 400 * "x")).startswith("ValueError: \\x1b[2Jgone\\x00xxx")
    assert len(one_line(ValueError(400 * "x"))) <= 303


def test_objects_that_have_every_attribute_are_called() -> None:
    """A target that answers to any name is no proxy of the suite's."""
    made = Mock()
    made.coefficients.return_value = {"alpha": np.ones(1, np.float32)}
    assert set(Built(made, FORMATS["float32"], 1.0, is_chain=False).coefficients(np.ones(1, np.float32))) == {"alpha"}


def test_warnings_of_the_target_are_its_own() -> None:
    """A session that turns warnings into errors does not turn a target's into failures."""
    assert np.isinf(guarded("divide", 1.0, lambda: np.float32(1) / np.float32(0)))


def test_coefficients_are_named_by_the_contract() -> None:
    """CON-2: a name outside the closed set, and beta for a chain."""

    class Made:
        def coefficients(self, t: np.ndarray) -> dict[str, np.ndarray]:
            return {"beta": t.astype(np.float32)}

    k = np.arange(1, 3)
    with pytest.raises(ContractViolation, match="'beta' for a chain"):
        Built(Made(), FORMATS["float32"], 1.0, is_chain=True).coefficients(k)
    assert set(Built(Made(), FORMATS["float32"], 1.0, is_chain=False).coefficients(k)) == {"beta"}


def test_bfloat16_travels_as_float32_that_it_holds() -> None:
    """CON-2: a value with more bits than the claimed dtype."""

    class Made:
        def perturb(self, x_0: np.ndarray, eps: np.ndarray, t: np.ndarray) -> np.ndarray:
            return x_0 + np.float32(2.0**-12)

    built = Built(Made(), FORMATS["bfloat16"], 1.0, is_chain=False)
    one = np.ones((1, 1), np.float32)
    with pytest.raises(ContractViolation, match="values of bfloat16"):
        built.perturb(one, one, one[0])


@pytest.mark.parametrize("told", [np.ones(3, np.float32), np.ones(2), [1.0, 1.0, 1.0]])
def test_declared_decays_are_float64(told: object) -> None:
    """CON-2: decays are numbers of the run, whatever dtype the weights have."""
    built = Built(SimpleNamespace(decays=lambda decay, n: told), FORMATS["float32"], 5.0, is_chain=False)
    with pytest.raises(ContractViolation, match=r"expected decays as float64 \(3,\), got"):
        built.decays(0.9, 3)


def test_declared_decays_that_are_missing_break_the_claim() -> None:
    """CON-1: a claim that declares its decays has a method that tells them."""
    with pytest.raises(ContractViolation, match="the claim lists 'decays', but build") as caught:
        Built(SimpleNamespace(), FORMATS["float32"], 5.0, is_chain=False).decays(0.9, 3)
    assert caught.value.clause == "CON-1"
