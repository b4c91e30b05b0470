"""Which known faults give the outputs of a target that fails: what the suite's engine finds, in a form for JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, final

from refdiff.conformance.calls import one_line

if TYPE_CHECKING:
    from refdiff.conformance.judge import Judge

SECONDS = 60.0
"""Of the whole search, in each process of pytest's."""
Place: TypeAlias = tuple[str, str]
"""An output, by its name in the report, and the process."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """An output of the target that is wrong, and that a fault gives too."""

    output: str
    process: str
    places: int
    """Numbers at which the target, the fault and the right value tell the three apart."""
    error: float
    """Largest difference of target and fault, relative to the value or to its error, whichever is larger."""
    exact: bool
    """Whether the two differ by rounding only."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A fault that gives some of the wrong outputs of the target."""

    fault: str
    wrong: str
    """What it computes."""
    meant: str
    agreements: tuple[Agreement, ...]
    missed: tuple[Place, ...] = ()
    """Wrong outputs that it does not give."""
    contradicted: tuple[Place, ...] = ()
    """Right outputs that it would make wrong."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found in one process of pytest's."""

    wrong: tuple[Place, ...] = ()
    """Outputs of the target that are wrong."""
    unseen: tuple[str, ...] = ()
    """Clauses that fail without a wrong output among those that can be compared."""
    matches: tuple[Match, ...] = ()
    compared: int = 0
    """Calls of failing checks that were compared."""
    notes: tuple[str, ...] = ()
    """What kept the comparison from being complete, one line each."""

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return _listed(asdict(self))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Findings:
        """Return what `as_json` came from."""
        return Findings(
            wrong=_places(data["wrong"]),
            unseen=tuple(data["unseen"]),
            matches=tuple(_match(one) for one in data["matches"]),
            compared=data["compared"],
            notes=tuple(data["notes"]),
        )


def _listed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with lists for tuples, as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(data))
    return found


def _places(pairs: Iterable[Sequence[str]]) -> tuple[Place, ...]:
    return tuple((output, process) for output, process in pairs)


def _match(data: Mapping[str, Any]) -> Match:
    more = {
        "agreements": tuple(Agreement(**one) for one in data["agreements"]),
        "missed": _places(data["missed"]),
        "contradicted": _places(data["contradicted"]),
    }
    return Match(**{**data, **more})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Faults that give the same outputs, which are wrong outputs of the target."""

    faults: tuple[str, ...]
    """Names, the best first."""
    wrong: str
    """What they compute: of the first three, joined by "or"."""
    meant: str
    outputs: tuple[str, ...]
    processes: tuple[str, ...]
    error: float
    matched: int
    """Numbers of the target that agree with the fault, and not with the right value."""
    confident: bool
    """Whether it gives all outputs of the target that were compared, right and wrong."""

    def sentence(self) -> str:
        """Say it in one line."""
        names = " or ".join(self.faults[:6]) + (f" or {len(self.faults) - 6} more" if len(self.faults) > 6 else "")
        numbers = f"{self.matched} number{'s' if self.matched > 1 else ''}"
        how = f"to {self.error:.1g}" if self.error > 0.0 else "to the bit"
        return (
            f"{_few(self.outputs)} agree{'s' if len(self.outputs) == 1 else ''} with known fault {names} {how} "
            f"in {numbers}: {self.wrong.rstrip('.')}; meant is {self.meant.rstrip('.')}"
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Which known faults the wrong outputs of a target agree with."""

    suspects: tuple[Suspect, ...] = ()
    """The best first. If the first is confident, it explains all; else each explains some of the outputs."""
    unexplained: tuple[str, ...] = ()
    """Wrong outputs, and failing clauses, that no suspect explains."""
    notes: tuple[str, ...] = ()
    compared: int = 0
    others: int = 0
    """Faults that give some of the outputs, and fit less well than those listed."""

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return _listed(asdict(self))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Diagnosis:
        """Return what `as_json` came from."""
        suspects = tuple(
            Suspect(**{**one, **{name: tuple(one[name]) for name in ("faults", "outputs", "processes")}})
            for one in data["suspects"]
        )
        return Diagnosis(
            suspects=suspects,
            unexplained=tuple(data["unexplained"]),
            notes=tuple(data["notes"]),
            compared=data["compared"],
            others=data["others"],
        )

    def lines(self) -> list[str]:
        """Say it in at most five lines."""
        lines = []
        for suspect in self.suspects[:3]:
            lines.append(suspect.sentence() if suspect.confident else f"in part: {suspect.sentence()}")
        if self.unexplained and self.suspects:
            lines.append(f"not explained by {'it' if len(lines) == 1 else 'them'}: {_few(self.unexplained)}")
        elif not self.suspects and self.compared:
            lines.append(f"no known fault gives these outputs: {_few(self.unexplained)}")
        return [*lines, *self.notes[:1]]


