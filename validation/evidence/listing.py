"""Kinds of evidence for each clause, as the tests of this folder declare them.

    python -m validation.evidence.listing > spec/evidence.json

writes the list that the report cites where the evidence is not run: when somebody else's code is judged.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

from refdiff.conformance.clauses import clauses


def kinds() -> dict[str, list[str]]:
    """Return the kinds of evidence by clause id, in the order of the specification, and after them unknown ids."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for body in vars(import_module(f".{path.stem}", __package__)).values():
            for mark in getattr(body, "pytestmark", ()):
                if mark.name == "refdiff_evidence":
                    for clause in mark.args[0].clauses:
                        found.setdefault(clause, set()).add(mark.args[0].kind)
    order = [clause for clause in clauses() if clause in found]
    return {clause: sorted(found[clause]) for clause in (*order, *sorted(found.keys() - set(order)))}


def listed() -> str:
    """Return the content of spec/evidence.json."""
    rows = (f" {json.dumps(clause)}: {json.dumps(found)}" for clause, found in kinds().items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    print(listed(), end="")
