"""A right target in NumPy, one method for each formula: a fault replaces one of them."""
