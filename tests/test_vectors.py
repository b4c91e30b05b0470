"""The test vectors: refdiff reads them as any consumer would; naive code passes, and planted faults are named."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import numpy as np
import pytest
import torch

from refdiff import CosineSchedule, DiscreteChain, LinearSchedule, convert, marginal, sde
from refdiff.conformance.clauses import clauses, spec_folder
from refdiff.errors import RefdiffError
from refdiff.loss import Objective
from refdiff.steps import ddim_step, ddpm_step, em_step, ode_step
from refdiff.weighting import InverseSNR, LikelihoodWeight, MinSNR, UniformWeight
from validation.vectors.__main__ import FILES, broken, main

FOLDER = spec_folder() / "vectors"
Vector: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Any, str, dict[str, Any]], float]
WEIGHTS = {
    "uniform": UniformWeight(),
    "inverse_snr": InverseSNR(),
    "min_snr": MinSNR(),
    "likelihood": LikelihoodWeight(),
}


def loaded() -> Iterator[tuple[dict[str, Any], Vector]]:
    """Yield every vector with the processes of its file."""
    for name in FILES:
        content = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
        for vector in content["vectors"]:
            yield content["processes"], vector


EVERY = list(loaded())
VALID = [(processes, vector) for processes, vector in EVERY if vector["result"] == "valid"]
INVALID = [(processes, vector) for processes, vector in EVERY if vector["result"] == "invalid"]


def process_of(written: dict[str, Any]) -> LinearSchedule | CosineSchedule | DiscreteChain:
    """Return refdiff's process."""
    ((kind, given),) = written.items()
    if kind == "chain":
        return DiscreteChain(betas=tuple(map(float.fromhex, given["betas"])))
    numbers = {name: float.fromhex(x) for name, x in given.items()}
    return LinearSchedule(**numbers) if kind == "linear" else CosineSchedule(**numbers)


def answer(written: dict[str, Any], call: str, inputs: dict[str, Any], dtype: torch.dtype) -> float:
    """Call refdiff, each number a batch of one."""
    process: Any = process_of(written)

    def number(x: Any) -> Any:
        if isinstance(x, int):
            return torch.tensor([x])
        return torch.tensor([float.fromhex(x)], dtype=dtype) if "0x" in x or x in ("inf", "-inf", "nan") else x

    given: dict[str, Any] = {name: number(x) for name, x in inputs.items()}
    t: Any = given.get("t", given.get("k", given.get("k_t")))
    s: Any = given.get("s", given.get("k_s"))
    match call:
        case "perturb":
            found = marginal.perturb(process, given["x_0"], given["eps"], t)
        case "posterior_on_x_0" | "posterior_on_x_t" | "posterior_variance":
            found = getattr(marginal.posterior(process, t=t, s=s), call.removeprefix("posterior_"))
        case "convert":
            names = {"source": inputs["source"], "to": inputs["to"]}
            # Without the hook of the tests, which knows the four names too.
            found = inspect.unwrap(convert)(process, given["value"], given["x_t"], t, **names)
        case "drift":
            found = sde.drift(process, given["x"], t)
        case "diffusion":
            found = sde.diffusion_coefficient(process, t)
        case "reverse_drift":
            found = sde.reverse_drift(process, given["x"], given["score"], t)
        case "flow":
            found = sde.probability_flow(process, given["x"], given["score"], t)
        case "weight":
            found = _weight(inputs["weight"]).of(process, t, inputs["prediction"])
        case "loss":
            objective = Objective(process=process, prediction=inputs["prediction"], weight=_weight(inputs["weight"]))
            found = objective(lambda *_: given["predicted"], given["x_0"], given["eps"], t)
        case "step":
            found = _step(process, inputs["rule"], given, t, s)
        case _:
            found = getattr(process, call)(t)
    return float(found.to(dtype)[0])


