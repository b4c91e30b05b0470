"""The session that the page of the protocol shows: the bytes of a real one, in both directions."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refdiff.conformance.calls import ContractViolation
from refdiff.conformance.child import Child, Limit
from refdiff.conformance.interface import Chain, Linear, Unsupported
from refdiff.conformance.remote import Launch, Remote
from refdiff.conformance.step import Step
from tests.conformance.programs import EXAMPLES, plant

PAGE = Path(__file__).parents[2] / "spec" / "protocol.md"
ONE, HALF, QUARTER = (np.array([x], np.float32) for x in (1.0, 0.5, 0.25))

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the path")


def shown() -> list[str]:
    """Return the lines of the session on the page."""
    (block,) = re.findall(r"^## A session\n.*?^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return str(block).splitlines()


def recorded(script: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that cross in a session with a program, each with the mark of who writes it."""
    lines: list[str] = []
    send, receive = Child.send, Child.receive

    def sent(self: Child, line: bytes) -> None:
        lines.extend(f"> {one}" for one in line.decode("ascii").splitlines())
        send(self, line)

    def received(self: Child, limit: Limit) -> bytes:
        line = receive(self, limit)
        lines.append(f"< {line.decode()}")
        return line

    with monkeypatch.context() as patch:
        patch.setattr(Child, "send", sent)
        patch.setattr(Child, "receive", received)
        target = Remote(Launch(command=f"node '{script}'"))
        talk(target)
        target.close()
    return lines


def talk(target: Remote) -> None:
    """Make the calls of the session."""
    built = target.build(Linear(beta_min=0.1, beta_max=20.0))
    built.coefficients(HALF)
    built.loss(lambda x_t, t: np.zeros_like(x_t), "eps", ONE, HALF, HALF, "uniform")
    built.step(ONE, HALF, HALF, QUARTER, ONE, Step(kind="ddim", eta=0.5))
    chain = target.build(Chain(betas=(0.1, 0.2)))
    with pytest.raises(Unsupported, match="a chain has no rate"):
        chain.loss(lambda x_t, t: x_t, "eps", ONE, HALF, np.array([2]), "likelihood")
    with pytest.raises(ContractViolation, match="guide raised Error: no such method"):
        target.ask({"do": "call", "object": 2, "method": "guide", "arguments": []}, "guide", 20.0)
    del built
    chain.perturb(ONE, HALF, np.array([2]))


def test_session_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, what the suite writes and what the example in JavaScript answers."""
    assert recorded(EXAMPLES / "target.js", monkeypatch) == shown()


def test_program_ends_with_its_input() -> None:
    """Given all lines of the suite at once, the program writes its own, and ends when its input does."""
    lines = shown()
    given = "".join(f"{line[2:]}\n" for line in lines if line.startswith("> "))
    command = [str(shutil.which("node")), str(EXAMPLES / "target.js")]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [line[2:] for line in lines if line.startswith("< ")]


def test_another_answer_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that rounds one number otherwise writes another line."""
    change = ("alpha: each(t, (q) => q.alpha)", "alpha: each(t, (q) => q.alpha * (1 + 1e-7))")
    script = plant(tmp_path, "target.js", change)
    lines = recorded(script, monkeypatch)
    assert [i for i, (a, b) in enumerate(zip(lines, shown(), strict=True)) if a != b] == [4]
