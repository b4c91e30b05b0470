"""Targets written to test the suite: right, wrong, refusing, hostile."""
