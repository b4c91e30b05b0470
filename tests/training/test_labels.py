"""refdiff.training.labels: where labels come from, and what a run with labels does with them."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from refdiff.errors import ConfigError, DomainError, RefdiffError
from refdiff.nn import MLP, Layers
from refdiff.training import labels
from refdiff.training.config import (
    BatchConfig,
    ConditionConfig,
    Config,
    MonitorConfig,
    OptimizerConfig,
    PreprocessConfig,
)
from refdiff.training.data import Examples, load, split
from refdiff.training.distributed import World
from refdiff.training.errors import DataError
from refdiff.training.generate import Trained
from refdiff.training.irreducible import Optimum
from refdiff.training.labels import Labels, drop, find_classes
from refdiff.training.run import train
from refdiff.training.step import Loop

from . import runs

LABELLED = ConditionConfig(labels=True)
COUNT, CLASSES, STEPS = 40, 4, 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file of points on a circle, with their quadrants beside."""
    folder, turn = tmp_path_factory.mktemp("points"), np.arange(COUNT) / COUNT
    np.save(folder / "x.npy", 0.9 * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=1))
    np.save(folder / "x.labels.npy", (CLASSES * turn).astype(np.int32))
    return str(folder / "x.npy")


def config(data: str, **changes: Any) -> Config:
    """Return a run with labels."""
    return runs.config(data, **({"condition": LABELLED, "mlp": Layers(width=16, depth=2)} | changes))


def read(source: str, count: int, **how: Any) -> Labels:
    """Return labels."""
    return labels.read(source, ConditionConfig(labels=True, **how), count)


def test_labels_of_files(data: str, tmp_path: Path) -> None:
    """TRN-8: beside .npy and IDX, inside .npz, or in a file that is named; any integers become int64."""
    wanted = np.array([2, 0, 1, 1], dtype=np.uint8)
    idx = b"\0\0\x08\x01" + struct.pack(">I", 4) + wanted.tobytes()
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx)
    np.savez(tmp_path / "both.npz", x=np.eye(4), y=wanted)
    np.save(tmp_path / "own.npy", wanted.astype(np.int16))
    for found in (
        read(str(tmp_path / "a-images-idx3-ubyte"), 4),
        read(str(tmp_path / "both.npz"), 4),
        read(data, 4, file=str(tmp_path / "own.npy")),
        read("digits", 4, file=str(tmp_path / "a-labels-idx1-ubyte")),
    ):
        assert found.index.dtype == np.int64
        assert (found.index.tolist(), found.names) == ([2, 0, 1, 1], ("0", "1", "2"))
    assert read(data, COUNT).names == ("0", "1", "2", "3")


def test_labels_of_the_digits_follow_their_examples() -> None:
    """TRN-8: after the split too: a digit's nearest neighbour has its label, for nearly all."""
    examples = load("digits", PreprocessConfig())
    examples = replace(examples, labels=read("digits", len(examples)))
    training, held_out = split(examples, None, 0)
    assert (training.classes, held_out.classes) == (10, 10)
    known, asked = training.take(slice(None)).flatten(1), held_out.take(slice(None)).flatten(1)
    of, wanted = training.label(slice(None)), held_out.label(slice(None))
    assert of is not None
    assert wanted is not None
    assert float((of[torch.cdist(asked, known).argmin(1)] == wanted).double().mean()) > 0.95


def test_labels_of_a_folder_are_its_subfolders(tmp_path: Path) -> None:
    """TRN-8: by name, whatever the names of the images; each image has that of its own folder."""
    for name, level, file in (("dog", 200, "a"), ("cat", 10, "z"), ("dog", 220, "b"), ("cat", 30, "c")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (4, 4), level).save(tmp_path / name / f"{file}.png")
    found, x = read(str(tmp_path), 4), load(str(tmp_path), PreprocessConfig())
    assert found.names == ("cat", "dog")
    assert found.index.tolist() == [int(value > 0.0) for value in x.take(slice(None)).flatten(1)[:, 0]]
    Image.new("L", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"^expected each image in the folder of its class, got loose.png .*TRN-8\)$"):
        read(str(tmp_path), 5)


