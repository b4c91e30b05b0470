"""Conformance: the contract, the judge, the report. Nothing here imports torch but `reference`.

What an adapter needs is importable from here. Names are loaded on first use: an adapter alone needs NumPy and nothing
else, and pytest is imported only by the judge.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refdiff.conformance.averaging import Equal as Equal
    from refdiff.conformance.averaging import Power as Power
    from refdiff.conformance.averaging import Ratio as Ratio
    from refdiff.conformance.interface import Array as Array
    from refdiff.conformance.interface import Chain as Chain
    from refdiff.conformance.interface import Claim as Claim
    from refdiff.conformance.interface import Cosine as Cosine
    from refdiff.conformance.interface import Denoiser as Denoiser
    from refdiff.conformance.interface import Draws as Draws
    from refdiff.conformance.interface import Linear as Linear
    from refdiff.conformance.interface import NoProcess as NoProcess
    from refdiff.conformance.interface import Own as Own
    from refdiff.conformance.interface import Process as Process
    from refdiff.conformance.interface import Target as Target
    from refdiff.conformance.interface import Times as Times
    from refdiff.conformance.interface import Unsupported as Unsupported
    from refdiff.conformance.judge import Judge as Judge
    from refdiff.conformance.judge import Settings as Settings
    from refdiff.conformance.notation import from_edm_sigma as from_edm_sigma
    from refdiff.conformance.notation import time_reversed as time_reversed
    from refdiff.conformance.notation import time_scaled as time_scaled
    from refdiff.conformance.notation import to_edm_sigma as to_edm_sigma
    from refdiff.conformance.notation import zero_based as zero_based
    from refdiff.conformance.runs import Grid as Grid
    from refdiff.conformance.runs import Sampler as Sampler
    from refdiff.conformance.step import Step as Step
    from refdiff.conformance.weightings import MinSNR as MinSNR

_HOMES = {
    "Array": "interface",
    "Chain": "interface",
    "Claim": "interface",
    "Cosine": "interface",
    "Denoiser": "interface",
    "Draws": "interface",
    "Equal": "averaging",
    "Grid": "runs",
    "Judge": "judge",
    "Linear": "interface",
    "MinSNR": "weightings",
    "NoProcess": "interface",
    "Own": "interface",
    "Power": "averaging",
    "Process": "interface",
    "Ratio": "averaging",
    "Sampler": "runs",
    "Settings": "judge",
    "Step": "step",
    "Target": "interface",
    "Times": "interface",
    "Unsupported": "interface",
    "from_edm_sigma": "notation",
    "time_reversed": "notation",
    "time_scaled": "notation",
    "to_edm_sigma": "notation",
    "zero_based": "notation",
}
"""Where each public name lives; a test holds this to the imports above."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refdiff.conformance' has no attribute {name!r}")
    return getattr(import_module(f"refdiff.conformance.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
