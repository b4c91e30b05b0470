"""The reproducer reproduces: run as printed, it gives the number that the report says was got."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from refdiff.conformance.case import Case
from refdiff.conformance.guard import Call
from refdiff.conformance.interface import Linear
from refdiff.conformance.judge import Judge
from refdiff.conformance.loading import Member
from refdiff.conformance.reproducer import Predicts, reproducer
from validation.checks.suite import checks


def test_reproducer_gives_the_number_got(capsys: pytest.CaptureFixture[str]) -> None:
    """Executed in an empty namespace, line by line as printed; it prints what was expected too."""
    wanted = {"test_alpha", "test_sigma_of_perturb", "test_perturb"}
    outcomes = Judge.of("tests.meta.targets.bad:right").judge(c for c in checks() if c[1].__name__ in wanted)
    found = [outcome.worst for outcome in outcomes if outcome.worst]
    assert len(found) == 3
    for worst in found:
        assert len(worst.reproducer.splitlines()) == 6
        result: dict[str, object] = {}
        exec(worst.reproducer.replace("print(built", "result = (built"), result)  # noqa: S102  # the text under test
        told = capsys.readouterr().out
        assert f"{worst.quantity} = {worst.want:.9g} within {worst.bound:.3g}" in told
        assert f"the suite got {worst.got:.9g}" in told
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


@pytest.mark.parametrize(
    ("name", "rule", "shown"),
    [
        ("wrong_shape", "CON-2", "float32 ("),
        ("wrong_dtype", "CON-2", "float64 ("),
        ("not_an_array", "CON-2", "<class 'list'>"),
        ("mutates", "CON-3", "the arguments afterwards:"),
        ("random_results", "CON-4", "CON-4: "),
        ("raises", "CON-5", "perturb raised KeyError"),
    ],
)
def test_reproducer_shows_the_broken_rule(name: str, rule: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence of the report comes first, then what the rule is about: dtype and shape, arguments, both results."""
    outcomes = Judge.of(f"tests.meta.targets.bad:{name}").judge(
        c for c in checks() if "perturb" in c[0].needs or c[0].clause == rule
    )
    codes = [o.reproducer for o in outcomes if o.clause == rule and o.reproducer]
    assert codes
    with suppress(KeyError):
        exec(codes[0], {})  # noqa: S102  # the text under test
    told, *printed = capsys.readouterr().out.splitlines()
    assert told.startswith(f"{rule}: ")
    assert any(shown in line for line in (told, *printed))
    if name == "wrong_shape":
        assert printed[-1].endswith(told.partition("got ")[2])
    if rule == "CON-3":
        before, after = "\n".join(printed).removeprefix("the arguments before: ").split("the arguments afterwards: ")
        assert before.strip() != after.strip()
    if rule == "CON-4":
        one, other = "\n".join(printed).split("\n\n")
        assert one != other


def test_reproducer_shows_what_the_denoiser_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """A loss is wrong in what it asks of the network as often as in what it makes of the answer."""
    member = Member(process=Linear(beta_min=0.1, beta_max=20.0), expression="Linear(beta_min=0.1, beta_max=20.0)")
    x_0, t = np.ones((1, 2), np.float32), np.array([0.5], np.float32)
    arguments = (Predicts(x_0), "eps", x_0, x_0, t, "uniform")
    code = reproducer("refdiff.conformance.reference:target", member, Call("loss", arguments), None)
    exec(code, {})  # noqa: S102  # the text under test
    assert "the denoiser is given" in capsys.readouterr().out


def test_history_is_whole() -> None:
    """A row of a history is no example: the call is repeated with all of it, and gives the number got."""
    (outcome,) = Judge.of("refdiff.conformance.reference:target").judge(
        c for c in checks() if c[1].__name__ == "test_recursion"
    )
    assert outcome.worst is not None
    result: dict[str, object] = {}
    exec(outcome.worst.reproducer.replace("print(built", "result = (built"), result)  # noqa: S102  # the text under test
    assert outcome.worst.got in np.asarray(result["result"], dtype=np.float64)


def test_average_is_judged_once_a_kind() -> None:
    """Ten processes, three kinds: what knows nothing of a process is not asked of each."""
    seen = []
    (check,) = {c[0] for c in checks() if c[1].__name__ == "test_recursion"}

    def once(case: Case) -> None:
        case.once_a_kind()
        seen.append(type(case.process).__name__)

    (outcome,) = Judge.of("refdiff.conformance.reference:target").run(check, once)
    assert seen == ["Linear", "Cosine", "Chain"]
    assert outcome.status == "not_claimed"
