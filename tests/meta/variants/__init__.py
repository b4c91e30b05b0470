"""Variants of targets: right ones, in many algebraic forms, and wrong ones, each with the clauses that it breaks."""
