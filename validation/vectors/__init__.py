"""The generator of spec/vectors: values from the Arb oracle, tolerances from the clauses."""
