"""Which planted faults give the outputs that a failing target gives."""

from .engine import diagnose as diagnose