def test_odd_files_of_labels_are_refused(data: str, tmp_path: Path) -> None:
    """TRN-8: a FIFO, a folder and a member of an archive that is no array are one sentence each, as for examples."""
    os.mkfifo(tmp_path / "fifo")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("labels", "cat dog")
    for name, why in (("fifo", "a FIFO, not"), (".", "a folder, not"), ("text.npz", "another file named labels")):
        with pytest.raises(DataError, match=rf"^expected [^\n]*, got [^\n]*{why}[^\n]* \(TRN-8\)$"):
            read(data, COUNT, file=str(tmp_path / name))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.array([0, 1, 0]), "expected a label for each of the 4 examples, got 3"),
        (np.array([0, 1, -1, 0]), "expected labels from 0 up, got -1 to 1"),
        (np.array([0.0, 1.0, 0.0, 1.0]), "expected integer labels of shape .n,., got float64"),
        (np.zeros((4, 1), dtype=int), r"expected integer labels of shape .n,., got int64 of shape .4, 1"),
        (np.array([0, 1, 2**40, 0]), "expected training examples of every class, got labels up to"),
        (np.array([0, None, 0, 0]), "expected labels as .npy, .npz or IDX"),
    ],
)
def test_wrong_labels_are_refused(values: Any, sentence: str, tmp_path: Path) -> None:
    """TRN-8: in one sentence, and no file executes anything."""
    np.save(tmp_path / "x.labels.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=rf"^{sentence}[^\n]* \(TRN-8\)$"):
        read(str(tmp_path / "x.npy"), 4)


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    """TRN-8: a file that does not exist, an archive without them, and a class that only held-out examples have."""
    np.savez(tmp_path / "x.npz", x=np.eye(4))
    with pytest.raises(DataError, match=r"^expected a file of labels, got none at .*x.labels.npy; .*TRN-8\)$"):
        read(str(tmp_path / "x.npy"), 4)
    with pytest.raises(DataError, match=r"^expected an array named labels or y, got .*TRN-8\)$"):
        read(str(tmp_path / "x.npz"), 4)
    with pytest.raises(DataError, match=r"^expected training examples of every class, got none of class b .TRN-8\)$"):
        labels.check_trained(Labels(np.array([0, 1, 2, 2]), ("a", "b", "c")), np.array([0, 2, 3]))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"condition": {"dropout": 1.0}}, r"condition.dropout in \[0, 1\), got 1.0"),
        ({"condition": {"file": "a.npy"}}, "condition.labels with condition.file, got False"),
        ({"monitor": {"guidance": 2.0}}, "monitor.guidance 1 without condition.labels, got 2.0"),
        ({"monitor": {"guidance": float("nan")}}, "a finite monitor.guidance, got nan"),
        ({"condition": {"labels": True, "dropout": 0.0}, "monitor": {"guidance": 2.0}}, "monitor.guidance 1 with .*"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, dict[str, Any]], sentence: str) -> None:
    """TRN-8: before anything is read."""
    tables = {"condition": ConditionConfig, "monitor": MonitorConfig}
    with pytest.raises(ConfigError, match=rf"^expected {sentence} \(TRN-8\)$"):
        Config(**{name: tables[name](**given) for name, given in changes.items()})


def test_dropped_labels_are_the_null_label() -> None:
    """TRN-8: none at rate 0, and at another rate a share within five standard deviations; the others stay."""
    label, rate = torch.arange(5).repeat(2000), 0.3
    assert torch.equal(drop(label, 5, 0.0, torch.Generator()), label)
    got = drop(label, 5, rate, torch.Generator())
    dropped = got == 5
    assert torch.equal(got[~dropped], label[~dropped])
    assert abs(float(dropped.double().mean()) - rate) < 5 * (rate * (1 - rate) / len(label)) ** 0.5


