"""Does a target obey each clause? One file per chapter, and the functions that choose inputs and call the target.

The judge runs each check with NumPy's floating-point warnings off: a target may return infinities and NaN.
"""
