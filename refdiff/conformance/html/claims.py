"""What a report says of clauses that were not judged: what a claim must list for them, and what to write for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from refdiff.conformance.interface import Capability
from refdiff.conformance.render import spans, unclaimed
from refdiff.conformance.report import Report

CALLS: Mapping[Capability, str] = {
    "schedule": "coefficients(t): a mapping of the quantities that the library has, each shaped as t",
    "perturb": "perturb(x_0, eps, t): x_t",
    "sde": "drift(x, t) and diffusion(t): f and g of the SDE",
    "convert": "convert(value, x_t, t, source, to): the prediction in another parameterisation",
    "loss": "loss(denoiser, prediction, x_0, eps, t, weight): the weighted loss, reduced as the claim says",
    "times": "times(n, seed): n training times and their weights",
    "step": "step(x_t, value, t, s, noise, rule): x_s",
    "posterior": "posterior(x_t, x_0, t, s): mean and variance of x_s",
    "ema": "ema(decay, history): the average after each step",
    "fit": "fit(data, seed, seconds): a trained denoiser",
    "grid": "grid(n): the n + 1 falling times of a sampling run",
    "sample": "sample(denoiser, x, times, seed, sampler): x at the last of the times; and list `samplers`",
    "guide": "guide(conditional, unconditional, scale): the prediction of classifier-free guidance",
}
"""By capability: the method that it asks of what `build` returns."""
_LACKS = re.compile(r"the claim lists no (.+)")


@final
@dataclass(frozen=True, slots=True)
class Advice:
    """What to add to a claim."""

    lacks: str
    """What the claim does not list."""
    how: str
    clauses: str
    """What would be judged with it, as far as nothing else is missing."""


def advice(report: Report) -> list[Advice]:
    """Return what to add to the claim for the clauses that were not claimed, one entry for each thing that it lacks."""
    groups: dict[str, list[str]] = {}
    for row in report.rows:
        if row.status == "not_claimed":
            for lack in dict.fromkeys(lack for outcome in row.outcomes for lack in _lacks(outcome.reason)):
                groups.setdefault(lack, []).append(row.clause.id)
    order = [*CALLS, *sorted(groups.keys() - set(CALLS))]
    whole = [Advice(lack, how(lack), spans(groups[lack])) for lack in order if lack in groups]
    return whole + [Advice(lack, how(lack), f"more of {spans(ids)}") for lack, ids in unclaimed(report).items()]


def _lacks(reason: str) -> list[str]:
    """Return the capabilities that a reason names, or the reason itself."""
    found: list[str] = []
    for part in reason.split("; "):
        match = _LACKS.fullmatch(part)
        names = match[1].split(" and no ") if match else []
        found += names if names and all(name in CALLS for name in names) else [part]
    return found


def how(lack: str) -> str:
    """Return what to do about one thing that a claim lacks."""
    for name, call in CALLS.items():
        if lack == name:
            return f'add "{name}" to capabilities, and let build return an object with {call}'
    if "claim the type" in lack:
        return "list the type, such as Linear or Chain, in processes, if build can make every process of it"
    if lack.startswith("the claim lists no ") and re.search(r"\b(Linear|Cosine|Chain|Own|NoProcess)\b", lack):
        return "add a process of this kind to processes, if the library has one"
    if weights := re.fullmatch(r"the claim lists no weight (.+)", lack):
        return f"add {weights[1]} to weights, if the library has it"
    if narrow := re.fullmatch(r"the claim lists no (prediction|conversion) (.+)", lack):
        return f"add {narrow[2].replace(' and no ', ' or ')} to {narrow[1]}s, if the library has it"
    if "two weights" in lack:
        return "list weights that give one loss through two predictions, such as inverse_snr, if the library has them"
    if steps := re.fullmatch(r"the claim lists no step of (.+)", lack):
        return f"list a Step of {steps[1]} in steps, if the library has one"
    if names := re.fullmatch(r"coefficients has (?:no|none of|neither|not both) (.+)", lack):
        return f"return {names[1].replace(' nor ', ' or ')} from coefficients(t), if the library has it"
    if "sampler" in lack:
        return "describe such a sampler in samplers, if the library has one"
    return "see the clause in the specification: it says nothing of what was claimed, or in this dtype"
