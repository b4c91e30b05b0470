"""Tests of refdiff: one file per module."""