def test_classes_are_found_by_name_then_by_number() -> None:
    """SMP-9: a name comes before a number that looks like it; others are refused."""
    assert find_classes(("cat", "dog"), ["dog", "0", 1]) == [1, 0, 1]
    assert find_classes(("1", "0"), ["1"]) == [0]
    assert find_classes(("cat", "dog"), ["all"]) == [0, 1]
    for wanted in (["cow"], [2], [-1], ["-1"]):
        with pytest.raises(DomainError, match=r"^expected one of the classes cat, dog, got .* \(SMP-9\)$"):
            find_classes(("cat", "dog"), wanted)
    with pytest.raises(DomainError, match=r"^expected no labels for a network .* without, got cat \(SMP-9\)$"):
        find_classes((), ["cat"])


def loop(data: str, **changes: Any) -> Loop:
    """Return a loop before its first step."""
    how, examples = config(data, **changes), load(data, PreprocessConfig())
    if how.condition.labels:
        examples = replace(examples, labels=labels.read(data, how.condition, len(examples)))
    return Loop.build(how, examples, world=World(device=torch.device("cpu")))


def test_labels_are_drawn_by_shard_and_change_no_other_draw(data: str) -> None:
    """TRN-9: x_0, eps, t and weight have the bits of a run without labels, and shards in any passes the same labels."""
    with_labels, without = loop(data), loop(data, condition=ConditionConfig())
    drawn, label = with_labels.draw_with_label(range(4))
    plain, none = without.draw_with_label(range(4))
    assert none is None
    assert all(torch.equal(a, b) for a, b in zip(drawn, plain, strict=True))
    parts = [with_labels.draw_with_label([shard])[1] for shard in range(4)]
    assert label is not None
    assert torch.equal(torch.cat([part for part in parts if part is not None]), label)
    quadrant = torch.atan2(drawn[0][:, 1], drawn[0][:, 0]).add(2 * torch.pi + 1e-3).remainder(2 * torch.pi)
    kept = label != CLASSES
    assert torch.equal((quadrant / (torch.pi / 2))[kept].long(), label[kept])
    assert int(kept.sum()) > 0
    dropped = 0
    for with_labels.state.step in range(20):
        _, label = with_labels.draw_with_label(range(4))
        assert label is not None
        dropped += int((label == CLASSES).sum())
    assert 0 < dropped < 100


