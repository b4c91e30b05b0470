"""The protocol (spec/protocol.md): values come back as they were, messages keep to the schema, nonsense is refused."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jsonschema import Draft202012Validator

from refdiff.conformance import interface, protocol
from refdiff.conformance.averaging import Equal, Power, Ratio
from refdiff.conformance.calls import ContractViolation, Stranger
from refdiff.conformance.child import Child, Limit
from refdiff.conformance.interface import (
    METHODS,
    Chain,
    Claim,
    Cosine,
    Draws,
    Grid,
    Linear,
    MinSNR,
    NoProcess,
    Own,
    Sampler,
)
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.protocol import Handle, Malformed
from refdiff.conformance.remote import Launch, Remote
from refdiff.conformance.step import Step
from refdiff.errors import ConfigError, RefdiffError
from tests.conformance.test_remote import FAST, LINEAR, T, X
from validation.checks.suite import checks

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "spec" / "protocol.schema.json").read_text())
CLAIM = Claim(
    name="mine",
    version="1",
    dtype="float64",
    processes=(Linear, Cosine(s=0.1), Chain(betas=(0.1, 0.2)), Own(label="x", sigma_min=0.25), NoProcess()),
    capabilities=frozenset(METHODS),
    grid=Grid(t_min=1e-3, last=1),
    samplers=(Sampler(name="heun", prediction="x_0", order=2), Sampler(name="em", stochastic=True, times="grid")),
    reduction="all_mean",
    weights=("uniform", MinSNR(gamma=2.5), MinSNR),
    predictions=("v", "eps"),
    conversions=(("v", "x_0"), ("x_0", "eps")),
    loss_factor=0.5,
    t_min=0.1,
    t_max=0.9,
    events=((), (3, 8, 8)),
    draws=Draws(t_min=0.2, t_max=None, density="declared", weights="free"),
)
DTYPES = st.sampled_from(["bool", "int8", "int64", "uint16", "float16", "float32", "float64", "complex128"])


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_arrays_come_back_to_the_bit(array: np.ndarray, transposed: bool) -> None:
    """Dtype, shape and bytes, NaNs and empty arrays among them; strides are nobody's business."""
    sent = array.T if transposed else array
    message = json.loads(protocol.pack({"id": 1, "result": protocol.encode(sent)}))
    Draft202012Validator(SCHEMA).validate(message)
    back = protocol.decode(message["result"])
    assert (back.dtype, back.shape, back.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())


def test_other_values() -> None:
    """Tuples, mappings, floats that are not finite, handles; the rest is its type in words."""
    value = (1, 2.5, MinSNR(gamma=3.0), None, True, {"a": np.ones(2), "b": math.inf}, Handle(7, ("perturb", "fit")))
    back = protocol.decode(json.loads(protocol.pack({"x": protocol.encode(value)}))["x"])
    assert back[:5] == value[:5]
    assert back[5]["b"] == math.inf
    assert back[6] == Handle(7, ("perturb", "fit"))
    assert math.isnan(protocol.decode(protocol.encode(math.nan)))
    for odd, kind in (([1], "list"), (np.float32(1), "numpy.float32"), (np.array(["x"]), "numpy.ndarray of dtype <U1")):
        stranger = protocol.decode(protocol.encode(odd))
        assert isinstance(stranger, Stranger)
        assert stranger.kind == kind
    assert protocol.encode(np.ones(1, ">f4")) == {"type": "numpy.ndarray of dtype >f4"}


