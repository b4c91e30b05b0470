"""Tests of the conformance machinery."""
