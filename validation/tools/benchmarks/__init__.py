"""Measurements that the README quotes. Not tests: nothing here fails unless asked to."""
