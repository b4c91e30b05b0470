"""README claims of GPUs what the committed record shows, and nothing else; the command that makes it is honest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from refdiff.training.config import RuntimeConfig
from validation.tools import gpu

README = Path(__file__).parents[1] / "README.md"
NOT_MEASURED = "Not measured on a GPU."
FIELDS = {
    *("device", "driver", "cuda", "torch", "diffusers", "commit", "date", "tests", "sizes"),
}
FOUND: dict[str, Any] = dict.fromkeys(FIELDS, "") | {"device": "Some GPU", "tests": {"a::b": "passed"}}


def _wrong(readme: str, record: Path) -> str | None:
    """Return what README says of GPUs that the record does not show, or does not say that it does."""
    limits = readme.partition("## Limits")[2].partition("\n## ")[0]
    if not record.exists():
        return None if NOT_MEASURED in limits else f"no record, and README's Limits do not say {NOT_MEASURED!r}"
    found = json.loads(record.read_text("utf-8"))
    if found.keys() != FIELDS:
        return f"expected a record of {sorted(FIELDS)}, got {sorted(found)}"
    if "+dirty" in found["commit"] or found["commit"].endswith("-dirty"):
        return "a record of code that is in no commit"
    if not found["tests"]:
        return "a record of no test"
    passed, total = sum(outcome == "passed" for outcome in found["tests"].values()), len(found["tests"])
    if passed < total and f"{passed} of {total}" not in limits:
        return f"a record with tests that did not pass, and README's Limits do not say '{passed} of {total}'"
    if NOT_MEASURED in readme or found["device"] not in readme:
        return f"a record of {found['device']}, which README does not name, or says is not there"
    return None


def test_readme_says_what_the_record_shows() -> None:
    """Not measured as long as no record is committed; then the name of the device, and how many tests did not pass."""
    assert _wrong(README.read_text("utf-8"), gpu.RECORD) is None


@pytest.mark.parametrize(
    ("limits", "changes", "says"),
    [
        ("measured everywhere", None, "no record"),
        (NOT_MEASURED, {}, "README does not name"),
        ("Some GPU. " + NOT_MEASURED, {}, "README does not name"),
        ("on Some GPU", {"tests": {"a::b": "failed"}}, "did not pass"),
        ("on Some GPU", {"tests": {"a::b": "skipped"}}, "did not pass"),
        ("on Some GPU 2 of 3", {"tests": {"a::b": "failed", "a::c": "passed"}}, "do not say '1 of 2'"),
        ("on Some GPU 1 of 2", {"tests": {"a::b": "failed", "a::c": "passed"}}, None),
        ("on Some GPU", {"tests": {}}, "of no test"),
        ("on Some GPU", {"commit": "0123-dirty"}, "in no commit"),
        ("on Some GPU", {"more": 1}, "expected a record"),
        ("on Some GPU", {}, None),
        (NOT_MEASURED, None, None),
    ],
)
def test_a_claim_without_its_record_is_seen(
    tmp_path: Path, limits: str, changes: dict[str, Any] | None, says: str | None
) -> None:
    """The law can fail, each way."""
    path = tmp_path / "gpu.json"
    if changes is not None:
        gpu.write(path, FOUND | changes)
    found = _wrong(f"# refdiff\n\n## Limits\n\n- {limits}\n", path)
    assert (found is None) if says is None else (found is not None and says in found)


def test_without_a_gpu_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, exit 2, no file."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "records" / "gpu.json")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "nothing was measured" in said.err
    assert list(tmp_path.iterdir()) == []


def test_with_a_gpu_the_record_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All fields; 0 only where every test passed; a write that fails leaves the record that was there."""
    path = tmp_path / "gpu.json"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(gpu, "_said", lambda *_: "1.2\n3.4")
    rates = {"refdiff": 1.25, "diffusers": 1.0}
    monkeypatch.setattr(gpu, "throughput", lambda machine, width, batch, *, steps: rates)
    for outcome, code in (("passed", 0), ("failed", 1), ("skipped", 1)):
        monkeypatch.setattr(gpu, "outcomes", lambda *_, outcome=outcome: {"a::b": outcome})
        assert gpu.main(["--out", str(path)]) == code
        found = json.loads(path.read_text("utf-8"))
        assert found.keys() == FIELDS
        assert [one["images_per_second"] for one in found["sizes"]] == [dict.fromkeys(gpu.WAYS, rates)] * len(gpu.SIZES)
        assert found["tests"] == {"a::b": outcome}
    before = path.read_bytes()
    with pytest.raises(TypeError):
        gpu.write(path, {"a": object()})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["gpu.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, the tests run")
def test_the_tests_for_a_gpu_are_found_and_skip() -> None:
    """Where there is none: every one is collected, and skips rather than passes."""
    found = gpu.outcomes("-p", "no:cacheprovider")
    assert len(found) > 20
    assert set(found.values()) == {"skipped"}


def test_throughput_is_of_both_trainers() -> None:
    """They run, on any device, and leave torch's settings as they were."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    found = gpu.throughput(RuntimeConfig(device="cpu"), 32, 4, steps=1, rounds=1)
    assert found.keys() == {"refdiff", "diffusers"}
    assert min(found.values()) > 0.0
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@pytest.mark.parametrize("width", [width for width, _ in gpu.SIZES])
def test_networks_are_of_one_size(width: int) -> None:
    """A tenth fewer parameters for diffusers, and a fifth more operations."""
    ours, theirs = (gpu.size(network) for network in gpu.networks(width).values())
    assert 0.85 < theirs["parameters, M"] / ours["parameters, M"] < 0.95
    assert 1.15 < theirs["operations, G"] / ours["operations, G"] < 1.25
