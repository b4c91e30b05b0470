"""A family of targets: right ones, in every algebraic form at hand, and wrong ones, each with the clauses it breaks."""
