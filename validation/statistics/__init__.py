"""Statistical tests by design, the experiments that use them, and betting against a distribution."""