def searched(suite: str, judge: Judge, known: Collection[str], seconds: float) -> Findings:
    """Return what the engine of the suite finds; a failure of the engine is a note, and breaks no report.

    suite: package of the suite; known: clauses whose failures are known; seconds: for the whole search.
    """
    units = [unit for unit in judge.records.units if unit.clause not in known]
    if judge.claim is None or not any(unit.failed for unit in units):
        return Findings()
    try:
        engine = import_module(f"{suite}.faults.diagnosis")
        found = engine.diagnose(judge.claim, units, judge.tell, seconds)
        assert isinstance(found, Findings)
    except Exception as error:  # noqa: BLE001  # whatever fails here says nothing of the target
        return Findings(notes=(f"no diagnosis: the engine failed with {one_line(error)}",))
    return found


def _few(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


MOST = 3
"""Suspects that are reported."""


def concluded(found: Iterable[Findings]) -> Diagnosis:
    """Combine what the processes of pytest's found, and choose the suspects."""
    parts = list(found)
    wrong = tuple(dict.fromkeys(place for part in parts for place in part.wrong))
    unseen = tuple(dict.fromkeys(clause for part in parts for clause in part.unseen))
    ranked = _ranked(_merged(parts), wrong)
    suspects: list[Suspect] = []
    open_places = set(wrong)
    for group in ranked:
        best = group[0]
        explained = {(a.output, a.process) for a in best.agreements}
        if not explained & open_places or len(suspects) == MOST:
            continue
        whole = explained >= set(wrong) and not (unseen or best.missed or best.contradicted)
        rivals = bool(suspects)
        suspects.append(_suspect(group, open_places, confident=whole and not rivals))
        open_places -= explained
    rest = (*dict.fromkeys(output for output, process in wrong if (output, process) in open_places), *unseen)
    return Diagnosis(
        suspects=tuple(suspects),
        unexplained=rest,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        compared=sum(part.compared for part in parts),
        others=sum(map(len, ranked)) - sum(len(suspect.faults) for suspect in suspects),
    )


def _merged(parts: Sequence[Findings]) -> list[Match]:
    """Return one match for each fault, with the places of all parts."""
    found: dict[str, list[Match]] = {}
    for part in parts:
        for match in part.matches:
            found.setdefault(match.fault, []).append(match)
    return [_joined(matches) for matches in found.values()]


def _joined(matches: Sequence[Match]) -> Match:
    agreements: dict[Place, Agreement] = {}
    for one in (a for match in matches for a in match.agreements):
        old = agreements.get((one.output, one.process), one)
        new = one if one is old else Agreement(
            output=one.output,
            process=one.process,
            places=one.places + old.places,
            error=max(one.error, old.error),
            exact=one.exact and old.exact,
        )  # fmt: skip
        agreements[one.output, one.process] = new
    missed = dict.fromkeys(place for match in matches for place in match.missed)
    contradicted = dict.fromkeys(place for match in matches for place in match.contradicted)
    return Match(
        fault=matches[0].fault,
        wrong=matches[0].wrong,
        meant=matches[0].meant,
        agreements=tuple(a for place, a in agreements.items() if place not in missed),
        missed=tuple(missed),
        contradicted=tuple(contradicted),
    )


def _ranked(matches: Iterable[Match], wrong: Sequence[Place]) -> list[list[Match]]:
    """Return groups of faults that fit equally well, the best first."""
    groups: dict[tuple[Any, ...], list[Match]] = {}
    for match in matches:
        given = {(a.output, a.process) for a in match.agreements} & set(wrong)
        inexact = sum(not a.exact for a in match.agreements if (a.output, a.process) in given)
        if given:
            key = (len(match.contradicted), -len(given), inexact, *sorted(given), *sorted(match.contradicted))
            groups.setdefault(key, []).append(match)
    for group in groups.values():
        group.sort(key=_error)
    return [groups[key] for key in sorted(groups, key=lambda key: (key[:3], _error(groups[key][0])))]


def _error(match: Match) -> float:
    return max(a.error for a in match.agreements)


def _either(texts: Iterable[str], most: int = 3) -> str:
    """Return different texts of faults with equal outputs, joined: which of them it is, the outputs do not say."""
    return "; or ".join(list(dict.fromkeys(text.rstrip(".") for text in texts))[:most])


def _suspect(group: Sequence[Match], open_places: set[Place], *, confident: bool) -> Suspect:
    best = group[0]
    shown = [a for a in best.agreements if (a.output, a.process) in open_places]
    return Suspect(
        faults=tuple(match.fault for match in group),
        wrong=_either(match.wrong for match in group),
        meant=_either(match.meant for match in group),
        outputs=tuple(dict.fromkeys(a.output for a in shown)),
        processes=tuple(dict.fromkeys(a.process for a in shown)),
        error=max(a.error for a in shown),
        matched=sum(a.places for a in shown),
        confident=confident,
    )
