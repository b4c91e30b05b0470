"""Conformance: the contract, the judge, the report. Nothing here imports torch but `reference`."""