def _weight(name: str) -> Any:
    if name not in WEIGHTS:
        raise RefdiffError(f"no weight {name!r}")
    return WEIGHTS[name]


def _step(process: Any, rule: str, given: dict[str, Any], t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    x, e, z = given["x_t"], given["eps_hat"], given["noise"]
    match rule:
        case "em":
            return em_step(process, x, eps_hat=e, t=t, s=s, noise=z)
        case "ode":
            return ode_step(process, x, eps_hat=e, t=t, s=s)
    x_0_hat = convert(process, e, x, t, source="eps", to="x_0")
    if rule == "ddim":
        return ddim_step(process, x_0_hat=x_0_hat, eps_hat=e, t=t, s=s)
    return ddpm_step(process, x, x_0_hat=x_0_hat, t=t, s=s, noise=z)


def off(vector: Vector, got: float) -> float:
    """Return how far a number is from the ball, at least; NaN is infinitely far."""
    mid, rad = Decimal(vector["output"]["mid"]), Decimal(vector["output"]["rad"])
    if not np.isfinite(got) or not mid.is_finite():
        return 0.0 if got == float(mid) else float("inf")
    return float(max(abs(Decimal(got) - mid) - rad, Decimal(0)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_refdiff_meets_both_tiers(dtype: str) -> None:
    """Each valid vector whose inputs the dtype holds is met within MUST, and within SHOULD where that speaks."""
    judged, failing = 0, []
    for processes, vector in VALID:
        tiers = vector["tolerance"].get(dtype)
        if tiers is None:
            continue
        error = off(
            vector, answer(processes[vector["process"]], vector["call"], vector["inputs"], getattr(torch, dtype))
        )
        for tier, bound in tiers.items():
            if bound is not None:
                judged += 1
                if not error <= float(bound):
                    failing.append((vector["id"], tier, error, bound))
    assert failing == []
    assert judged > 700


@pytest.mark.parametrize(("processes", "vector"), INVALID, ids=[vector["id"] for _, vector in INVALID])
def test_refdiff_refuses_what_is_invalid(processes: dict[str, Any], vector: Vector) -> None:
    """An invalid call is refused with a sentence, never answered with a number."""
    with pytest.raises(RefdiffError, match=r"^expected .*, got .* \([A-Z]{3}-\d+\)$|no weight"):
        answer(processes[vector["process"]], vector["call"], vector["inputs"], torch.float64)


def _naive(square: Callable[[Any], Any], sign: float, shift: int) -> Answer:
    """Return a consumer in NumPy float32, as libraries write it, with places for three faults."""
    one = np.float32(1)

    def scales(written: dict[str, Any], t: Any) -> tuple[Any, Any]:
        ((kind, given),) = written.items()
        if kind == "chain":
            betas = np.array([float.fromhex(x) for x in given["betas"]], dtype=np.float32)
            bar = np.cumprod(one - betas, dtype=np.float32)[max(t - 1 - shift, 0)]
        elif kind == "linear":
            low, high = (np.float32(float.fromhex(given[name])) for name in ("beta_min", "beta_max"))
            bar = np.exp(-(low * t + (high - low) * t * t / np.float32(2)))
        else:
            s, half_pi = np.float32(float.fromhex(given["s"])), np.float32(np.pi / 2)
            bar = (np.maximum(np.cos(half_pi * (t + s) / (one + s)), 0) / np.cos(half_pi * s / (one + s))) ** 2
        return np.sqrt(bar), square(one - np.minimum(bar, one))

    def call(written: dict[str, Any], name: str, inputs: dict[str, Any]) -> float:
        numbers = {key: np.float32(float.fromhex(x)) for key, x in inputs.items() if isinstance(x, str) and "0x" in x}
        a, s = scales(written, numbers.get("t", inputs.get("k")))
        with np.errstate(all="ignore"):
            if name == "perturb":
                return float(a * numbers["x_0"] + s * numbers["eps"])
            if name == "convert" and (inputs["source"], inputs["to"]) == ("eps", "score"):
                return float(np.float32(sign) * numbers["value"] / s)
            return float({"alpha": a, "sigma": s, "alpha_bar": a * a}[name])

    return call


SUBJECT = ("alpha", "sigma", "alpha_bar", "perturb")


def failing_flags(consumer: Answer) -> set[str]:
    """Return the flags of the float32 vectors whose MUST tier a consumer of a few calls fails."""
    found: set[str] = set()
    for processes, vector in VALID:
        score = vector["call"] == "convert" and "eps-to-score" in vector["id"]
        bound = vector["tolerance"].get("float32", {}).get("must")
        if bound is None or not (vector["call"] in SUBJECT or score):
            continue
        got = consumer(processes[vector["process"]], vector["call"], vector["inputs"])
        if not off(vector, got) <= float(bound):
            found |= set(vector["flags"]) or {"none"}
    return found


def test_an_inaccurate_consumer_meets_must() -> None:
    """sqrt(1 - exp(.)) in float32 is right: it meets the MUST tier of every vector."""
    assert failing_flags(_naive(np.sqrt, -1.0, 0)) == set()


@pytest.mark.parametrize(
    ("consumer", "flag"),
    [
        (_naive(lambda variance: variance, -1.0, 0), "VarianceForStd"),
        (_naive(np.sqrt, 1.0, 0), "SignOfScore"),
        (_naive(np.sqrt, -1.0, 1), "IndexShift"),
    ],
)
def test_faults_are_named(consumer: Answer, flag: str) -> None:
    """A planted fault fails vectors that carry its flag."""
    assert flag in failing_flags(consumer)


def test_files_are_what_the_generator_writes() -> None:
    """Byte for byte, and each by the schema."""
    assert main(["--check"]) == 0
    schema = json.loads((FOLDER / "vectors.schema.json").read_text(encoding="ascii"))
    for name in FILES:
        jsonschema.validate(json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii")), schema)


def test_changed_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte that differs is found, and an id that vanishes is refused."""
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("validation.vectors.__main__.FOLDER", tmp_path)
    text = (tmp_path / "sde.json").read_text(encoding="ascii")
    (tmp_path / "sde.json").write_text(text.replace("1e-39", "1e-38", 1), encoding="ascii")
    assert main(["--check"]) == 1
    assert "sde.json" in capsys.readouterr().out
    with (tmp_path / "ids.lock").open("a", encoding="ascii") as lock:
        lock.write("SDE-1/gone 0123456789abcdef\n")
    assert main([]) == 1
    assert "SDE-1/gone" in capsys.readouterr().out
    assert broken("a 1\nb 2\n", "b 3\nc 4\n") == ["a", "b"]


def test_ids_name_clauses() -> None:
    """Each id begins with a clause; there are 300 or more, of every chapter that computes."""
    ids = [vector["id"] for _, vector in EVERY]
    assert len(set(ids)) == len(ids) >= 300
    assert {name.split("/")[0] for name in ids} <= set(clauses())
    assert {name[:3] for name in ids} == {"SCH", "MAR", "SDE", "PAR", "LOS", "DIS", "SMP"}


def test_every_call_has_its_kinds() -> None:
    """Every coefficient is asked at both ends, next to them and between; most calls have an invalid input too."""
    for call in ("alpha", "sigma", "log_snr"):
        mine = [vector for _, vector in EVERY if vector["call"] == call]
        times = {vector["inputs"].get("t") for vector in mine}
        assert {(0.0).hex(), (2.0**-149).hex(), (0.5).hex(), (1 - 2.0**-24).hex(), (1.0).hex()} <= times
        assert any(vector["result"] == "invalid" for vector in mine)
    assert {"perturb", "convert", "posterior_variance", "step", "weight", "drift"} <= {v["call"] for _, v in INVALID}
