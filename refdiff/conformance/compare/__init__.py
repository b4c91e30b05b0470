"""Two reports compared: what got better, what got worse, what is newly judged and no longer judged.

python -m refdiff.conformance.compare old.json new.json --html changes.html
"""

from __future__ import annotations

from refdiff.conformance.compare.changes import Changes as Changes
from refdiff.conformance.compare.changes import compared as compared
