"""The reproducer reproduces: run as printed, it gives the number that the report says was got."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.guard import Call
from refdiff.conformance.interface import Linear
from refdiff.conformance.judge import Judge
from refdiff.conformance.loading import Member
from refdiff.conformance.reproducer import reproducer
from refdiff.conformance.subject import Subject
from validation.checks.suite import checks


def test_reproducer_gives_the_number_got() -> None:
    """Executed in an empty namespace, line by line as printed."""
    wanted = {"test_alpha", "test_sigma_of_perturb", "test_perturb"}
    outcomes = Judge.of("tests.meta.targets.bad:right").judge(c for c in checks() if c[1].__name__ in wanted)
    found = [outcome.worst for outcome in outcomes if outcome.worst]
    assert len(found) == 3
    for worst in found:
        assert len(worst.reproducer.splitlines()) == 5
        result: dict[str, object] = {}
        exec(worst.reproducer.replace("print(", "result = ("), result)  # noqa: S102  # the text under test
        values = result["result"]
        numbers = values[worst.quantity] if isinstance(values, dict) else np.asarray(values).ravel()
        assert worst.got in np.asarray(numbers, dtype=np.float64)


def test_whole_batch_and_large_arguments() -> None:
    """Without an example, the batch is whole; what is too large is stood for by its shape."""
    member = Member(process=Linear(beta_min=0.1, beta_max=20.0), expression="Linear(beta_min=0.1, beta_max=20.0)")
    arguments = (np.ones((2, 1), np.float32), np.ones((2, 100), np.float32), "eps")
    code = reproducer("", member, Call("convert", arguments), None)
    assert "np.array([[1.0], [1.0]], np.float32), np.zeros((2, 100), np.float32), 'eps'" in code
    assert "from your_module import your_factory as factory" in code


def test_history_is_whole() -> None:
    """A row of a history is no example: the call is repeated with all of it, and gives the number got."""
    (outcome,) = Judge.of("refdiff.conformance.reference:target").judge(
        c for c in checks() if c[1].__name__ == "test_recursion"
    )
    assert outcome.worst is not None
    result: dict[str, object] = {}
    exec(outcome.worst.reproducer.replace("print(", "result = ("), result)  # noqa: S102  # the text under test
    assert outcome.worst.got in np.asarray(result["result"], dtype=np.float64)


def test_average_is_judged_once_a_kind() -> None:
    """Ten processes, three kinds: what knows nothing of a process is not asked of each."""
    seen = []
    (check,) = {c[0] for c in checks() if c[1].__name__ == "test_recursion"}

    def once(subject: Subject) -> None:
        subject.once_a_kind()
        seen.append(type(subject.process).__name__)

    (outcome,) = Judge.of("refdiff.conformance.reference:target").run(check, once)
    assert seen == ["Linear", "Cosine", "Chain"]
    assert outcome.status == "not_claimed"