def test_run_with_labels_resumes_and_accumulates(data: str, tmp_path: Path) -> None:
    """TRN-9, TRN-10: cut at step 4 and resumed, it ends with the same bits; four passes change only sums."""
    how = config(data, steps=8, monitor=replace(runs.QUIET, save_every=4))
    runs.run(how, tmp_path / "whole")
    runs.run(replace(how, steps=4), tmp_path / "cut")
    # A constant learning rate, so that fewer steps are a beginning of more.
    runs.run(how, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    runs.run(replace(how, batch=BatchConfig(size=16, shards=4, accumulation=4)), tmp_path / "four")
    assert runs.distance(whole, load_file(tmp_path / "four" / "model.safetensors")) <= 1e-5


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that has learned its four classes."""
    folder = tmp_path_factory.mktemp("trained")
    watch = replace(runs.QUIET, eval_every=STEPS, eval_samples=40, sampling_steps=20)
    descent = OptimizerConfig(lr=1e-2, warmup=0)
    runs.run(config(data, steps=STEPS, batch=BatchConfig(size=64, shards=1), optimizer=descent, monitor=watch), folder)
    return folder


def test_samples_have_their_labels(trained: Path) -> None:
    """SMP-9: most samples of a quadrant lie in it, nearly all under guidance 2; without labels they lie in all."""
    net = Trained(trained)
    assert net.names == ("0", "1", "2", "3")
    named = {"seed": 0, "sampler": "ddim", "steps": 20}

    def quadrants(x: torch.Tensor) -> torch.Tensor:
        return (torch.atan2(x[:, 1], x[:, 0]).remainder(2 * torch.pi) / (torch.pi / 2)).long().clamp(max=3)

    wanted = torch.arange(4).repeat_interleave(50)
    shares = [
        float((quadrants(net.samples(50, labels=["all"], guidance=w, **named)) == wanted).double().mean())  # type: ignore[arg-type]  # keywords
        for w in (1.0, 2.0)
    ]
    assert shares[0] > 0.7
    assert shares[1] > 0.9
    free = net.samples(200, **named)  # type: ignore[arg-type]  # keywords
    assert len(torch.unique(quadrants(free))) == 4
    row = next(row for row in runs.rows(trained) if row["kind"] == "evaluation")
    assert row["class_agreement"] > 0.7
    assert len(row["by_class_agreement"]) == 4


def test_null_label_that_was_not_trained_is_refused(data: str, tmp_path: Path) -> None:
    """SMP-9: without label dropout there are samples of given labels with guidance 1 and no others."""
    runs.run(config(data, steps=1, condition=ConditionConfig(labels=True, dropout=0.0)), tmp_path)
    net = Trained(tmp_path)
    assert net.samples(2, seed=0, sampler="ddim", steps=2, labels=[1, "3"]).shape == (4, 2)
    for more in ({}, {"labels": [1], "guidance": 2.0}):
        with pytest.raises(DomainError, match=r"^expected labels and guidance 1 for a network .* \(SMP-9\)$"):
            net.samples(2, seed=0, sampler="ddim", steps=2, **more)  # type: ignore[arg-type]  # keywords


def test_own_network_takes_the_number_of_classes(data: str, tmp_path: Path) -> None:
    """TRN-8: by the keyword `classes`, with labels only; a factory without it is refused before the first step."""
    given: list[dict[str, int]] = []

    def factory(event: tuple[int, ...], **more: int) -> nn.Module:
        given.append(more)
        return MLP(event, **more)  # type: ignore[arg-type]  # the keyword `classes` or none

    train(config(data, steps=1), tmp_path / "a", denoiser=factory, say=runs.quiet)
    train(config(data, steps=1, condition=ConditionConfig()), tmp_path / "b", denoiser=factory, say=runs.quiet)
    Trained(tmp_path / "a", factory)
    assert given == [{"classes": 4}, {}, {"classes": 4}]
    with pytest.raises(ConfigError, match=r"^expected a denoiser built by a function of event and classes[^\n]+TRN-8"):
        train(config(data, steps=1), tmp_path / "c", denoiser=runs.Affine, say=runs.quiet)


def test_optimum_of_a_label_is_that_of_its_examples(data: str) -> None:
    """TRN-13: given a label, the posterior mean is over its class alone; given the null label, over all."""
    made = loop(data)
    x, label = made.data.take(slice(None)).double(), made.data.label(slice(None))
    assert label is not None
    x_t, t = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double(), torch.full((6,), 0.5)
    both = Optimum(made.objective, x, label, CLASSES)
    for own in range(CLASSES):
        alone = Optimum(made.objective, x[label == own])(x_t, t)
        torch.testing.assert_close(both(x_t, t, torch.full((6,), own)), alone)
    assert torch.equal(both(x_t, t, torch.full((6,), CLASSES)), Optimum(made.objective, x)(x_t, t))


def test_names_of_classes_in_a_hostile_file_are_refused(trained: Path, tmp_path: Path) -> None:
    """TRN-11: names that are no list of strings, in one sentence."""
    content = (trained / "ema.safetensors").read_bytes()
    old, new = rb"\\\"0\\\", \\\"1\\\"", rb"0, 1          "
    assert content.count(old) == 1
    (tmp_path / "ema.safetensors").write_bytes(content.replace(old, new.ljust(len(old))))
    with pytest.raises(RefdiffError, match=r"^expected weights exported by refdiff, got [^\n]+ \(TRN-11\)$"):
        Trained(tmp_path)


def test_rows_of_other_examples_keep_no_labels() -> None:
    """TRN-8: examples without labels have neither labels nor classes."""
    plain = Examples(np.eye(3), np.arange(3), -1.0, 1.0)
    assert (plain.label(slice(None)), plain.classes) == (None, 0)
