"""refdiff.training.folder: a run takes no folder from another run, and no data but its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training import checkpoint, files, folder, lock
from refdiff.training.config import Config
from refdiff.training.distributed import World
from refdiff.training.errors import CheckpointError, DataError
from refdiff.training.generate import Trained
from refdiff.training.run import Result, train

from . import runs

WORLD = World(device=torch.device("cpu"))


def run(how: Config, out: Path, *, resume: bool = False, said: list[str] | None = None) -> Result:
    """Train an affine denoiser, which takes milliseconds a step."""
    return train(how, out, resume=resume, denoiser=runs.Affine, say=runs.quiet if said is None else said.append)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Return a file of images."""
    (tmp_path / "data").mkdir()
    return runs.images(tmp_path / "data")


def snapshot(out: Path) -> dict[str, bytes]:
    """Return the content of all files of a folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


WRITTEN = (*folder.FILES, "checkpoints/step-000000003.pt", "samples/step-000000003.png")


def test_list_of_files_is_all_that_a_run_writes(data: str, tmp_path: Path) -> None:
    """TRN-11: a new run is refused by each of them, so none may be left out."""
    watched = replace(
        Config().monitor, log_every=1, picture_every=1, eval_every=1, save_every=1, eval_samples=4,
        picture_samples=1, sampling_steps=2,
    )  # fmt: skip
    run(runs.config(data, steps=2, monitor=watched), tmp_path / "run")
    found = set(snapshot(tmp_path / "run"))
    assert {name for name in found if "/" not in name} == set(folder.FILES)
    for name in found - set(folder.FILES):
        inside, _, last = name.partition("/")
        assert folder.FOLDERS[inside].fullmatch(last), name


@pytest.mark.parametrize("name", WRITTEN)
def test_new_run_is_refused_where_a_run_has_written(data: str, tmp_path: Path, name: str) -> None:
    """TRN-11: by each file that a run writes, which is named; nothing is changed."""
    out = tmp_path / "run"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"theirs")
    with pytest.raises(
        ConfigError, match=rf"^expected a new folder, [^\n]+ with {name}: use --resume [^\n]+ \(TRN-11\)$"
    ):
        run(runs.config(data, steps=1), out)
    assert snapshot(out) == {name: b"theirs"}


def test_files_of_the_user_do_not_matter(data: str, tmp_path: Path) -> None:
    """TRN-11: they stay; what a killed process left half written does not."""
    out = tmp_path / "run"
    theirs = ("notes.txt", "checkpoints/notes.txt", "samples/mine.png", ".refdiff-x.partial", "model.pt")
    left = [f"{part}.refdiff-{i:032x}.partial" for i, part in enumerate(("", "checkpoints/", "samples/"))]
    for name in (*theirs, *left):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(out)
    run(runs.config(data, steps=1), tmp_path / "link")
    after = snapshot(out)
    assert all(after[name] == b"theirs" for name in theirs)
    assert not any(name in after for name in left)
    assert lock.NAME not in after


@pytest.mark.parametrize("name", [*folder.FILES, *folder.FOLDERS])
@pytest.mark.parametrize("resume", [False, True], ids=["new", "resumed"])
def test_links_where_a_run_writes_are_refused(data: str, tmp_path: Path, name: str, resume: bool) -> None:
    """TRN-11: before anything is written or removed, at either end of the link."""
    out, victim = tmp_path / "run", tmp_path / "victim"
    out.mkdir()
    victim.mkdir()
    (victim / f".refdiff-{0:032x}.partial").write_bytes(b"theirs")
    (out / name).symlink_to(victim)
    with pytest.raises(ConfigError, match=rf"^expected no link where a run writes, got [^\n]+/{name} \(TRN-11\)$"):
        run(runs.config(data, steps=1), out, resume=resume)
    assert list(snapshot(victim).values()) == [b"theirs"]


@pytest.mark.parametrize("name", folder.FOLDERS)
def test_files_in_place_of_folders_are_refused(tmp_path: Path, name: str) -> None:
    """TRN-11: before a night's work cannot be saved."""
    (tmp_path / name).touch()
    with (
        pytest.raises(ConfigError, match="expected a folder or nothing"),
        folder.held(tmp_path, WORLD, runs.quiet, resume=True),
    ):
        pass


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "file/inside"], ids=["long", "NUL", "inside a file"])
def test_impossible_folders_are_refused(tmp_path: Path, name: str) -> None:
    """TRN-11: in one sentence."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"^expected a folder to write to, got .+ \(TRN-11\)$"),
        folder.held(tmp_path / name, WORLD, runs.quiet, resume=False),
    ):
        pass


def test_folder_in_use_is_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: for a new run and a resumed one, before either changes anything."""
    how = runs.config(data, steps=1)
    run(how, tmp_path / "run")
    before = snapshot(tmp_path / "run")
    with folder.held(tmp_path / "run", WORLD, runs.quiet, resume=True):
        for resume in (False, True):
            with pytest.raises(ConfigError, match="is locked by process"):
                run(how, tmp_path / "run", resume=resume)
    assert snapshot(tmp_path / "run") == before


def _other(name: str, path: str) -> None:
    known = np.load(path)
    others = {
        "values": known ^ (np.arange(known.size) == 77).reshape(known.shape),
        "rows": known[:-1],
        "order": known[::-1],
        "event": known.reshape(len(known), 1, 4, 16),
        "dtype": known / np.float32(127.5) - 1,
    }
    np.save(path, others[name])


