"""Write spec/vectors, or check that its files are up to date.

    python -m validation.vectors            writes the files, and the lock of their ids
    python -m validation.vectors --check    compares byte for byte; exits 1, and says which file differs

An id is never removed, and its inputs never change: `ids.lock` has a hash of each vector's inputs. The program refuses
to write files that contradict the lock, unless a person edits the lock first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import flint

from refdiff.conformance.clauses import spec_folder

from ..oracles.balls import BITS
from . import coefficients, invalid, training
from .model import Vector

FOLDER = spec_folder() / "vectors"
FILES: Mapping[str, Callable[[], Iterable[Vector]]] = {
    "schedules": coefficients.quantities,
    "marginal": lambda: chain(coefficients.marginals(), coefficients.posteriors()),
    "parameterizations": coefficients.conversions,
    "sde": training.sdes,
    "objectives": lambda: chain(training.weights(), training.losses_of_one()),
    "sampling": training.steps,
    "invalid": invalid.invalid,
}
"""Names of the files, and the function that generates the vectors of each."""
NOTES: Mapping[str, tuple[str, str]] = {
    "Cancellation": ("numerics", "1 - alpha_bar loses its digits here; sqrt(-expm1(log_alpha_bar)) does not (E10)"),
    "EndOfTime": ("limits", "the value is a limit: exact 0, 1, or infinity"),
    "IndexShift": ("index", "a table that starts at 0 is read at k - 1 (E7)"),
    "InvalidInput": ("domain", "to be refused with an error, never answered with a number"),
    "SignOfScore": ("sign", "the score is -eps/sigma, and is not eps"),
    "StridedStep": ("stride", "1 - alpha_bar_t/alpha_bar_s, where beta_k belongs to adjacent steps only"),
    "Subnormal": ("numerics", "t is below the smallest normal float32"),
    "UnboundedWeight": ("limits", "the weight is infinite here"),
    "VarianceForStd": ("formula", "sigma is a standard deviation: its square, or alpha's, in its place is far off"),
}


def contents() -> dict[str, str]:
    """Return the text of every file, by its name."""
    with flint.ctx.workprec(BITS):
        made = {name: list(make()) for name, make in FILES.items()}
    every = [vector for vectors in made.values() for vector in vectors]
    if len({vector.id for vector in every}) != len(every):
        raise ValueError("expected unique ids, got a duplicate")
    texts = {f"{name}.json": _text(name, vectors) for name, vectors in made.items()}
    texts["ids.lock"] = "".join(f"{vector.id} {vector.digest}\n" for vector in every)
    return texts


def _text(name: str, vectors: list[Vector]) -> str:
    """Return the JSON text of one file, one vector per line."""
    flags = sorted({flag for vector in vectors for flag in vector.flags})
    head: dict[str, Any] = {
        "schema": "vectors.schema.json",
        "chapter": name,
        "count": len(vectors),
        "notes": {flag: {"bugType": NOTES[flag][0], "description": NOTES[flag][1]} for flag in flags},
        "processes": {vector.process.name: vector.process.written for vector in vectors},
    }
    lines = [json.dumps({key: value}, ensure_ascii=True)[1:-1] for key, value in head.items()]
    body = ",\n  ".join(json.dumps(vector.as_json()) for vector in vectors)
    return "{" + ",\n".join(lines) + f',\n"vectors": [\n  {body}\n]}}\n'


def broken(old: str, new: str) -> list[str]:
    """Return the ids of an old lock that are missing in the new one, or have other inputs there."""
    before = dict(line.split() for line in old.splitlines())
    after = dict(line.split() for line in new.splitlines())
    return [name for name, digest in before.items() if after.get(name) != digest]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m validation.vectors", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    texts, lock = contents(), FOLDER / "ids.lock"
    if lock.is_file() and (gone := broken(lock.read_text(encoding="ascii"), texts["ids.lock"])):
        print(f"expected no id to be removed or changed, got {len(gone)}, {gone[0]} among them")
        return 1
    if not options.check:
        FOLDER.mkdir(exist_ok=True)
        for name, text in texts.items():
            (FOLDER / name).write_bytes(text.encode("ascii"))
        return 0
    differing = [name for name, text in texts.items() if not _same(FOLDER / name, text)]
    for name in differing:
        print(f"{name} is out of date: run `python -m validation.vectors`")
    return 1 if differing else 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode("ascii")


if __name__ == "__main__":
    sys.exit(main())