def test_claims_come_back() -> None:
    """With every field but refusals; what has a default may be left out."""
    message = json.loads(protocol.pack({"protocol": 1, "claim": protocol.encode_claim(CLAIM)}))
    Draft202012Validator(SCHEMA).validate(message)
    assert protocol.decode_claim(message["claim"]) == CLAIM
    short = {name: message["claim"][name] for name in ("name", "version", "dtype", "processes", "capabilities")}
    short["capabilities"] = [name for name in short["capabilities"] if name != "sample"]
    assert protocol.decode_claim(short).reduction == "none"
    for rule in (None, "declared", Ratio(offset=9.0), Power(power=0.75, after=3), Equal()):
        warm = json.loads(protocol.pack({"protocol": 1, "claim": protocol.encode_claim(replace(CLAIM, warm_up=rule))}))
        Draft202012Validator(SCHEMA).validate(warm)
        assert protocol.decode_claim(warm["claim"]).warm_up == rule
    wrongs: tuple[Any, ...] = (
        {},
        [],
        {**short, "refusals": []},
        {**short, "name": 3},
        {**short, "processes": "Linear"},
        {**short, "processes": ["Own"]},
        {**short, "processes": ["Claim"]},
        {**short, "processes": [{"kind": "Linear"}]},
        {**short, "processes": [{"kind": "Linear", "beta_min": "x", "beta_max": []}]},
        {**short, "processes": [3]},
        {**short, "capabilities": [{}]},
        {**short, "capabilities": ["everything"]},
        {**short, "weights": "uniform"},
        {**short, "weights": ["MinSNR", {"kind": "MinSNR", "gamma": -1}]},
        {**short, "weights": [{"kind": "MinSNR", "gamma": "x"}]},
        {**short, "loss_factor": -1},
        {**short, "warm_up": {"kind": "Linear"}},
        {**short, "warm_up": {"kind": "Ratio", "offset": "x"}},
        {**short, "warm_up": []},
        {**short, "predictions": "eps"},
        {**short, "predictions": 3},
        {**short, "predictions": []},
        {**short, "predictions": [["eps"]]},
        {**short, "conversions": ["eps"]},
        {**short, "conversions": [["eps", {}]]},
        {**short, "draws": 3},
        {**short, "draws": {"t_min": "x"}},
        {**short, "grid": {"t_min": "x"}},
        {**short, "grid": {"last": 0.5}},
        {**short, "samplers": {"name": "heun"}},
        {**short, "samplers": [{"order": 2}]},
        {**short, "samplers": [{"name": "heun", "order": "x"}]},
        {**short, "capabilities": ["sample"]},
        {**short, "events": 3},
        {**short, "events": [["x"]]},
        {**short, "t_min": []},
        {**short, "more": 1},
    )
    for wrong in wrongs:
        with pytest.raises((Malformed, ConfigError)):
            protocol.decode_claim(wrong)


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data", "fields", "number", "type", "handle"]), inner)
    ),
    max_leaves=8,
)


@given(NONSENSE)
def test_nonsense_is_refused_or_read(value: Any) -> None:
    """Whatever JSON brings is a value, or Malformed."""
    try:
        protocol.decode(value)
    except Malformed:
        return


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": "float32", "shape": [2], "data": "AACAPw=="},
        {"dtype": "float32", "shape": [2**39, 2**39], "data": ""},
        {"dtype": "float32", "shape": [-1], "data": ""},
        {"dtype": "float32", "shape": [True], "data": "AACAPw=="},
        {"dtype": "float32", "shape": [1], "data": "AACAPw=\n="},
        {"dtype": "float32", "shape": [1], "data": "\u00e4"},
        {"dtype": "object", "shape": [1], "data": "AACAPw=="},
        {"dtype": "float32", "shape": [1] * 33, "data": "AACAPw=="},
        {"dtype": ["float32"], "shape": [1], "data": "AACAPw=="},
        {"number": 1.0},
        {"number": []},
        {"handle": -0.5, "methods": []},
        {"handle": True, "methods": []},
        {"fields": []},
        {},
    ],
)
def test_malformed_values(value: Any) -> None:
    """One reason each, and no memory taken before the shape is seen to fit the data."""
    with pytest.raises(Malformed):
        protocol.decode(value)