@pytest.mark.parametrize("other", ["values", "rows", "order", "event", "dtype"])
def test_resuming_with_other_data_is_refused(data: str, tmp_path: Path, other: str) -> None:
    """TRN-11: in one sentence, and nothing is changed; with the data as it was the run goes on."""
    before = Path(data).read_bytes()
    run(runs.config(data, steps=1), tmp_path / "run")
    _other(other, data)
    with pytest.raises(DataError, match=r"^expected the data of the checkpoint to resume, [^\n]+ \(TRN-11\)$"):
        run(runs.config(data, steps=2), tmp_path / "run", resume=True)
    Path(data).write_bytes(before)
    assert run(runs.config(data, steps=2), tmp_path / "run", resume=True).state.step == 2
    saved = checkpoint.load(checkpoint.listed(tmp_path / "run")[0])
    assert saved.data == checkpoint.weights(tmp_path / "run").data
    assert saved.data.shape == (40, 1, 8, 8)


def test_state_that_does_not_fit_is_skipped(data: str, tmp_path: Path) -> None:
    """TRN-11: with one sentence each; the newest that fits is resumed from, to the same bits."""
    how = runs.config(data, steps=4, monitor=replace(runs.QUIET, save_every=1, keep=9))
    whole = run(how, tmp_path / "run")
    wrong: list[dict[str, Any]] = [{"step": 7}, {"early_stopping": {}}]
    for path, change in zip(checkpoint.listed(tmp_path / "run"), wrong, strict=False):
        config, state, known = checkpoint.load(path)
        path.unlink()
        written = checkpoint.save(tmp_path / "spoilt", config, state | change, known, keep=9)
        written.rename(path)
    said: list[str] = []
    again = run(how, tmp_path / "run", resume=True, said=said)
    skipped = [line for line in said if line.startswith("skipped")]
    assert [line.split(":")[0] for line in skipped] == ["skipped step-000000004.pt", "skipped step-000000003.pt"]
    assert "resuming from step 2" in said
    ours, theirs = again.state.model.state_dict(), whole.state.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_run_killed_before_its_first_save_is_resumed(data: str, tmp_path: Path) -> None:
    """TRN-11: there is a checkpoint before the first step, so metrics never stand without one."""
    how = runs.config(data, steps=3, monitor=replace(runs.QUIET, log_every=1, save_every=0))
    whole = run(how, tmp_path / "run")
    newest = checkpoint.listed(tmp_path / "run")
    assert [path.name for path in newest] == ["step-000000003.pt", "step-000000000.pt"]
    newest[0].unlink()
    again = run(how, tmp_path / "run", resume=True)
    assert [row["step"] for row in runs.rows(tmp_path / "run") if row["kind"] == "train"] == [1, 2, 3]
    ours, theirs = again.state.model.state_dict(), whole.state.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_resuming_a_finished_run_repeats_no_row(data: str, tmp_path: Path) -> None:
    """TRN-13: neither once nor twice, the held-out loss among them; more steps add theirs."""
    how = runs.config(data, steps=2, monitor=replace(runs.QUIET, log_every=1))
    run(how, tmp_path / "run")
    before = runs.rows(tmp_path / "run")
    for _ in range(2):
        run(how, tmp_path / "run", resume=True)
        assert runs.rows(tmp_path / "run") == before
    run(replace(how, steps=3), tmp_path / "run", resume=True)
    kinds = [(row["kind"], row["step"]) for row in runs.rows(tmp_path / "run")]
    assert kinds == [("train", 1), ("train", 2), ("held_out", 2), ("train", 3), ("held_out", 3)]


def test_fewer_steps_than_were_taken_are_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: a run does not go back."""
    run(runs.config(data, steps=3), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"^expected at least 3 steps, [^\n]+, got --steps 2 \(TRN-11\)$"):
        run(runs.config(data, steps=2), tmp_path / "run", resume=True)


def test_weights_that_are_not_finite_are_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: in one sentence that names them, where samples would be drawn from them."""
    how, net = runs.config(data, steps=1), runs.Affine((1, 8, 8))
    for value in (float("nan"), float("inf")):
        net.inner.bias.data[3] = value
        checkpoint.export(tmp_path / "a.safetensors", net, how, (1, 8, 8), 1)
        with pytest.raises(
            CheckpointError, match=r"^expected weights [^\n]+'inner.bias' [^\n]+ not finite \(TRN-11\)$"
        ):
            Trained(tmp_path / "a.safetensors", runs.Affine)


def test_refusal_of_the_first_process_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-11: they neither take the lock nor look at the folder, and end when the first one was refused."""
    other = World(rank=1, size=2, device=torch.device("cpu"))
    refused = [False, True]
    monkeypatch.setattr(World, "any", lambda self, flag: flag or refused.pop(0))
    with folder.held(tmp_path / "run", other, runs.quiet, resume=False):
        assert not (tmp_path / "run").exists()
    with (
        pytest.raises(RefdiffError, match="which rank 0 refused"),
        folder.held(tmp_path / "run", other, runs.quiet, resume=False),
    ):
        pass
    assert not files.is_present(tmp_path / "run")
