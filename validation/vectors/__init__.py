"""The test vectors of spec/vectors: values from the Arb oracle, tolerances from the checks' bounds."""