@pytest.mark.parametrize("line", [b"", b"[]", b"null", b'{"a": NaN}', b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_malformed_lines(line: bytes) -> None:
    """No JSON object."""
    with pytest.raises(Malformed):
        protocol.unpack(line)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return every message that crosses while the test runs."""
    seen: list[dict[str, Any]] = []
    send, receive = Child.send, Child.receive

    def sent(self: Child, line: bytes) -> None:
        seen.extend(map(json.loads, line.splitlines()))
        send(self, line)

    def received(self: Child, limit: Limit) -> bytes:
        line = receive(self, limit)
        seen.append(json.loads(line))
        return line

    monkeypatch.setattr(Child, "send", sent)
    monkeypatch.setattr(Child, "receive", received)
    return seen


@pytest.mark.parametrize(
    "spec",
    [f"tests.meta.targets.{name}" for name in ("plain:every", "callbacks:target", "bad:not_an_array")],
)
def test_every_message_keeps_to_the_schema(spec: str, messages: list[dict[str, Any]]) -> None:
    """In both directions, of a target that conforms and of one that does not, callbacks and errors among them."""
    judge = Judge.of(spec, Settings(seconds=5.0), launch=Launch())
    wanted = {
        "test_calls_return",
        "test_methods_are_there",
        "test_perturb",
        "test_velocity",
        "test_same_call_same_result",
    }
    judge.judge((check, body) for check, body in checks() if body.__name__ in wanted)
    validator = Draft202012Validator(SCHEMA)
    kinds = set()
    for message in messages:
        validator.validate(message)
        kinds.add(message.get("do") or next(key for key in message if key != "id"))
    assert kinds >= {"protocol", "build", "call", "result"}


def test_examples_of_the_page_keep_to_the_schema() -> None:
    """The examples of the page, the lines of its session among them, are valid messages."""
    text = (ROOT / "spec" / "protocol.md").read_text()
    validator = Draft202012Validator(SCHEMA)
    blocks = re.findall(r"```json\n(.*?)```", text, re.S)
    decoder, found = json.JSONDecoder(), []
    for block in blocks:
        rest = block.strip()
        while rest:
            message, end = decoder.raw_decode(rest)
            found.append(message)
            rest = rest[end:].strip()
    found += [
        json.loads(code) for code in re.findall(r"\| `(\{.*?\})` \|", text) if "..." not in code and '"id"' in code
    ]
    found += [json.loads(line) for line in re.findall(r"^[<>] (.*)$", text, re.M)]
    assert len(found) >= 20
    for message in found:
        validator.validate(message)


@pytest.mark.parametrize("kind", [Claim, Step, Chain, Linear, Cosine, Own, Draws, Grid, Sampler])
def test_page_names_every_field(kind: type[Any]) -> None:
    """Whatever a claim, a process or a step may hold, but refusals, is on the page."""
    text = (ROOT / "spec" / "protocol.md").read_text()
    missing = [one.name for one in fields(kind) if f"`{one.name}`" not in text and f'"{one.name}"' not in text]
    assert missing == (["refusals"] if kind is Claim else [])


def test_page_has_every_method_with_its_arguments() -> None:
    """As the interface has them, in their order."""
    text = (ROOT / "spec" / "protocol.md").read_text()
    calls = set(re.findall(r"`(\w+\([\w, ]+\))`", str(interface.__doc__)))
    calls = {call for call in calls if call.partition("(")[0] in protocol.NAMES}
    assert len(calls) == len(protocol.NAMES)
    assert [call for call in calls if f"`{call}`" not in text] == []


ANSWERS = {
    "null": "no JSON object",
    '{"id": 1}': "not the answer to request 1",
    '{"id": 2, "result": null}': "not the answer to request 1",
    '{"id": true, "result": null}': "not the answer to request 1",
    '{"id": 1, "result": {"x": 1}}': "no value of the protocol",
    '{"id": 1, "error": "x"}': "an error has a message",
    '{"id": 1, "error": {"message": "x", "clause": "MAR-1"}}': "the clause of an error is one of",
    '{"id": 1, "unsupported": 3}': "an error has a message",
    '{"id": 1, "do": "call", "object": 0, "method": "denoiser", "arguments": [1, 2]}': "that was not lent",
    '{"id": 1, "do": "build", "process": {}}': "may call what it was lent",
    '{"id": 1, "result": ' + "[" * 5000 + "]" * 5000 + "}": "",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_malformed_answer_is_a_finding(answer: str, tmp_path: Path) -> None:
    """CON-5, in one line that names the call and what was written; nothing of it is executed or believed."""
    hello = json.dumps({"protocol": 1, "claim": protocol.encode_claim(CLAIM)})
    script = tmp_path / "program.py"
    script.write_text(
        f"import sys\nprint({hello!r}, flush=True)\nsys.stdin.readline()\n"
        f"print({answer!r}, flush=True)\nsys.stdin.read()\n"
    )
    target = Remote(Launch(command=f"{sys.executable} {script}"))
    with pytest.raises(ContractViolation, match=r"^build\(.* wrote '.*' where an answer is due: ") as failure:
        target.build(LINEAR)
    assert failure.value.clause == "CON-5"
    assert ANSWERS[answer] in str(failure.value)
    target.close()


HELLOS = {
    '{"protocol": 2, "claim": {}}': "expected version 1 of the protocol, got 2",
    '{"claim": {}}': "expected version 1 of the protocol, got None",
    '{"protocol": 1}': "a claim has a string 'name'",
    "Welcome!": "wrote 'Welcome!' where its claim is due: no JSON",
    '{"protocol": 1, "error": {"message": "no weights"}}': "no weights",
}


@pytest.mark.parametrize("hello", HELLOS)
def test_malformed_hello_fails_con_1(hello: str) -> None:
    """CON-1 fails with the cause, and the other clauses are not run."""
    command = f"{sys.executable} -c 'print({json.dumps(hello)})'"
    outcomes = Judge.of("", launch=Launch(command=command)).judge(FAST)
    assert {o.status for o in outcomes if o.clause == "CON-1"} == {"fail"}
    assert {o.status for o in outcomes if o.clause != "CON-1"} == {"not_run"}
    assert HELLOS[hello] in outcomes[0].reason


def test_lines_cut_anywhere(tmp_path: Path) -> None:
    """A line that arrives in pieces, however small, is one line; a large one passes both ways at once."""
    seed = random.Random(0)  # noqa: S311  # where to cut
    script = tmp_path / "program.py"
    script.write_text(
        "import os, time\n"
        "data = b'{\"x\": \"' + b'y' * 3000 + b'\"}\\n'\n"
        f"for a, b in {[(i, i + 100) for i in range(0, 3100, 100)]}: os.write(1, data[a:b]); time.sleep(0.001)\n"
        "while chunk := os.read(0, 65536): os.write(1, chunk); os.write(2, chunk)\n"
    )
    child = Child([sys.executable, str(script)], 2**34, 2**28)
    try:
        assert child.receive(child.limit(20.0)) == b'{"x": "' + b"y" * 3000 + b'"}'
        line = bytes(seed.randrange(32, 126) for _ in range(3_000_000)) + b"\n"
        child.send(line)
        assert child.receive(child.limit(20.0)) == line[:-1]
    finally:
        child.stop()


def test_host_by_its_own_command() -> None:
    """`python -m refdiff.conformance.host module:factory` is a program like any other."""
    command = f"{sys.executable} -m refdiff.conformance.host tests.meta.targets.plain:every"
    target = Remote(Launch(command=command))
    assert target.claim.name == "plain"
    assert target.build(LINEAR).perturb(X, X, T).shape == X.shape
    target.close()
    done = subprocess.run(
        [sys.executable, "-m", "refdiff.conformance.host"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "usage: " in done.stderr) == (1, True)


def test_exceptions_have_one_root() -> None:
    """The error of a malformed message is a RefdiffError."""
    assert issubclass(Malformed, RefdiffError)
