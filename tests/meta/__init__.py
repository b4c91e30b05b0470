"""Tests of the validation suite: right targets pass it, and wrong targets fail it."""
