"""Faults: variations of a right target with one realistic error each, and the clauses that find it.

`clean/` is the right target, in NumPy, with one method for each formula. Each module beside it plants the faults of a
topic, each by one replaced method. `python -m validation.faults` judges all of them and writes the kill matrix.
"""
