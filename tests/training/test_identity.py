"""refdiff.training.identity: other data is seen, and the same data is the same wherever it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refdiff.training import identity
from refdiff.training.config import PreprocessConfig
from refdiff.training.data import Examples, load, split
from refdiff.training.errors import DataError
from refdiff.training.identity import Identity
from refdiff.training.labels import Labels

DRAWN = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)


def of(array: Any, *, held_out: int | None = 4, seed: int = 0) -> Identity:
    """Return the identity of an array in memory."""
    return Identity.of(*split(Examples(array, np.arange(len(array)), 0.0, 255.0), held_out, seed))


OTHERS: dict[str, tuple[Any, str]] = {
    "values": (
        DRAWN ^ (np.arange(DRAWN.size) == 77).reshape(DRAWN.shape),
        "SHA-256 [^\n]+: other values, or another order",
    ),
    "order": (DRAWN[::-1], "SHA-256 [^\n]+: other values, or another order"),
    "rows": (DRAWN[:-1], r"24 examples, got 23"),
    "event": (DRAWN.reshape(24, 1, 4, 16), r"shape \(1, 8, 8\), got shape \(1, 4, 16\)"),
    "rank": (DRAWN[:, 0], r"shape \(1, 8, 8\), got shape \(8, 8\)"),
    "dtype": (DRAWN.astype(np.float32), r"numbers of type \|u1, got <f4"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_data_is_named(other: str) -> None:
    """TRN-11: one sentence with the first difference."""
    array, difference = OTHERS[other]
    match = rf"^expected the data of the checkpoint to resume, [^\n]*{difference} \(TRN-11\)$"
    with pytest.raises(DataError, match=match):
        of(DRAWN).check(of(array))


@pytest.mark.parametrize(("held_out", "seed", "difference"), [
    (5, 0, "4 held-out examples, got 5"), (4, 1, "4 held-out examples, got others of the same number"),
])  # fmt: skip
def test_other_split_is_named(held_out: int, seed: int, difference: str) -> None:
    """TRN-11: other held-out examples would enter training."""
    with pytest.raises(DataError, match=rf"{difference} \(TRN-11\)$"):
        of(DRAWN).check(of(DRAWN, held_out=held_out, seed=seed))


LABELS = Labels(np.arange(24) % 3, ("a", "b", "c"))
OTHER_LABELS = {
    "none": None,
    "one of them": Labels(np.where(np.arange(24) == 5, 0, LABELS.index), LABELS.names),
    "names": Labels(LABELS.index, ("a", "c", "b")),
}


@pytest.mark.parametrize("other", OTHER_LABELS)
def test_other_labels_are_refused(other: str) -> None:
    """TRN-11: labels are a part of the data, whether a run is resumed with others or without."""

    def labelled(labels: Labels | None) -> Identity:
        return Identity.of(*split(Examples(DRAWN, np.arange(24), 0.0, 255.0, labels=labels), 4, 0))

    labelled(LABELS).check(labelled(Labels(LABELS.index.copy(), LABELS.names)))
    for one, two in ((LABELS, OTHER_LABELS[other]), (OTHER_LABELS[other], LABELS)):
        with pytest.raises(DataError, match=r"the same labels, got others \(TRN-11\)$"):
            labelled(one).check(labelled(two))


def test_identity_does_not_depend_on_where_the_data_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-11: in memory, in a mapped file, with the channels last, and however much is read at once."""
    np.save(tmp_path / "first.npy", DRAWN.repeat(3, axis=1))
    np.save(tmp_path / "last.npy", np.moveaxis(DRAWN.repeat(3, axis=1), 1, -1))
    found = [of(DRAWN.repeat(3, axis=1))]
    for at_once in (1, 500, 2**24):
        monkeypatch.setattr(identity, "AT_ONCE", at_once)
        for name in ("first", "last"):
            found.append(Identity.of(*split(load(str(tmp_path / f"{name}.npy"), PreprocessConfig()), 4, 0)))
    assert len(set(found)) == 1
    found[0].check(found[1])


def test_identity_is_restored_from_its_text() -> None:
    """TRN-11: what a file keeps is the identity, and nothing else is."""
    known = of(DRAWN)
    assert Identity.from_json(known.to_json()) == known
    plain = json.loads(known.to_json())
    wrong: list[object] = [None, 3, "", "3", "[]", json.dumps({k: plain[k] for k in plain if k != "split"})]
    wrong += [json.dumps(plain | {"more": 1})]
    for name, value in [
        ("shape", []), ("shape", 3), ("shape", [1.5]), ("shape", [True, 2]), ("shape", [-1, 2]),
        ("held_out", "4"), ("held_out", -1), ("dtype", 3), ("digest", None), ("split", []),
    ]:  # fmt: skip
        wrong.append(json.dumps(plain | {name: value}))
    for text in wrong:
        with pytest.raises(ValueError, match=r"identity of the data|Expecting value"):
            Identity.from_json(text)
