"""Is each clause true? Independent oracles against each other; no target is involved."""
